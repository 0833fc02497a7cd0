"""Baselines beside a diffusion model: simple models with an exact density, fitted to the same rows."""

from backwalk.assess.baselines.features import Feature, MixedBaseline
from backwalk.assess.baselines.numbers import Baseline, kernel_baseline, mixture_baseline
from backwalk.assess.baselines.product_mixtures import independent_baseline, product_mixture_baseline
from backwalk.assess.baselines.trees import tree_baseline

__all__ = [
    "Baseline",
    "Feature",
    "MixedBaseline",
    "independent_baseline",
    "kernel_baseline",
    "mixture_baseline",
    "product_mixture_baseline",
    "tree_baseline",
]
