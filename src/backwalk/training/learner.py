"""A training step: the gradients of a batch, and the update of all weights and of their average.

On a CPU the gradients are computed in pieces, each on one thread: a piece is a shard of the batch's rows. The pieces
depend on sizes alone and their sums have a fixed order, so that a fit does not depend on the number of threads. Then
Muon moves the square matrices of residual blocks (`muon.py`), and Adam the rest: for w with gradient g at step k = 1,
2, ...,

    m <- beta_1 m + (1 - beta_1) g,  v <- beta_2 v + (1 - beta_2) g^2,
    w <- (1 - rate decay) w - rate m / (1 - beta_1^k) / (sqrt(v / (1 - beta_2^k)) + 1e-8).

The decay keeps |w| below about 1 / decay, however steep the loss is. A penalty (ridge / 2) |w|^2 adds ridge w to g, so
that a weight settles where the gradient of the loss and that of the penalty balance. The average after step k is
the mean of w_1..w_k with weights proportional to (j / k)^gamma: its window grows with training, so that the first steps
lose their influence whatever the number of steps.

Source: Kingma & Ba 2015 for Adam; Loshchilov & Hutter 2019 for its decay; Karras et al. 2024 for the average.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import reduce

import torch
from torch import Tensor
from torch.optim.adamw import adamw  # the function, as the class imports PyTorch's compiler: longer than a small fit

from backwalk.denoiser import EnsembleDenoiser
from backwalk.threads import Map
from backwalk.training.batches import Batch
from backwalk.training.config import Training
from backwalk.training.muon import Muon

LEAST_ROWS_TO_CUT, MOST_ROWS_OF_A_PIECE = 512, 2048


class Learner:
    """The weights of a denoiser, their optimisers, and the average of the weights.

    `parameters` are the denoiser's own, without gradients; `averages` are the parameters themselves without
    `Training.ema_width`.
    """

    def __init__(self, denoiser: EnsembleDenoiser, training: Training) -> None:
        self._training = training
        self.parameters = [parameter.detach() for parameter in denoiser.parameters()]
        places = {id(parameter): i for i, parameter in enumerate(denoiser.parameters())}
        inputs = [places[id(matrix)] for matrix in denoiser.input_matrices()] if training.input_ridge else []
        embedding = {places[id(matrix)] for matrix in denoiser.embedding_matrices()}
        hidden = denoiser.hidden_matrices() if training.hidden_rate is not None else []
        self._by_muon = [places.pop(id(matrix)) for matrix in hidden]
        self._by_adam = list(places.values())
        self._of_embedding = [i for i in self._by_adam if i in embedding]
        self._penalised = [place for place, i in enumerate(self._by_adam) if i in inputs]
        self._muon = Muon(_at(self.parameters, self._by_muon), training)
        of_adam = _at(self.parameters, self._by_adam)
        self._mean, self._mean_square = ([torch.zeros_like(p) for p in of_adam] for _ in range(2))
        self._n_steps = [torch.zeros((), dtype=torch.float32, device=p.device) for p in of_adam]
        self.averages = [p.clone() for p in self.parameters] if training.ema_width else self.parameters
        self._exponent = 1.0 + average_power(training.ema_width) if training.ema_width else 1.0
        self._denoiser = denoiser

    def step(self, batch: Batch, number: int, rate_factor: float, parallel_map: Map = map) -> Tensor:
        """Take step `number`, counted from 0, at rates times `rate_factor`; return the loss."""
        loss, gradients = self.gradients(batch, parallel_map)
        self._muon.step(_at(gradients, self._by_muon), number, rate_factor)
        self._step_adam(_at(gradients, self._by_adam), rate_factor)
        if self._training.ema_width:
            torch._foreach_lerp_(self.averages, self.parameters, 1.0 - (1.0 - 1.0 / (number + 1)) ** self._exponent)
        return loss

    def gradients(self, batch: Batch, parallel_map: Map = map) -> tuple[Tensor, list[Tensor]]:
        """Return the loss, the mean over rows, and its gradient by each parameter."""

        def of_piece(rows: slice) -> tuple[Tensor, list[Tensor]]:
            part = Batch(*(tensor[:, rows] for tensor in batch))
            return self._denoiser.loss_and_gradients(
                part.x_0, part.eps, part.log_snr, part.weight / n_rows, bfloat16=self._training.bfloat16
            )

        n_rows = batch.x_0.shape[1]
        on_cpu = self._denoiser.device.type == "cpu"
        results = parallel_map(of_piece, pieces(n_rows) if on_cpu else [slice(0, n_rows)])
        losses, gradients = zip(*results, strict=True)
        return torch.stack(losses).sum(), reduce(_added, list(gradients))

    def _step_adam(self, gradients: list[Tensor], rate_factor: float) -> None:
        # The fused operation ignores strides, so that a transposed gradient would move the wrong weights.
        gradients, weights = [g.contiguous() for g in gradients], _at(self.parameters, self._by_adam)
        for place in self._penalised:
            gradients[place] = gradients[place].add(weights[place], alpha=self._training.input_ridge)
        if self._training.embedding_decay and self._of_embedding:
            share = self._training.learning_rate * rate_factor * self._training.embedding_decay
            torch._foreach_mul_(_at(self.parameters, self._of_embedding), 1.0 - share)
        if weights:
            adamw(
                weights,
                gradients,
                self._mean,
                self._mean_square,
                [],
                self._n_steps,
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.99 if self._training.decay else 0.999,
                lr=self._training.learning_rate * rate_factor,
                weight_decay=self._training.outer_decay,
                eps=1e-8,
                maximize=False,
            )


def pieces(n_rows: int) -> list[slice]:
    """Return the rows of each piece of a step on a CPU: pieces of at most 2,048 rows, an even number for two threads.

    Fewer than 512 rows are one piece: launching the operations of a smaller one takes longer than computing them.

    >>> from backwalk.training.learner import pieces
    >>> pieces(1000)
    [slice(0, 500, None), slice(500, 1000, None)]
    """
    n_pieces = 1 if n_rows < LEAST_ROWS_TO_CUT else 2 * -(-n_rows // (2 * MOST_ROWS_OF_A_PIECE))
    length = -(-n_rows // n_pieces)
    return [slice(first, min(first + length, n_rows)) for first in range(0, n_rows, length)]


def average_power(width: float) -> float:
    """Return gamma of an average whose window has standard deviation `width`, as a share of the steps so far.

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


def _added(one: list[Tensor], other: list[Tensor]) -> list[Tensor]:
    return list(torch._foreach_add(one, other))


def _at(tensors: list[Tensor], places: Iterable[int]) -> list[Tensor]:
    return [tensors[i] for i in places]
