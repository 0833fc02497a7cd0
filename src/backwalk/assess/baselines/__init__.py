"""Baselines beside a diffusion model: simple models with an exact density, fitted to the same rows.

`fit_baseline` fits one to the user's table; the other functions fit densities to rows of features.
"""

from backwalk.assess.baselines.baseline import Baseline, fit_baseline, fit_baselines

__all__ = ["Baseline", "fit_baseline", "fit_baselines"]
