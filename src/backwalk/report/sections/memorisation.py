"""The section of memorisation: copies of training rows, and the bound on training rows beside unseen rows."""

from __future__ import annotations

from backwalk.assess.words import estimate_text, percent, with_error
from backwalk.report.blocks import Bullets, Context, Section


def memorisation_section(context: Context) -> Section | None:
    """Show whether the model copies its training rows, if these were given."""
    scores = context.fidelity.memorisation
    if scores is None:
        return None
    share, rare = scores.nearest_row_share, scores.rare_copies
    lines = [
        f"{with_error(share.value, share.standard_error, percent=True)} of generated rows lie nearer to a training "
        "row than to any of equally many unseen rows. Without copying, 50 % would; more than that means copies.",
        f"Unseen rows cost {estimate_text(scores.training_gain)} nats per row more than training rows (the bound of a "
        "chain of 50 steps, with the same noise). Without memorisation the difference is 0.",
    ]
    if rare is not None and rare.n_rare:
        lines.append(
            f"{percent(rare.of_training)} of generated rows have a combination of levels that one training row alone "
            f"holds, {percent(rare.of_unseen)} one that one of equally many unseen rows alone holds: a difference of "
            f"{with_error(rare.excess.value, rare.excess.standard_error, percent=True)}. Without copying it is 0."
        )
    return Section("Does it copy training rows?", [Bullets(lines)])
