"""The section of prediction: models trained on generated rows and on real rows."""

from __future__ import annotations

from backwalk.assess.words import estimate_text, signed
from backwalk.report.blocks import Context, Row, Section, Table, Text


def prediction_section(context: Context) -> Section | None:
    """Show how well models trained on generated rows predict the target in unseen rows."""
    scores = context.fidelity.prediction
    if scores is None:
        return None
    name = context.name(scores.target)
    what = "−ln P(level), nats" if scores.is_level else "squared error / variance (1 − R²)"
    words = (
        f"Boosted trees predict {name} from the other columns. They are trained on {scores.n_training:,} generated or "
        f"real rows, and tested on {scores.generated.n:,} unseen real rows. ± is the error over the tested rows."
    )
    rows = [
        Row.of("Generated rows", estimate_text(scores.generated), signed(estimate_text(scores.excess))),
        Row.of("Real training rows", estimate_text(scores.real), "0"),
        Row.of("No other column", estimate_text(scores.constant), "–"),
    ]
    head = ("Trained on", f"Loss on unseen rows: {what}", "Minus that of real rows")
    return Section(f"Can generated rows teach to predict {name}?", [Text(words), Table(head, rows)])
