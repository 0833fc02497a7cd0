"""Two moons, a small model of them and its assessment, which several modules of tests share."""

from functools import cache

from backwalk.assess import assess
from backwalk.datasets import two_moons
from backwalk.denoiser import Residual
from backwalk.estimator import Diffusion
from backwalk.streams import Stream

SMALL = Residual(width=8, n_blocks=1, n_members=1)
MOONS = two_moons(noise=0.2)
SOME = {"stream": Stream(0), "n_pairs": 2, "n_rows": 50}
TRAINING, UNSEEN = MOONS.sample(600, random_state=0), MOONS.sample(400, random_state=1)


@cache
def fitted():
    return Diffusion(n_steps=40, max_steps=60, denoiser=SMALL, random_state=0, verbose=False).fit(TRAINING).model_


@cache
def assessed():
    return assess(fitted(), UNSEEN, training=TRAINING, density=MOONS, stream=Stream(0), n_pairs=2, n_rows=100)
