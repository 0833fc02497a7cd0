"""Facts of a fitted model in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from backwalk.diffusion import NoiseSchedule
from backwalk.formatting import listed

if TYPE_CHECKING:
    from backwalk.model.diffusion_model import DiffusionModel, Student

MISMATCH_THAT_MATTERS = 0.01  # nats per row


def blur_words(model: DiffusionModel, names: Sequence[str] | None = None) -> str:
    """Describe the blur of a model's log-density, in the units of each column."""
    columns = zip(names or model.schema.names, model.codec.columns, model.blur, strict=True)
    blur = [
        f"{size:.2g} in {name}{' (more in its tails)' if column.axis.asinh else ''}"
        for name, column, size in columns
        if size
    ]
    return f"noise of standard deviation {listed(blur)}"


def training_words(model: DiffusionModel) -> str:
    """Describe the training of a model: steps, rows per step, precision."""
    plan = model.card.get("settings", {}).get("training")  # a file's card may hold anything
    plan = plan if isinstance(plan, dict) else {}
    words, usual = f"{model.history.n_steps:,} steps", model.card.get("usual_steps", 0)
    if model.card.get("stopped_by") == "time limit" and model.history.n_steps < usual:
        words = time_limit_words(model.history.n_steps, usual)
    if isinstance(plan.get("batch_size"), int):
        words += f" of {plan['batch_size']:,} rows per member"
    return words + (", products in bfloat16" if plan.get("bfloat16") is True else "")


def time_limit_words(n_steps: int, usual_steps: int) -> str:
    """Describe a training that a time limit ended."""
    return f"stopped by the time limit after {n_steps:,} of about {usual_steps:,} steps"


def student_words(student: Student) -> str:
    """Describe a student: its network and its error."""
    return f"{student.architecture}, with a root mean square error of {student.error:.2g} of a column's scale"


def mismatch_warning(prior_mismatch: float, schedule: NoiseSchedule) -> str | None:
    """Describe the cost of a prior mismatch; None below 0.01 nats per row."""
    if prior_mismatch < MISMATCH_THAT_MATTERS:
        return None
    return (
        f"prior mismatch: alpha_bar_N = {float(schedule.alpha_bar[-1]):.4f} after {schedule.n_steps} steps, so x_N "
        f"still holds signal (SNR {float(schedule.snr[-1]):.2f}), while sampling starts from pure noise. That costs "
        f"the bound at least {prior_mismatch:.3f} nats per row, whatever the network. Use more steps or larger betas, "
        "or leave the schedule to Diffusion()."
    )
