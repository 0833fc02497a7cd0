"""`python -m backwalk`."""

from backwalk.cli import main

if __name__ == "__main__":  # not in the worker processes that it spawns
    main()
