"""`Diffusion`, the model as a scikit-learn estimator: a shell around `fit`, `model`, `assess` and `report`.

`diffusion.py` has its parameters and fit, `files.py` its files, `draws.py` the methods that make rows, `scores.py`
those that score them, `judgement.py` those that assess and report the model, and `conditionals.py` the distribution of
a column given others and filled gaps. `imputer.py` has the `DiffusionImputer` for pipelines, and `multiple.py` multiple
imputation with pooled estimates.
"""

from backwalk.estimator.diffusion import Diffusion
from backwalk.estimator.imputer import DiffusionImputer
from backwalk.estimator.multiple import Pooled, multiple_imputations, pooled

__all__ = ["Diffusion", "DiffusionImputer", "Pooled", "multiple_imputations", "pooled"]
