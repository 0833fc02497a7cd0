"""The command line: it parses the arguments, calls a task of `backwalk.tasks`, and prints the result.

Data go to stdout, messages to stderr. Exit status: 0 done; 1 an error, reported in one line; 2 wrong usage;
130 Ctrl-C; 143 SIGTERM; 129 SIGHUP (the terminal was closed). Tasks, and torch with them, are imported when a command
runs, so that `--help` answers at once.
"""

from backwalk.cli.commands import cli
from backwalk.cli.program import main

__all__ = ["cli", "main"]
