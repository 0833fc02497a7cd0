"""Denoisers from any `torch.nn.Module` of the user.

The module is a function `network(x_t, level)` of noisy points x_t, (n, d), and their noise levels, (n,), both float32.
It returns F, (n, d), of the preconditioning in `preconditioning.py`,

    x_0_hat = a x_t + b g F(x_t, level),   level = ln(s^2 + floor^2) / 8,

so that an F of zero is already the best linear denoiser for data of unit variance. `level` is a quarter of the
logarithm of the noise level s, as in Karras et al. 2022, and lies in about -1..0.8 for the default schedule. Training
needs the derivatives of `network` by its parameters, scoring those by x_t; both come from autograd.

The module is copied and always runs in evaluation mode. Each row of F should depend on its own point and level only,
and two calls with the same arguments should return the same. Several threads may call the module at the same time, so
`forward` should not change it.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from backwalk.denoiser.preconditioning import EnsembleDenoiser, PreconditionedDenoiser
from backwalk.errors import InvalidInput
from backwalk.formatting import one_line
from backwalk.streams import Stream

_N_PROBES = 6
_SUSPECTS = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


class NetworkDenoiser(PreconditionedDenoiser):
    """A denoiser of one member around a user's network, which `own_network.py` describes."""

    def __init__(self, network: nn.Module, floor: float, log_snr_range: tuple[float, float]) -> None:
        super().__init__(network, 1, floor, log_snr_range)

    def predict(self, x_t: Tensor, level: Tensor) -> Tensor:
        """Return F: x_t is (1, rows, d), level (1, rows, 1)."""
        f: Tensor = self.network(x_t.squeeze(0), level.reshape(-1))
        return f.unsqueeze(0)


def checked_copy(network: nn.Module, d: int) -> nn.Module:
    """Return a copy of a user's network in evaluation mode, or raise InvalidInput where it cannot denoise rows in R^d.

    The network runs on a few points, as a copy with slightly changed weights: layers that start at zero would
    otherwise hide what comes before them. Neither the network nor torch's global random state changes.
    """
    name = type(network).__name__
    if isinstance(network, EnsembleDenoiser):
        raise InvalidInput(f"denoiser should be a network, but got a {name}: pass its `network` instead.")
    _check_tensors(network, name)
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        try:
            copy, changed = deepcopy(network), deepcopy(network).cpu()
        except Exception as error:
            raise InvalidInput(f"{name} should allow copy.deepcopy, but it raised: {one_line(error)}.") from error
        _check_function(changed, name, d)
    for key, tensor in copy.state_dict().items():
        _check_dtype(tensor, f"{name}.{key}")
    for parameter in copy.parameters():
        parameter.data = parameter.data.contiguous()  # as the optimiser's fused operation reads it
    return copy.eval()


def answers(network: nn.Module, d: int) -> list[float]:
    """Return a network's mean output at each of a few fixed points, by which `check_answers` recognises it."""
    device = next(network.parameters()).device
    x_t, level = (probe.to(device) for probe in _probes(d))
    with torch.inference_mode():
        means: list[float] = network(x_t, level).double().mean(dim=1).tolist()
    return means


def check_answers(network: nn.Module, d: int, expected: list[float]) -> None:
    """Raise InvalidInput where a network's `answers` are not the `expected` ones, from when it was saved."""
    computed = torch.tensor(answers(network, d), dtype=torch.float64, device="cpu")
    saved = torch.tensor(expected, dtype=torch.float64, device="cpu")
    if computed.shape != saved.shape or not _alike(computed, saved):
        raise InvalidInput(
            f"{type(network).__name__} takes the saved weights but computes another function than when it was saved: "
            "give the same code and settings."
        )


def _check_tensors(network: nn.Module, name: str) -> None:
    parameters = dict(network.named_parameters())
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise InvalidInput(
            f"{name} should have parameters with requires_grad=True, but has none: add or unfreeze some."
        )
    tensors = {**parameters, **dict(network.named_buffers())}
    for key, tensor in tensors.items():
        if is_lazy(tensor):
            raise InvalidInput(f"{name}.{key} is not initialised yet: call the network once before passing it.")
        if tensor.device.type == "meta":
            raise InvalidInput(f'{name}.{key} is on the device "meta", which holds no numbers: make it on "cpu".')
    kept = set(network.state_dict())
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and key in kept:
            _check_dtype(tensor, f"{name}.{key}")
        if tensor.is_floating_point() and not bool(tensor.detach().isfinite().all()):
            raise InvalidInput(
                f"{name}.{key} should hold finite numbers, but holds NaN or inf: check its initial values."
            )


def _check_dtype(tensor: Tensor, name: str) -> None:
    if tensor.dtype != torch.float32:
        raise InvalidInput(
            f"{name} should be float32, but is {tensor.dtype}: call .float() on the network, or register a buffer that "
            "need not be saved with persistent=False."
        )


def _check_function(network: nn.Module, name: str, d: int) -> None:
    """Check a network on probes. It is changed: its weights are moved, and it ends in training mode."""
    _move_weights(network)
    x_t, level = _probes(d)
    whole = _answer(network.eval(), x_t, level, name)
    if not _alike(whole, _answer(network, x_t, level, name)):
        raise InvalidInput(
            f"{name} should return the same for the same arguments, but does not: draw no random numbers in it."
        )
    for rows in (slice(0, 1), slice(2, None)):
        if not _alike(whole[rows], _answer(network, x_t[rows], level[rows], name)):
            raise InvalidInput(
                f"{name} should treat every row on its own, but a row's output changes with the other rows: normalise "
                "over columns (LayerNorm), not over rows."
            )
    inputs = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not whole.requires_grad or all(g is None for g in torch.autograd.grad(whole.sum(), inputs, allow_unused=True)):
        raise InvalidInput(
            f"{name} should depend on its parameters by operations of torch, but has no gradient by them: call no "
            "detach() and no NumPy."
        )
    before = [buffer.clone() for buffer in network.buffers()]
    in_training = _answer(network.train(), x_t, level, name)
    changed = any(not torch.equal(old, new) for old, new in zip(before, network.buffers(), strict=True))
    if changed or not _alike(whole, in_training):
        suspects = [key or name for key, module in network.named_modules() if isinstance(module, _SUSPECTS)]
        raise InvalidInput(
            f"{name} should compute the same in training and evaluation mode, but does not"
            f"{f' ({suspects[0]}: {network.get_submodule(suspects[0])})' if suspects else ''}: remove dropout, and "
            "replace batch normalisation by LayerNorm."
        )


def _answer(network: nn.Module, x_t: Tensor, level: Tensor, name: str) -> Tensor:
    try:
        f = network(x_t.clone(), level.clone())
    except Exception as error:
        raise InvalidInput(
            f"{name} should map points {tuple(x_t.shape)} and levels {tuple(level.shape)} to {tuple(x_t.shape)}, but "
            f"raised {type(error).__name__}: {one_line(error)}."
        ) from error
    if not isinstance(f, Tensor) or f.shape != x_t.shape or f.dtype != torch.float32:
        what = f"{f.dtype} of shape {tuple(f.shape)}" if isinstance(f, Tensor) else f"a {type(f).__name__}"
        raise InvalidInput(
            f"{name} should return float32 of shape {tuple(x_t.shape)} for points of that shape, but returned {what}."
        )
    if not bool(f.isfinite().all()):
        raise InvalidInput(f"{name} should return finite numbers, but returned NaN or inf: check its initial weights.")
    return f


def _alike(one: Tensor, other: Tensor) -> bool:
    """Return whether outputs differ by no more than rounding."""
    return torch.allclose(one, other, rtol=1e-3, atol=1e-4)


def _probes(d: int) -> tuple[Tensor, Tensor]:
    x_t = Stream(0).child("probe").normal(0, _N_PROBES, d, torch.float32)
    return x_t, torch.linspace(-1.0, 0.75, _N_PROBES, dtype=torch.float32, device="cpu")


@torch.no_grad()
def _move_weights(network: nn.Module) -> None:
    for i, parameter in enumerate(network.parameters()):
        noise = Stream(0).child("weight", i).normal(0, parameter.numel(), 1, torch.float32)
        parameter.add_(noise.reshape(parameter.shape), alpha=0.02)
