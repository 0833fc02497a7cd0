"""A user's `torch.nn.Module` as a function of rows: copied, checked on a few probes, and recognised when it is loaded.

The module is copied and always runs in evaluation mode. Each row of its output should depend on the same rows of its
arguments only, and two calls with the same arguments should return the same. Several threads may call the module at the
same time, so `forward` should not change it.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from backwalk.errors import InvalidInput
from backwalk.formatting import one_line
from backwalk.streams import Stream

N_PROBES = 6
_SUSPECTS = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


@dataclass(frozen=True, eq=False)
class Probes:
    """Arguments on which a module is checked, each with `N_PROBES` rows, and what it should make of them.

    `task` says so in words. The output should have `width` columns, or any number with None.
    """

    arguments: tuple[Tensor, ...]
    task: str
    width: int | None


def checked_copy(module: nn.Module, probes: Probes) -> nn.Module:
    """Return a copy of a user's module in evaluation mode, or raise InvalidInput where it cannot serve.

    The module runs on the probes as a copy with slightly changed weights: layers that start at zero would otherwise
    hide what comes before them. Neither the module nor torch's global random state changes.
    """
    name = type(module).__name__
    _check_tensors(module, name)
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        try:
            copy, changed = deepcopy(module), deepcopy(module).cpu()
        except Exception as error:
            raise InvalidInput(f"{name} should allow copy.deepcopy, but it raised: {one_line(error)}.") from error
        _check_function(changed, name, probes)
    for key, tensor in copy.state_dict().items():
        _check_dtype(tensor, f"{name}.{key}")
    for parameter in copy.parameters():
        parameter.data = parameter.data.contiguous()  # as the optimiser's fused operation reads it
    return copy.eval()


def answers(module: nn.Module, probes: Probes) -> list[float]:
    """Return a module's mean output at each probe, by which `check_answers` recognises it."""
    device = next(module.parameters()).device
    with torch.inference_mode():
        output: Tensor = module(*(argument.to(device) for argument in probes.arguments))
    means: list[float] = output.double().mean(dim=1).tolist()
    return means


def check_answers(module: nn.Module, probes: Probes, expected: list[float]) -> None:
    """Raise InvalidInput where a module's `answers` are not the `expected` ones, from when it was saved."""
    computed = torch.tensor(answers(module, probes), dtype=torch.float64, device="cpu")
    saved = torch.tensor(expected, dtype=torch.float64, device="cpu")
    if computed.shape != saved.shape or not _alike(computed, saved):
        raise InvalidInput(
            f"{type(module).__name__} takes the saved weights but computes another function than when it was saved: "
            "give the same code and settings."
        )


def random_probes(d: int) -> Tensor:
    """Return fixed draws of N(0, I) in R^d, (N_PROBES, d), float32."""
    return Stream(0).child("probe").normal(0, N_PROBES, d, torch.float32)


def _check_tensors(module: nn.Module, name: str) -> None:
    parameters = dict(module.named_parameters())
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise InvalidInput(
            f"{name} should have parameters with requires_grad=True, but has none: add or unfreeze some."
        )
    tensors = {**parameters, **dict(module.named_buffers())}
    for key, tensor in tensors.items():
        if is_lazy(tensor):
            raise InvalidInput(f"{name}.{key} is not initialised yet: call the module once before passing it.")
        if tensor.device.type == "meta":
            raise InvalidInput(f'{name}.{key} is on the device "meta", which holds no numbers: make it on "cpu".')
    kept = set(module.state_dict())
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
            f"{name} should be float32, but is {tensor.dtype}: call .float() on the module, or register a buffer that "
            "need not be saved with persistent=False."
        )


def _check_function(module: nn.Module, name: str, probes: Probes) -> None:
    """Check a module on probes. It is changed: its weights are moved, and it ends in training mode."""
    _move_weights(module)
    whole = _answer(module.eval(), name, probes)
    if not _alike(whole, _answer(module, name, probes)):
        raise InvalidInput(
            f"{name} should return the same for the same arguments, but does not: draw no random numbers in it."
        )
    for rows in (slice(0, 1), slice(2, None)):
        if not _alike(whole[rows], _answer(module, name, probes, rows)):
            raise InvalidInput(
                f"{name} should treat every row on its own, but a row's output changes with the other rows: normalise "
                "over columns (LayerNorm), not over rows."
            )
    inputs = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not whole.requires_grad or all(g is None for g in torch.autograd.grad(whole.sum(), inputs, allow_unused=True)):
        raise InvalidInput(
            f"{name} should depend on its parameters by operations of torch, but has no gradient by them: call no "
            "detach() and no NumPy."
        )
    before = [buffer.clone() for buffer in module.buffers()]
    in_training = _answer(module.train(), name, probes)
    changed = any(not torch.equal(old, new) for old, new in zip(before, module.buffers(), strict=True))
    if changed or not _alike(whole, in_training):
        suspects = [key or name for key, part in module.named_modules() if isinstance(part, _SUSPECTS)]
        raise InvalidInput(
            f"{name} should compute the same in training and evaluation mode, but does not"
            f"{f' ({suspects[0]}: {module.get_submodule(suspects[0])})' if suspects else ''}: remove dropout, and "
            "replace batch normalisation by LayerNorm."
        )


def _answer(module: nn.Module, name: str, probes: Probes, rows: slice = slice(None)) -> Tensor:
    try:
        output = module(*(argument[rows].clone() for argument in probes.arguments))
    except Exception as error:
        raise InvalidInput(
            f"{name} should map {probes.task}, but raised {type(error).__name__}: {one_line(error)}."
        ) from error
    n = len(probes.arguments[0][rows])
    is_right = isinstance(output, Tensor) and output.dtype == torch.float32 and output.shape[:-1] == (n,)
    if not is_right or not output.shape[1] or output.shape[1] != (probes.width or output.shape[1]):
        what = f"{output.dtype} of shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        width = "k" if probes.width is None else probes.width
        raise InvalidInput(f"{name} should return float32 of shape ({n}, {width}) for {n} rows, but returned a {what}.")
    if not bool(output.isfinite().all()):
        raise InvalidInput(f"{name} should return finite numbers, but returned NaN or inf: check its initial weights.")
    answer: Tensor = output
    return answer


def _alike(one: Tensor, other: Tensor) -> bool:
    """Return whether outputs differ by no more than rounding."""
    return torch.allclose(one, other, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def _move_weights(module: nn.Module) -> None:
    for i, parameter in enumerate(module.parameters()):
        noise = Stream(0).child("weight", i).normal(0, parameter.numel(), 1, torch.float32)
        parameter.add_(noise.reshape(parameter.shape), alpha=0.02)
