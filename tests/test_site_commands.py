"""The commands that pages of the site show run as they stand."""

import ast
import contextlib
import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest

from backwalk import Diffusion
from backwalk.cli import cli
from backwalk.datasets import penguins

DOCS = Path(__file__).parents[1] / "docs"
ALL_PAGES = [path for path in sorted(DOCS.parent.rglob("*.md")) if path.parent == DOCS.parent or DOCS in path.parents]
PAGES = {
    "tutorials/posterior.md": 1,
    "tutorials/reading-a-report.md": 1,
    "tutorials/table.md": 1,
    "how-to/choose-kinds.md": 1,
    "how-to/fill-gaps.md": 1,
    "how-to/large-tables.md": 1,
    "how-to/limit-time.md": 1,
    "how-to/many-machines.md": 1,
    "how-to/messy-files.md": 1,
    "how-to/predict-a-column.md": 1,
    "how-to/rank-outliers.md": 1,
    "how-to/report-by-command.md": 1,
    "how-to/rules.md": 1,
}
# What comes before a page: the fit or the split that it does not show.
BEFORE = {
    "tutorials/posterior.md": "backwalk split sims.csv train.csv unseen.csv",
    "tutorials/reading-a-report.md": "backwalk split penguins.csv known.csv unseen.csv\nbackwalk fit known.csv",
    "tutorials/table.md": "rm penguins.csv",  # which it writes
    "how-to/report-by-command.md": "rm penguins.csv",
    "how-to/many-machines.md": "backwalk fit penguins.csv -o model.backwalk",
    "how-to/predict-a-column.md": "backwalk split penguins.csv known.csv unseen.csv\nbackwalk fit known.csv",
    "how-to/rank-outliers.md": "backwalk split penguins.csv known.csv unseen.csv\nbackwalk fit known.csv",
}


def commands(page):
    """Return the blocks of a page that hold nothing but commands of backwalk."""
    found = re.findall(r"```sh\n(.*?)```", (DOCS / page).read_text(), flags=re.DOTALL)
    return [block for block in found if all(line.startswith("backwalk ") for line in block.splitlines())]


@pytest.fixture
def tables(tmp_path):
    """Write the tables that the pages name, and fit one model."""
    rng = np.random.default_rng(0)
    birds = penguins().to_pandas().sample(frac=1, random_state=0, ignore_index=True)
    n = 120
    birds.to_csv(tmp_path / "penguins.csv", index=False)
    birds[:20].assign(name=[f"bird {i}" for i in range(20)]).to_csv(tmp_path / "new.csv", index=False)
    birds.to_parquet(tmp_path / "gaps.parquet")
    birds.to_csv(tmp_path / "events.csv.gz", index=False)
    (tmp_path / "data").mkdir()
    for part in range(2):
        birds[part::2].to_parquet(tmp_path / "data" / f"{part}.parquet")
    speed, angle = rng.uniform(5, 15, n), rng.uniform(20, 70, n)
    flight, reach = speed * np.sin(np.radians(angle)) / 4.9, speed**2 * np.sin(np.radians(2 * angle)) / 9.8
    sims = {"speed": speed, "angle": angle, "flight": flight, "reach": reach}
    pd.DataFrame(sims).to_csv(tmp_path / "sims.csv", index=False)
    rooms, start = rng.integers(1, 5, n), rng.integers(0, 300, n)
    table = {"postcode": 10115 + rooms, "share": rng.random(n), "visits": rooms, "start": start, "end": start + rooms}
    pd.DataFrame(table).to_csv(tmp_path / "table.csv", index=False)
    rows = (f"{1 + i % 28}.{1 + i % 3}.2024;{9 + i % 7},{i % 10}5;{'?' if i % 9 == 0 else 'open'}" for i in range(120))
    (tmp_path / "sales.csv").write_text("\n".join(["day;price;state", *rows]))
    return tmp_path


@pytest.mark.campaign
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(page, tables):
    blocks = commands(page)
    assert len(blocks) == PAGES[page]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where this environment's backwalk is
    overwritten = {"BACKWALK_FIT_FORCE": "1", "BACKWALK_SPLIT_FORCE": "1", "BACKWALK_SAMPLE_FORCE": "1"}
    settings = {"BACKWALK_FIT_MAX_STEPS": "20", "PATH": path, **overwritten}
    for block in (BEFORE.get(page, ""), *blocks):
        fewer = block.replace(":1_000_000", ":300")
        subprocess.run(["bash", "-euc", fewer], cwd=tables, env={**os.environ, **settings}, check=True)


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda path: path.relative_to(DOCS.parent).as_posix())
def test_the_commands_and_options_that_a_page_names_exist(page):
    text = page.read_text()
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL) for line in block.splitlines()]
    spans = re.findall(r"`(backwalk [a-z]+ [^`]*--?[^`]*)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    for line in [line for line in lines if line.startswith("backwalk ")] + spans:
        words = shlex.split(line.replace("\\|", "|"), comments=True)
        _, name, *words = words[: words.index("|")] if "|" in words else words
        command = cli.commands[name]
        with contextlib.suppress(click.BadOptionUsage):  # an option that is named without a value
            command.make_parser(command.context_class(command)).parse_args(
                words
            )  # raises where there is no such option


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda path: path.relative_to(DOCS.parent).as_posix())
def test_python_on_a_page_parses_and_what_it_takes_from_backwalk_exists(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "backwalk":
                module = importlib.import_module(node.module)
                assert all(hasattr(module, name.name) for name in node.names), node.module
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "model":
                assert hasattr(Diffusion(), node.attr) or node.attr.endswith("_"), node.attr
