"""`backwalk playground`."""

from __future__ import annotations

import importlib
import sys
from inspect import signature
from pathlib import Path
from typing import Any

import click

from backwalk.cli import options
from backwalk.cli.console import Console
from backwalk.errors import InvalidInput


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    show_default="a temporary file, which is opened in the browser",
    help="Write the page to this .html file.",
)
@click.option(
    "--columns", metavar="A,B", show_default="the first two that are numbers", help="The two columns of MODEL shown."
)
@click.option(
    "--network",
    metavar="MODULE:NAME",
    help="The code of a MODEL with a network of your own: a module, or a class or function that makes one of no "
    "arguments or of the number of columns. MODULE is also sought in the current folder.",
)
@options.force_option
@options.verbosity_options
@click.pass_obj
def playground(
    console: Console, model: Path | None, output: Path | None, columns: str | None, network: str | None, force: bool
) -> None:
    """Open a page on which noise becomes data, and a network learns in the browser.

    The page is one file that needs no server and no connection. With MODEL it shows that model's chain, steps, field
    and bound too.
    """
    if model is None and (columns or network):
        raise click.UsageError("--columns and --network go with a MODEL: name the file of one.")
    from backwalk.playground import Page, answers_of

    page = Page()
    if model is not None:
        from backwalk import Diffusion

        denoiser = None if network is None else _network_of(network, model)
        fitted = Diffusion.load(model, denoiser=denoiser)
        names = None if columns is None else [name.strip() for name in columns.split(",")]
        page = Page(answers_of(fitted.model_, columns=names, title=model.name), title=model.name)
    if output is not None:
        page.save(output, overwrite=force)
        console.message(f"page: {output.resolve()}")
    else:
        console.message(f"page: {page.open()}")


@click.command(hidden=True, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def web() -> None:
    """Say which command takes this one's place; it stays for one version."""
    raise InvalidInput("backwalk web is no more: call backwalk playground, whose page needs no server.")


def _network_of(text: str, path: Path) -> Any:
    """Return the module that MODULE:NAME names, for the model in a file. Raises InvalidInput."""
    from torch import nn

    from backwalk.model_file import n_network_columns

    place, _, name = text.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(place), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidInput(f"--network should be MODULE:NAME, but {text!r} cannot be imported: {error}.") from error
    finally:
        sys.path.pop(0)
    if callable(found) and not isinstance(found, nn.Module):
        needed = [each for each in signature(found).parameters.values() if each.default is each.empty]
        found = found(*[n_network_columns(path)] if needed else [])
    if not isinstance(found, nn.Module):
        raise InvalidInput(f"--network should name a torch.nn.Module, or what makes one, but {text!r} does not.")
    return found
