"""What moves a denoiser's weights: the gradients of a batch, the optimisers' steps, and the average along the way.

On a CPU a step is cut into shards of the batch's rows and then into groups of the matrices that Muon moves. The pieces
follow from sizes alone, so that the bits do not depend on the number of threads. On a GPU nothing is cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from itertools import zip_longest
from typing import NamedTuple

import torch
from torch import Tensor

from backwalk.denoiser import EnsembleDenoiser
from backwalk.threads import Map, scripted
from backwalk.training.adam import Adam, AdamStep, adam_step
from backwalk.training.batches import Batch
from backwalk.training.config import Training
from backwalk.training.ema import AverageStep, PowerAverage, average_step
from backwalk.training.muon import Muon, MuonStep, Turns, muon_step, turns_for

LEAST_SHARDED_ROWS, SHARD_ROWS = 512, 1024  # a batch of fewer rows is one shard; no shard has more rows than this
# Of a batch that one thread goes through: 1,500 rows of width 48 at once take 2.5 ms, in two shards 2.85.
UNCUT_ROWS = 2048
LEAST_DEALT_WIDTH = 65  # matrices up to a width of 64 are not worth the handing over to threads


class Learner:
    """A denoiser and what moves it. With `cut` a step is in pieces for several threads.

    Steps differ by their number modulo `turns` in the matrices that they move, and in nothing else but numbers.
    """

    def __init__(self, denoiser: EnsembleDenoiser, training: Training, *, cut: bool) -> None:
        self._denoiser, self._training, self._cut = denoiser, training, cut
        parameters = list(denoiser.parameters())
        self.parameters: list[Tensor] = [parameter.detach() for parameter in parameters]
        matrices = denoiser.hidden_matrices() if training.hidden_rate is not None else []
        places = {id(parameter): i for i, parameter in enumerate(parameters)}
        of_muon = [places.pop(id(matrix)) for matrix in matrices]
        width = matrices[0].shape[-1] if matrices else 0
        turns = turns_for(width, len(matrices))
        # Of a group of as many matrices as there are busy turns, one moves in a step.
        group = turns.busy if cut and width >= LEAST_DEALT_WIDTH else max(1, len(of_muon))
        groups = [of_muon[first : first + group] for first in range(0, len(of_muon), group)]
        dealt = zip_longest(groups, [list(places.values())], fillvalue=list[int]())
        self._movers = [Mover(self.parameters, by_muon, by_adam, turns, training) for by_muon, by_adam in dealt]
        self.turns = turns.every if matrices else 1

    @property
    def averages(self) -> list[Tensor]:
        """The average of each of `parameters`, or these themselves where the plan wants none."""
        averages = {i: average for mover in self._movers for i, average in mover.averages()}
        return [averages.get(i, parameter) for i, parameter in enumerate(self.parameters)]

    def moving(self) -> dict[str, list[Tensor]]:
        """Return everything that a step moves, by what it is; not copies."""
        average = self.averages if self._training.ema_width else []
        return {
            "weights": self.parameters,
            "average": average,
            **joined([mover.moving() for mover in self._movers]),
        }

    def step(self, batch: Batch, rate: float, number: int, parallel_map: Map = map) -> Tensor:
        """Take step `number`, counted from 0, at so many times the plan's rates; return the members' summed loss."""
        return self.take(batch, self.at(rate, number), parallel_map)

    def at(self, rate: float, number: int) -> list[MoverStep]:
        """Return what `take` wants to take step `number`; it holds until the next is asked."""
        return [mover.at(rate, number) for mover in self._movers]

    def take(self, batch: Batch, steps: list[MoverStep], parallel_map: Map = map) -> Tensor:
        """Take a step with each mover's part, and return the members' summed loss."""
        loss, gradients = self.gradients(batch, parallel_map)

        def move(k: int) -> None:
            self._movers[k].take(gradients, steps[k])

        for _ in parallel_map(move, range(len(steps))):
            pass
        return loss

    def gradients(self, batch: Batch, parallel_map: Map = map) -> tuple[Tensor, list[Tensor]]:
        """Return the loss, the mean over the rows and the sum over the members, and its gradient by each parameter.

        Each shard is computed on one thread, so that nothing waits at a barrier after every layer and its activations
        stay in the cache; their gradients are added in a fixed order.
        """
        rows = batch.x_0.shape[1]
        shard_rows = -(-rows // self._n_shards(rows))

        def of_shard(start: int) -> list[Tensor]:
            part = batch.rows(start, start + shard_rows)
            loss, gradients = self._denoiser.loss_and_gradients(
                part.x_0, part.eps, part.log_snr, part.weight / rows, bfloat16=self._training.bfloat16
            )
            return [loss, *gradients]

        shards = parallel_map(of_shard, range(0, rows, shard_rows))
        loss, *gradients = reduce(lambda one, other: list(torch._foreach_add(one, other)), shards)
        return loss, gradients

    def _n_shards(self, rows: int) -> int:
        if self.parameters[0].device.type != "cpu":
            return 1
        if not self._cut:
            return -(-rows // UNCUT_ROWS)
        return 2 * -(-rows // (2 * SHARD_ROWS)) if rows >= LEAST_SHARDED_ROWS else 1


class MoverStep(NamedTuple):
    """What `moved` wants beside the gradients."""

    muon: MuonStep
    adam: AdamStep
    average: AverageStep


class Mover:
    """What moves and averages some of a denoiser's parameters, given by their places: Muon some of these, Adam some."""

    def __init__(
        self, parameters: list[Tensor], of_muon: list[int], of_adam: list[int], turns: Turns, training: Training
    ) -> None:
        self._places, self._training = [*of_muon, *of_adam], training
        self._muon = Muon(
            [parameters[i] for i in of_muon],
            turns,
            weight_decay=training.weight_decay,
            bfloat16=training.bfloat16,
        )
        self._adam = Adam([parameters[i] for i in of_adam], betas=(0.9, 0.99) if training.decay else (0.9, 0.999))
        own = [parameters[i] for i in self._places]
        self._average = PowerAverage(own, training.ema_width) if training.ema_width else None

    def averages(self) -> Iterator[tuple[int, Tensor]]:
        """Yield the place of each parameter that is averaged, and its average."""
        if self._average is not None:
            yield from zip(self._places, self._average.average, strict=True)

    def moving(self) -> dict[str, list[Tensor]]:
        """Return what the optimisers remember, by what it is; not copies."""
        return {
            "momentum": self._muon.momentum,
            "adam.mean": self._adam.mean,
            "adam.mean_square": self._adam.mean_square,
        }

    def at(self, rate: float, number: int) -> MoverStep:
        """Return step `number`, counted from 0, at so many times the plan's rates."""
        return MoverStep(
            self._muon.at((self._training.hidden_rate or 0.0) * rate, number),
            self._adam.at(self._training.learning_rate * rate, number + 1),
            self._average.at(number + 1) if self._average else AverageStep([], [], torch.zeros(())),
        )

    def take(self, gradients: list[Tensor], step: MoverStep) -> None:
        """Take a step with the gradients by all of the denoiser's parameters."""
        own = [gradients[i] for i in self._places]
        scripted(moved, own[0].device)(own, *step)


def moved(gradients: list[Tensor], muon: MuonStep, adam: AdamStep, average: AverageStep) -> None:
    """Take a step of each: the first gradients are by the parameters that Muon moves, the rest by those of Adam."""
    n = len(muon.momentum)
    muon_step(gradients[:n], muon)
    adam_step(gradients[n:], adam)
    average_step(average)


def joined(parts: list[dict[str, list[Tensor]]]) -> dict[str, list[Tensor]]:
    """Return the parts put together, name by name."""
    return {name: [tensor for part in parts for tensor in part[name]] for name in parts[0]}
