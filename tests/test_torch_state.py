"""Whatever state of torch the caller is in, a model is fitted, sampled, scored, saved and loaded the same."""

from contextlib import contextmanager, nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from backwalk import Diffusion, NoiseSchedule, Residual, Textbook, Training
from backwalk.torch_state import in_initial_torch_state

ROWS = np.random.default_rng(0).normal(size=(60, 2)) * [1.0, 3.0]
COUNTS = np.column_stack([ROWS, np.random.default_rng(1).integers(0, 3, size=60)])
PLAN = Training(batch_size=64, learning_rate=0.01, max_steps=2)
FEW = {"n_steps": 20, "max_steps": 2}


@contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def all_at_once():
    with torch.autocast("cpu"), torch.device("meta"), default_dtype(torch.float64), torch.inference_mode():
        yield


STATES = {
    "autocast": lambda: torch.autocast("cpu"),
    "meta": lambda: torch.device("meta"),  # what torch.set_default_device sets
    "float64": lambda: default_dtype(torch.float64),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "all at once": all_at_once,
}


class Small(torch.nn.Module):
    """A user's network, whose gradients are those of autograd."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(3, 8, device="cpu", dtype=torch.float32),
            torch.nn.Tanh(),
            torch.nn.Linear(8, 2, device="cpu", dtype=torch.float32),
        )

    def forward(self, x_t, level):
        return self.layers(torch.cat([x_t, level[:, None]], dim=1))


MODELS = {
    "default": (COUNTS, lambda: {"denoiser": Residual(8, 1, 2), **FEW}),
    "notebook": (
        ROWS,
        lambda: {
            **Diffusion.ddpm().get_params(),
            "schedule": NoiseSchedule.linear(20, beta_min=0.1, beta_max=0.5),
            "denoiser": Textbook(8, 1),
            "training": replace(PLAN, levels="chain"),
            "scale": True,
        },
    ),
    "own network": (ROWS, lambda: {"denoiser": Small(), **FEW}),
}


def everything(name, folder):
    """Fit a model, save and load it, and return what it says of rows and which rows it makes."""
    rows, settings = MODELS[name]
    fitted = Diffusion(**{**settings(), "random_state": 0, "verbose": False}).fit(rows)
    fitted.save(folder / "model")
    model = Diffusion.load(folder / "model", denoiser=Small() if name == "own network" else None)
    results = [
        model.sample(5, random_state=1),
        model.sample(5, sampler="ancestral", random_state=1),
        model.log_density(rows[:4], n_intervals=2).log_prob.numpy(),
        model.bound(rows[:4], random_state=2).per_row.numpy(),
        model.from_latent(model.to_latent(rows[:3])),
    ]
    if name == "default":
        results += [model.sample(4, n_evaluations=3, sampler="multistep", random_state=3)]
    return results


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return {name: everything(name, tmp_path_factory.mktemp("plain")) for name in MODELS}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "state"),
    [*(("default", state) for state in STATES), ("notebook", "all at once"), ("own network", "all at once")],
)
def test_the_callers_state_changes_nothing(name, state, expected, tmp_path):
    with STATES[state]():
        found = everything(name, tmp_path)
    for one, other in zip(found, expected[name], strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("state", [*STATES.values(), nullcontext])
def test_the_callers_state_is_back_between_the_steps_of_a_generator_and_at_its_end(state):
    def seen():
        return torch.is_autocast_enabled("cpu"), torch.get_default_device(), torch.is_inference_mode_enabled()

    @in_initial_torch_state
    def steps():
        for _ in range(2):
            yield seen()

    with state():
        before = seen()
        for within in steps():
            assert within == (False, torch.device("cpu"), False)
            assert seen() == before
        assert seen() == before
