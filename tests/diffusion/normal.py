"""A normal distribution of five coordinates."""

import numpy as np
import torch

K = 5
_RNG = np.random.default_rng(0)
_FACTOR = _RNG.normal(size=(K, K))
COVARIANCE = torch.from_numpy(_FACTOR @ _FACTOR.T / K + 0.2 * np.eye(K))
MEAN = torch.from_numpy(_RNG.normal(size=K))
