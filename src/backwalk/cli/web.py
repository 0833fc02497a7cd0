"""`backwalk web`."""

from __future__ import annotations

from pathlib import Path

import click

from backwalk.cli.console import Console
from backwalk.cli.options import force_option, verbosity_options


@click.command()
@click.argument("source", metavar="[MODEL|DATA]", required=False)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    show_default="8000, or the next one that is free",
    help="Port of 127.0.0.1.",
)
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@click.option(
    "--network",
    metavar="MODULE:NAME",
    help="The code of a MODEL with a network of your own: a module, or a class or function that makes one of no "
    "arguments or of the number of columns. MODULE is also sought in the current folder.",
)
@click.option(
    "--export",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the page of MODEL as one .html file that needs no server, and end.",
)
@force_option
@verbosity_options
@click.pass_obj
def web(
    console: Console,
    source: str | None,
    port: int | None,
    no_browser: bool,
    network: str | None,
    export: Path | None,
    force: bool,
) -> None:
    """Open a page on which noise becomes data.

    The page shows a model that backwalk ships with, MODEL, or the rows of DATA, and trains models of them. It needs
    `pip install "backwalk[web]"`. Its server answers to this computer alone, and only with the token in the address
    that is printed; Ctrl-C ends it.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise click.ClickException(
            f'The page needs {error.name}, which is not installed: pip install "backwalk[web]".'
        ) from error
    from backwalk.web.serve import parse_source, serve

    opened = parse_source(source)
    if network is not None:
        if "model" not in opened:
            raise click.UsageError("--network goes with a MODEL: name the file of one.")
        opened["network"] = network
    if export is None:
        serve(**opened, port=port, browser=not no_browser, say=console.message)
        return
    if "data" in opened:
        raise click.UsageError("--export writes the page of a MODEL: fit one to DATA first.")
    from backwalk.web.export import write_page

    write_page(export, **opened, overwrite=force)
    console.message(f"page: {export.resolve()}")
