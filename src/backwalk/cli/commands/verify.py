"""`backwalk verify`."""

from typing import Any

import click

from backwalk.cli.options import engine_options, reply_options
from backwalk.cli.output import observed, print_json, say


@click.command()
@click.argument("folder")
@click.option("--repair", is_flag=True, help="Make missing and bad parts again, and remove stray ones.")
@engine_options
@reply_options
@click.pass_context
def verify(context: click.Context, /, json: bool, **options: Any) -> int:
    """Check the parts of an output in FOLDER.

    FOLDER is one that `sample`, `score` or `impute` wrote. Each part is compared with its entry, which was written
    beside it; a part that is missing, damaged or of another output is named, and the exit status is then 1. With
    --repair such parts are made again from the same model and data. They have the same bits on the same kind of
    processor; whether they do is said.
    """
    from backwalk.tasks.verify import verify as run

    with observed(context) as observer:
        result = run(**options, observer=observer)
    if json:
        print_json(result.record())
    else:
        for line in result.lines():
            say(context, line)
    return 0 if result.whole else 1
