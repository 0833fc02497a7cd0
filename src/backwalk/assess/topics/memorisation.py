"""Memorisation: does the model copy training rows, and are its loss and bound lower on them than on unseen rows?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from backwalk.assess.representation import kinds_of
from backwalk.assess.statistics import RareCopies, nearest_row_share, rare_copies
from backwalk.assess.topics.rows import MOST_IN_A_SET, RowSets
from backwalk.assess.words import percent, with_error
from backwalk.diffusion import variational_bound
from backwalk.estimates import Estimate, Rows, mean_estimate, random_rows
from backwalk.model import DiffusionModel, bound, encode_complete, reverse_variances
from backwalk.sampling import Sampler
from backwalk.streams import Stream

_N_STEPS, _MOST_ROWS = 50, 5_000
_GAIN_THAT_MATTERS = 0.05  # nats per row
_SHARE_THAT_MATTERS = 0.55
_COPIES_THAT_MATTER = 0.01
_Z = 4.0


@dataclass(frozen=True)
class MemorisationScores:
    """What the model remembers of its training rows.

    `training_gain` is the bound on unseen rows minus that on training rows, for a chain of 50 steps, nats per row.
    `nearest_row_share` is the share of generated rows whose nearest real row was trained on, 1/2 without memorisation.
    `rare_copies` counts repeated rare combinations of levels (None with fewer than two columns of levels).
    """

    training_gain: Estimate
    nearest_row_share: Estimate
    rare_copies: RareCopies | None

    def warnings(self) -> Iterator[str]:
        """Yield the warnings about memorisation."""
        gain, share, rare = self.training_gain, self.nearest_row_share, self.rare_copies
        if gain.value > max(_GAIN_THAT_MATTERS, _Z * gain.standard_error):
            yield (
                "The model is overfitted: its bound on training rows is "
                f"{with_error(gain.value, gain.standard_error)} nats per row better than on unseen rows. Train on more "
                "rows, for fewer steps, or with a smaller network."
            )
        if share.value > max(_SHARE_THAT_MATTERS, 0.5 + _Z * share.standard_error):
            yield (
                f"The model repeats training rows: {with_error(share.value, share.standard_error, percent=True)} of "
                "generated rows lie nearer to a training row than to any of equally many unseen rows (50 % without "
                "copying). Train for fewer steps, or on more rows."
            )
        if rare is not None and rare.excess.value > max(_COPIES_THAT_MATTER, _Z * rare.excess.standard_error):
            yield (
                f"The model repeats rare rows of the training rows: {percent(rare.of_training)} of generated rows have "
                f"a combination of levels that one training row alone holds, and {percent(rare.of_unseen)} one that "
                "one of equally many unseen rows alone holds. Train for fewer steps, or on more rows."
            )


def score_training_gain(model: DiffusionModel, sets: RowSets, stream: Stream) -> Estimate:
    """Return `training_gain` of `MemorisationScores`; training rows are given.

    Integers of tables of numbers are at the same places in their cells; the bound of other tables dequantises them.
    """
    assert sets.trained is not None
    trained, unseen = draw_equally_many(sets.trained, sets.unseen, stream.child("gain"))
    if sets.representation.is_of_numbers:
        cells = stream.child("gain", "dequantisation")
        trained, unseen = (model.codec.dequantise(rows, stream=cells) for rows in (trained, unseen))
    return measure_training_gain(model, trained, unseen, stream.child("gain"))


def score_copies(sets: RowSets, stream: Stream) -> tuple[Estimate, RareCopies | None]:
    """Return `nearest_row_share` and `rare_copies` of `MemorisationScores`; training rows are given."""
    assert sets.trained is not None
    representation, trained = sets.representation, sets.trained
    represented = (sets.represented[:MOST_IN_A_SET], representation.encode(trained), representation.encode(sets.unseen))
    share = nearest_row_share(
        *(rows[:, representation.coordinates] for rows in represented), stream=stream.child("nearest")
    )
    columns = [j for j, kind in enumerate(kinds_of(representation.codec)) if kind.levels]
    if representation.is_of_numbers or len(columns) < 2:
        return share, None
    levels = (rows[:, columns] for rows in (sets.generated, trained, sets.unseen))
    return share, rare_copies(*levels, stream=stream.child("table", "rare"))


def draw_equally_many(trained: Rows, unseen: Rows, stream: Stream) -> tuple[Rows, Rows]:
    """Return equally many random rows of each, at most 5,000; later, row i of both sets gets the same noise."""
    n = min(len(trained), len(unseen), _MOST_ROWS)
    return (
        random_rows(trained, n, stream=stream.child("training")),
        random_rows(unseen, n, stream=stream.child("unseen")),
    )


def measure_training_gain(model: DiffusionModel, trained: Rows, unseen: Rows, stream: Stream) -> Estimate:
    """Return the bound on unseen rows minus that on as many training rows, with the same noise: nats per row.

    The bound is on encoded rows: the log-determinants of columns with heavy tails have the same mean for both sets and
    would only add variance. A chain of 50 steps saves time. The standard error is that of the row-paired differences.
    In a table with levels or gaps it is the bound in the user's units.
    """
    times, noise = Sampler("ancestral", _N_STEPS).times(model.schedule), stream.child("noise")
    if model.codec.blocks or np.isnan(trained).any() or np.isnan(unseen).any():
        on_trained, on_unseen = (
            bound(model, rows, stream=noise, steps=times).per_row.numpy() for rows in (trained, unseen)
        )
    else:
        schedule, sigma_sq = model.schedule.respace(times), reverse_variances(model, times)
        on_trained, on_unseen = (
            variational_bound(
                model.denoiser, encode_complete(model, rows).float(), schedule, sigma_sq, stream=noise, size=1.0
            ).per_row.numpy()
            for rows in (trained, unseen)
        )
    return mean_estimate(on_unseen - on_trained)
