"""Memorisation: does the model copy training rows, and are its loss and bound lower on them than on unseen rows?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from backwalk.assess.representation import kinds_of
from backwalk.assess.statistics.memorisation import RareCopies, draw_equally_many, nearest_row_share, rare_copies
from backwalk.assess.topics.rows import MOST_IN_A_SET, RowSets
from backwalk.assess.words import percent, with_error
from backwalk.diffusion import variational_bound
from backwalk.estimates import Estimate, Rows, mean_estimate
from backwalk.model import DiffusionModel, bound, encode_complete, reverse_variances
from backwalk.sampling import Sampler
from backwalk.streams import Stream

_N_STEPS, _MOST_ROWS = 50, 5_000
_GAIN_THAT_MATTERS = 0.05  # nats per row
SHARE_MARGIN = 0.05  # of the nearest row: one more of 20 generated rows lies nearer to a training row
RARE_MARGIN = 0.01  # one more of 100 generated rows has a rare combination of a training row
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
        if share.value > 0.5 + max(SHARE_MARGIN, _Z * share.standard_error):
            yield (
                f"The model repeats training rows: {with_error(share.value, share.standard_error, percent=True)} of "
                "generated rows lie nearer to a training row than to any of equally many unseen rows (50 % without "
                "copying). Train for fewer steps, or on more rows."
            )
        if rare is not None and rare.excess.value > max(RARE_MARGIN, _Z * rare.excess.standard_error):
            yield (
                f"The model repeats rare rows of the training rows: {percent(rare.of_training)} of generated rows have "
                f"a combination of levels that one training row alone holds, and {percent(rare.of_unseen)} one that "
                "one of equally many unseen rows alone holds. Train for fewer steps, or on more rows."
            )


def score_memorisation(model: DiffusionModel, sets: RowSets, stream: Stream) -> MemorisationScores | None:
    """Look for copies of the rows that were trained on; None without training rows."""
    trained, representation = sets.trained, sets.representation
    if trained is None:
        return None
    coordinates = representation.coordinates
    generated = sets.represented[:MOST_IN_A_SET, coordinates]
    on_trained, on_unseen = (representation.encode(rows)[:, coordinates] for rows in (trained, sets.unseen))
    columns, copies = [j for j, kind in enumerate(kinds_of(representation.codec)) if kind.levels], None
    if not representation.is_of_numbers and len(columns) > 1:
        levels = (rows[:, columns] for rows in (sets.generated, trained, sets.unseen))
        copies = rare_copies(*levels, stream=stream.child("table", "rare"))
    return MemorisationScores(
        measure_training_gain(model, trained, sets.unseen, stream.child("gain")),
        nearest_row_share(generated, on_trained, on_unseen, stream=stream.child("nearest")),
        copies,
    )


def measure_training_gain(model: DiffusionModel, trained: Rows, unseen: Rows, stream: Stream) -> Estimate:
    """Return the bound on unseen rows minus that on as many training rows, with the same noise: nats per row.

    Of numbers it is the bound on encoded rows: the log-determinants of columns with heavy tails have the same mean for
    both sets and would only add variance. Of a table with levels or gaps it is the bound in the user's units. A chain
    of 50 steps saves time, and at most 5,000 rows of each set are used. The standard error is that of the row-paired
    differences.
    """
    sets = draw_equally_many(trained, unseen, stream, most=_MOST_ROWS)
    times, noise = Sampler("ancestral", _N_STEPS).times(model.schedule), stream.child("noise")
    if model.codec.blocks or model.codec.rules is not None or np.isnan(trained).any() or np.isnan(unseen).any():
        short = replace(
            model,
            schedule=model.schedule.respace(times),
            denoising_error=model.denoising_error[[0, *times]],
            decoder_variance=float(reverse_variances(model, times)[1]),
        )
        terms = [bound(short, rows, stream=noise) for rows in sets]
    else:
        schedule, sigma_sq = model.schedule.respace(times), reverse_variances(model, times)
        cells = stream.child("dequantisation")  # the same places in the cells of both sets
        encoded = [encode_complete(model, model.codec.dequantise(rows, stream=cells)).float() for rows in sets]
        terms = [variational_bound(model.denoiser, z, schedule, sigma_sq, stream=noise, size=1.0) for z in encoded]
    on_trained, on_unseen = (each.per_row.numpy() for each in terms)
    return mean_estimate(on_unseen - on_trained)
