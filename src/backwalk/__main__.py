"""`python -m backwalk`."""

from backwalk.cli import main

main()
