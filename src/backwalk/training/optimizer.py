"""The update of a training step: Muon for the residual blocks' matrices, Adam for the rest, and the average of weights.

Muon replaces the momentum of each matrix by (about) the nearest orthogonal matrix (`orthogonal.py`), so that weak
directions of the gradient move as far as strong ones. For the square matrices of residual blocks its loss is lower than
Adam's after equally many steps; input and output layers and biases are trained by Adam. For W with gradient G:

    M <- 0.95 M + 0.05 G,   W <- (1 - rate decay) W - rate orthogonal(0.95 M + 0.05 G).

Orthogonal matrices take a large part of a step's time, and the momentum changes little between steps. So each matrix
moves only once in `update_every` steps, by as many times the rate. Adam, for w with gradient g at step k = 1, 2, ...:

    m <- beta_1 m + (1 - beta_1) g,  v <- beta_2 v + (1 - beta_2) g^2,
    w <- (1 - rate decay) w - rate m / (1 - beta_1^k) / (sqrt(v / (1 - beta_2^k)) + 1e-8).

The decay keeps |w| below about 1 / decay, however steep the loss is. A penalty (ridge / 2) |w|^2 adds ridge w to g, so
that a weight settles where the gradient of the loss and that of the penalty balance.

The average after step k is the mean of w_1..w_k with weights proportional to (j / k)^gamma. Its window grows with
training, so that the first steps lose their influence whatever the number of steps.

`torch.optim.Adam` uses the same fused operation, but importing it imports PyTorch's compiler, which takes longer than a
small fit. `torch.optim.Muon` multiplies in bfloat16, which is slow on most CPUs.

Source: Jordan et al. 2024 for Muon; Kingma & Ba 2015 for Adam; Loshchilov & Hutter 2019 for its decay; Karras et al.
2024 for the average.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from backwalk.threads import scripted
from backwalk.training.config import MOST_UPDATE_EVERY, Training
from backwalk.training.orthogonal import LARGEST_CHEAP_WIDTH, orthogonalised, rounds_for

_LEAST_COSTLY_WIDTH = 256  # from which orthogonal matrices take a large part of a step's time


class Rotation(NamedTuple):
    """The order in which Muon moves matrices: of every `update_every` steps, step k moves group k, if k < n_groups.

    Matrix i belongs to group i mod n_groups.
    """

    update_every: int
    n_groups: int


def rotation_for(width: int, n_matrices: int) -> Rotation:
    """Return the rotation of matrices of this width: wider ones move less often.

    A group has at least two matrices, one for each of two threads. docs/defaults.md has the measurements.
    """
    every = 2 if width <= LARGEST_CHEAP_WIDTH else 3 if width < _LEAST_COSTLY_WIDTH else MOST_UPDATE_EVERY
    return Rotation(every, max(1, min(every, n_matrices // 2)))


class Step(NamedTuple):
    """The arguments of `update` other than the gradients, in types that TorchScript knows.

    Numbers that change from step to step are tensors on the weights' device, where a recorded step reads them.
    """

    # Muon: the momentum of all its matrices, and those that move in this step: first, first + stride, ...
    momentum: list[Tensor]
    moving: list[Tensor]
    first: int
    stride: int
    muon_rate: Tensor
    kept: Tensor  # 1 - rate decay
    decays: bool
    n_rounds: int
    bfloat16: bool
    # Adam
    by_adam: list[Tensor]
    mean: list[Tensor]
    mean_square: list[Tensor]
    adam_rate: Tensor
    number: Tensor
    beta_2: float
    adam_decay: float
    penalised: list[int]  # the places in `by_adam` of weights with the penalty
    ridge: float
    # The average, the weights that enter it, and their share in it
    average: list[Tensor]
    weights: list[Tensor]
    share: Tensor


class Optimizer:
    """Moves the parameters at some places, those `of_muon` by Muon and those `of_adam` by Adam, and averages them.

    Those `of_inputs` have the penalty of `Training.input_ridge`.
    """

    def __init__(
        self,
        parameters: list[Tensor],
        of_muon: list[int],
        of_adam: list[int],
        rotation: Rotation,
        training: Training,
        of_inputs: Collection[int] = (),
    ) -> None:
        self._places, self._training, self._rotation = [*of_muon, *of_adam], training, rotation
        self._matrices, self._by_adam = [parameters[i] for i in of_muon], [parameters[i] for i in of_adam]
        self._penalised = [place for place, i in enumerate(of_adam) if i in of_inputs and training.input_ridge]
        self._n_rounds = rounds_for(self._matrices[0].shape[-1]) if self._matrices else 0
        self._momentum = [torch.zeros_like(matrix) for matrix in self._matrices]
        self._mean, self._mean_square = ([torch.zeros_like(p) for p in self._by_adam] for _ in range(2))
        own = [*self._matrices, *self._by_adam]
        self._weights = own if training.ema_width else []
        self._average = [weight.clone() for weight in self._weights]
        self._exponent = 1.0 + _gamma(training.ema_width) if training.ema_width else 1.0
        self._muon_rate, self._kept, self._share = (own[0].new_zeros(()) for _ in range(3))
        # Adam's fused operation requires float32.
        self._adam_rate, self._number = (own[0].new_zeros((), dtype=torch.float32) for _ in range(2))

    def averages(self) -> Iterator[tuple[int, Tensor]]:
        """Yield the place and the average of each averaged parameter."""
        if self._average:
            yield from zip(self._places, self._average, strict=True)

    def moving(self) -> dict[str, list[Tensor]]:
        """Return the optimiser's state by name; not copies."""
        return {"momentum": self._momentum, "adam.mean": self._mean, "adam.mean_square": self._mean_square}

    def at(self, rate: float, number: int) -> Step:
        """Return step `number`, counted from 0, at `rate` times the full rates. It is valid until the next call."""
        (every, n_groups), decay = self._rotation, self._training.weight_decay
        group, muon_rate = number % every, every * ((self._training.hidden_rate or 0.0) * rate)
        self._muon_rate.fill_(muon_rate)
        self._kept.fill_(1.0 - muon_rate * decay)
        self._adam_rate.fill_(self._training.learning_rate * rate)
        self._number.fill_(number + 1)
        self._share.fill_(1.0 - (1.0 - 1.0 / (number + 1)) ** self._exponent)
        first = group if group < n_groups else len(self._matrices)
        return Step(
            self._momentum,
            self._matrices[first::n_groups],
            first,
            n_groups,
            self._muon_rate,
            self._kept,
            decay > 0.0,
            self._n_rounds,
            self._training.bfloat16,
            self._by_adam,
            self._mean,
            self._mean_square,
            self._adam_rate,
            self._number,
            0.99 if self._training.decay else 0.999,
            self._training.outer_decay,
            self._penalised,
            self._training.input_ridge,
            self._average,
            self._weights,
            self._share,
        )

    def take(self, gradients: list[Tensor], step: Step) -> None:
        """Take a step with the gradients by all parameters of the denoiser."""
        own = [gradients[i] for i in self._places]
        scripted(update, own[0].device)(own, step)


def update(gradients: list[Tensor], step: Step) -> None:
    """Move all weights by their gradients, those of Muon's matrices first, and add them to the average.

    TorchScript drops changes to the tensors of a slice of a list, so lists that change are passed whole.
    """
    n = len(step.momentum)
    if n > 0:
        torch._foreach_lerp_(step.momentum, gradients[:n], 1.0 - 0.95)
        _move_matrices(gradients[:n], step)
    if len(step.by_adam) > 0:
        _move_by_adam(gradients[n:], step)
    if len(step.average) > 0:
        torch._foreach_lerp_(step.average, step.weights, [step.share] * len(step.average))


def _move_matrices(gradients: list[Tensor], step: Step) -> None:
    n = len(step.moving)
    if n == 0:
        return
    # Nesterov's momentum, which looks one step ahead.
    ahead = torch._foreach_lerp(gradients[step.first :: step.stride], step.momentum[step.first :: step.stride], 0.95)
    directions = orthogonalised(torch.cat(ahead), step.n_rounds, step.bfloat16).chunk(n)
    if step.decays:
        torch._foreach_mul_(step.moving, step.kept)
    torch._foreach_addcmul_(step.moving, directions, [step.muon_rate] * n, value=-1.0)


def _move_by_adam(gradients: list[Tensor], step: Step) -> None:
    # The fused operation ignores strides, so that a transposed gradient would move the wrong weights.
    by_rows = [gradient.contiguous() for gradient in gradients]
    for place in step.penalised:
        by_rows[place] = by_rows[place].add(step.by_adam[place], alpha=step.ridge)
    nothing: list[Tensor] = []
    torch._fused_adamw_(  # not that of torch.ops.aten, for which the CPU would have to read the rate
        step.by_adam,
        by_rows,
        step.mean,
        step.mean_square,
        nothing,
        [step.number] * len(by_rows),
        lr=step.adam_rate,
        beta1=0.9,
        beta2=step.beta_2,
        weight_decay=step.adam_decay,
        eps=1e-8,
        amsgrad=False,
        maximize=False,
    )


def _gamma(width: float) -> float:
    """Return the power of an average whose window has standard deviation `width`, as a share of the steps so far.

    (gamma + 1) / ((gamma + 2)^2 (gamma + 3)) = width^2, by bisection in ln gamma.
    """
    low, high = 1e-3, 1e6
    for _ in range(60):
        middle = math.sqrt(low * high)
        if (middle + 1.0) / ((middle + 2.0) ** 2 * (middle + 3.0)) > width**2:
            low = middle
        else:
            high = middle
    return low
