"""The figures of an assessment as a model card, a README.md in the form of the Hugging Face hub.

The head is YAML, written as JSON values, which are YAML too. Texts that may come from a table, such as the names of its
columns, are escaped, so that they stay text.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from backwalk.assess import Calibration, Fidelity
from backwalk.assess.topics.closeness import DESCRIPTIONS
from backwalk.assess.words import estimate_text, figure_texts
from backwalk.files import atomic_write
from backwalk.formatting import visible
from backwalk.model import DiffusionModel
from backwalk.report.sections.card import card_rows

_MARKDOWN = re.compile(r"([\\`*_\[\]|#<>&~$!])")
_DENSITY = "-log p of unseen rows, nats per row"
_PRIVACY = (
    "The file of the model holds the names of the columns, labels, frequent values, and the least and the largest of "
    "each number. A model may reveal rows that it was trained on."
)


def render_hub_card(fidelity: Calibration, model: DiffusionModel) -> str:
    """Return the README.md of a model as text: what it is, the answers, warnings and figures, and how to use it."""
    description = str(model.card.get("description", "diffusion model"))
    title = description[:1].upper() + description[1:]
    return "\n".join(
        [
            "---",
            *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in _head(fidelity, title).items()),
            "---",
            "",
            f"# {_text(title)}",
            "",
            *(f"**{_text(answer.question)}** {_text(answer.text)}\n" for answer in fidelity.answers),
            *(["## Before you use it", ""] if fidelity.warnings else []),
            *(f"- {_text(warning)}\n" for warning in fidelity.warnings),
            "## How to use it",
            "",
            "```python",
            "from backwalk import Diffusion",
            "",
            _loading(model),
            *(["rows = model.sample(1_000)"] if isinstance(fidelity, Fidelity) else []),
            "```",
            "",
            *(_figures(fidelity) if isinstance(fidelity, Fidelity) else []),
            "## Limits",
            "",
            _PRIVACY,
            "",
            "## How it was fitted",
            "",
            "| | |",
            "| --- | --- |",
            *(f"| {_text(name)} | {_text(value)} |" for name, value in card_rows(model)),
            "",
        ]
    )


def write_hub_card(path: str | Path, fidelity: Calibration, model: DiffusionModel, *, overwrite: bool = False) -> None:
    """Write the text of `render_hub_card` to a file, which is replaced atomically.

    Raises OSError if the file cannot be written, and FileExistsError if it exists and `overwrite` is False.
    """
    with atomic_write(path, overwrite=overwrite) as file:
        file.write(render_hub_card(fidelity, model).encode())


def _head(fidelity: Calibration, title: str) -> dict[str, object]:
    """Return the metadata that the hub reads."""
    head: dict[str, object] = {
        "library_name": "backwalk",
        "tags": ["backwalk", "diffusion", "tabular", "density-estimation"],
    }
    if not isinstance(fidelity, Fidelity):
        return head
    values = {figure.name: figure.value for figure in fidelity.model.figures}
    values[_DENSITY] = fidelity.model.negative_log_density.value
    results = {
        "task": {"type": "tabular-generation"},
        "dataset": {"type": "tabular", "name": "unseen rows of the same table"},
        "metrics": [{"type": name, "name": name, "value": value} for name, value in values.items()],
    }
    return {**head, "model-index": [{"name": title, "results": [results]}]}


def _figures(fidelity: Fidelity) -> list[str]:
    """Return the figures of the model and of the baselines as a table, beside those of real rows."""
    models = fidelity.models
    rows = [("Statistic", "real rows", *(_text(scores.name) for scores in models)), ("---",) * (2 + len(models))]
    for figure in fidelity.model.figures:
        values = (figure_texts(scores.figure(figure.name))[0] for scores in models)
        explanation = DESCRIPTIONS[figure.name].explanation
        rows.append((f"{_text(figure.name)}: {_text(explanation)}", figure_texts(figure)[1], *values))
    rows.append((_DENSITY, "", *(estimate_text(scores.negative_log_density) for scores in models)))
    real = _text(fidelity.real_rows)
    what = f"Generated rows against {real}, beside these against other real rows; ± standard errors."
    return ["## How good it is", "", what, "", *(f"| {' | '.join(row)} |" for row in rows), ""]


def _loading(model: DiffusionModel) -> str:
    """Return the line of code that loads the model, with the modules of a user that its file does not hold."""
    parameters = model.card.get("parameters", {})
    own = [name for name in ("denoiser", "embedding") if (parameters.get(name) or {}).get("kind") == "Module"]
    modules = "".join(f", {name}={parameters[name]['name']}(...)" for name in own)
    return f'model = Diffusion.load("model.backwalk"{modules})'


def _text(text: str) -> str:
    """Return text on one line in which Markdown and HTML find nothing."""
    return _MARKDOWN.sub(r"\\\1", " ".join(visible(text).split()))
