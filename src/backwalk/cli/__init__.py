"""The command line, a file for each command: its options, one call of the library, and what it prints.

Data go to stdout, messages to stderr. Exit status: 0 done; 1 an error, reported in one line; 2 wrong usage;
130 Ctrl-C; 143 SIGTERM; 129 SIGHUP (the terminal was closed). A command imports the library, and torch with it, when it
runs, so that `--help` answers at once.
"""

from backwalk.cli.program import cli, main

__all__ = ["cli", "main"]
