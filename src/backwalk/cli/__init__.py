"""The command line: argv in, one call into the library, an exit status out.

Data go to stdout, messages to stderr. Exit status: 0 done; 1 an error of ours, in one line; 2 wrong usage; 130 Ctrl-C;
143 SIGTERM; 129 SIGHUP, its terminal was closed. Nothing heavy is imported before a command needs it, so that `--help`
answers at once.
"""

from backwalk.cli.commands import cli
from backwalk.cli.program import main

__all__ = ["cli", "main"]
