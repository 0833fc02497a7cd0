"""`backwalk demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from backwalk.cli import options
from backwalk.cli.console import Console
from backwalk.cli.fit import fit
from backwalk.cli.report import assess_and_report, check_report_target, print_answers
from backwalk.cli.sample import sample
from backwalk.errors import InvalidInput

ROWS = 10_000


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("out/demo"),
    show_default=True,
    help="Folder for model, samples and report.",
)
@options.training_options
@options.run_options
@click.pass_context
def demo(
    context: click.Context, /, output: Path, device: str, seed: int, force: bool, json: bool, **training: Any
) -> None:
    """Fit two moons, draw rows and write a report.

    All steps in one go, in about a minute. --json prints the answers; `backwalk report --json` prints all figures.
    """
    import shlex

    console = context.ensure_object(Console)
    if output.exists() and not force:
        raise InvalidInput(f"{output} exists already: name another folder with -o, or overwrite it with --force.")
    model, samples, page = output / "two_moons.backwalk", output / "samples.csv", output / "report.html"
    common: dict[str, Any] = {"device": device, "seed": seed, "force": force}
    console.message("two moons: 10,000 points with noise 0.05")
    context.invoke(fit, data="two_moons", output=model, **training, **common)
    check_report_target(page, force)
    context.invoke(sample, model=model, output=str(samples), n_samples=ROWS, **common)
    shared = f"--seed {seed}{'' if device == 'auto' else f' --device {device}'}"
    files = {"model": str(model), "samples": str(samples), "report": str(page)}
    m, s, r = map(shlex.quote, files.values())
    commands = [
        f"backwalk fit two_moons {shared}{_option_words(training)} -o {m}",
        f"backwalk sample {m} -n {ROWS} {shared} -o {s}",
        f"backwalk report {m} two_moons --training two_moons {shared} -o {r}",
    ]
    found, _ = assess_and_report(
        console, model=model, data="two_moons", training="two_moons", output=page, commands=commands, **common
    )
    if json:
        answers = {answer.question: answer.text for answer in found.answers}
        console.print_json({**files, "answers": answers, "warnings": list(found.warnings), "commands": commands})
    else:
        print_answers(console, found, page)


def _option_words(given: dict[str, Any]) -> str:
    """Return the options that differ from their defaults as a command line has them."""
    words = ((f"--{name.replace('_', '-')}", value) for name, value in given.items() if value)
    return "".join(f" {flag}" if value is True else f" {flag} {value}" for flag, value in words)
