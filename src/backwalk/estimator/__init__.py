"""`Diffusion`, the model as a scikit-learn estimator: a shell around `fitting`, `model`, `latent`, `assess`, `report`.

`diffusion.py` has its parameters, fit and files, `draws.py` the methods that make rows, and `scores.py` those that
score them.
"""

from backwalk.estimator.diffusion import Diffusion

__all__ = ["Diffusion"]
