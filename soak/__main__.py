"""Runs campaigns: `python -m soak` all of them at their full size, `--short` a few seconds of each.

With `--write`, results join those in `soak/results.json`, from which `docs/trust.md` is made.
"""

from __future__ import annotations

import argparse
import sys

import torch

from soak.campaign import run
from soak.page import record, write_page
from soak.table import CAMPAIGNS


def main() -> int:
    """Read the command line, run what it names, and return the exit status: 1 where a case failed."""
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("names", nargs="*", help="campaigns, or their modules; all without any")
    parser.add_argument("--short", action="store_true", help="a few cases of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="keep the results, and make docs/trust.md anew")
    parser.add_argument("--list", action="store_true", help="only list the campaigns")
    options = parser.parse_args()
    torch.set_num_threads(1)  # children are forked from a process without other threads
    failures = 0
    for campaign in CAMPAIGNS:
        if options.names and not {campaign.name, campaign.name.partition(".")[0]} & set(options.names):
            continue
        if options.list:
            print(f"{campaign.name:<32}{campaign.full:>8}{campaign.short:>6}  {campaign.fault}")
            continue
        n = campaign.short if options.short else campaign.full
        if n == 0:
            continue
        result = run(campaign, n, options.seed)
        failures += result.failures
        print(
            f"{result.name:<32}{result.cases:>8} cases{result.failures:>6} failed{result.seconds:>9.1f} s", flush=True
        )
        if result.skipped:
            print(f"    SKIPPED: {result.skipped}", flush=True)
        for failure in result.first_failures:
            print(f"    {failure}", flush=True)
        if options.write:
            record(result, options.seed)
    if options.write:
        write_page()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
