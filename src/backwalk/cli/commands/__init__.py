"""The commands, one per file: each reads its options, calls the task of its name, and prints the result."""

import click

from backwalk import __version__
from backwalk.cli.commands.demo import demo
from backwalk.cli.commands.distil import distil
from backwalk.cli.commands.fit import fit
from backwalk.cli.commands.impute import impute
from backwalk.cli.commands.info import info
from backwalk.cli.commands.report import report
from backwalk.cli.commands.sample import sample
from backwalk.cli.commands.score import score
from backwalk.cli.commands.split import split
from backwalk.cli.commands.verify import verify
from backwalk.cli.commands.web import web
from backwalk.cli.options import verbosity_options

_SETTINGS = {"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "BACKWALK", "max_content_width": 100}


@click.group(context_settings=_SETTINGS)
@click.version_option(__version__, "--version", prog_name="backwalk")
@verbosity_options
def cli() -> None:
    """Fit diffusion models to tables, draw new rows from them, score and complete rows, and assess the models.

    DATA is a .csv, .tsv (or .gz), .parquet or .npy file of numbers, texts, dates and times, with or without gaps, - for
    CSV from standard input, or the name of a built-in density such as two_moons (`backwalk info` lists them). Begin
    with `backwalk demo`.
    """


for _command in (demo, split, fit, sample, score, impute, verify, report, distil, info, web):
    cli.add_command(_command)

__all__ = ["cli"]
