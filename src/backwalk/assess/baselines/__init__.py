"""Baselines beside a diffusion model: simple models with an exact density, fitted to the same rows.

`fit_baseline` fits one to the user's table; the other functions fit densities to rows of features.
"""

from backwalk.assess.baselines.baseline import Baseline, fit_baseline, fit_baselines
from backwalk.assess.baselines.features import Feature, FeatureMap, FittedDensity
from backwalk.assess.baselines.numbers import fit_gaussian_mixture, fit_kernel_density
from backwalk.assess.baselines.product_mixtures import fit_independent_columns, fit_product_mixture
from backwalk.assess.baselines.trees import fit_trees

__all__ = [
    "Baseline",
    "Feature",
    "FeatureMap",
    "FittedDensity",
    "fit_baseline",
    "fit_baselines",
    "fit_gaussian_mixture",
    "fit_independent_columns",
    "fit_kernel_density",
    "fit_product_mixture",
    "fit_trees",
]
