"""The examples in the README and docs run as they stand, and what they name exists."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SYMBOLS = (ROOT / "docs" / "reference" / "symbols.md").read_text()


def blocks(language, text=README):
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.campaign
def test_the_python_examples_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("backwalk.fit.plan.default_training", _short_training)
    monkeypatch.setattr("backwalk.assess.sets.MOST_IN_A_SET", 200)
    names: dict[str, object] = {}
    assert len(blocks("python")) == 5
    for block in blocks("python"):
        exec(compile(re.sub(r"\b(10|5)_000\b", "1_000", block), "README.md", "exec"), names)


def _short_training(n, d, max_steps=None, **_):
    from backwalk.fit import default_training

    return default_training(n, d, max_steps or 30)


@pytest.mark.campaign
def test_the_command_lines_run(tmp_path):
    found = [block for block in blocks("sh") if block.startswith("backwalk")]
    assert len(found) == 2
    rng = np.random.default_rng(0)
    rows = rng.normal([5.0, 3.0], [0.8, 0.4], size=(600, 2))
    np.savetxt(tmp_path / "all.csv", rows, delimiter=",", header="length,width", comments="")
    birds = "".join(f"{'Gentoo' if i % 3 else 'Adelie'},Biscoe{i % 2},{('f', 'm', '')[i % 5 % 3]}\n" for i in range(90))
    (tmp_path / "penguins.csv").write_text(f"species,island,sex\n{birds}")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where this environment's backwalk is
    environment = {**os.environ, "BACKWALK_FIT_MAX_STEPS": "20", "BACKWALK_DISTIL_MAX_TIME": "1", "PATH": path}
    for block in found:
        subprocess.run(["bash", "-euc", block], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert "Adelie" not in (tmp_path / "gentoos.csv").read_text()
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_its_table_is_that_of_the_benchmark():
    page = (ROOT / "docs" / "maintainers" / "benchmarks.md").read_text()
    measured = [{cell.strip() for cell in line.split("|")} for line in page.splitlines() if line.startswith("| ")]
    table = README[README.index("| fit, s |") :].split("\n\n")[0].splitlines()[2:]
    assert len(table) >= 5
    for line in table:
        cells = [cell.strip() for cell in line.split("|")[2:-1]]
        assert any(set(cells) <= row for row in measured), f"no line of docs/maintainers/benchmarks.md has {cells}"


def test_every_figure_with_an_error_is_on_the_page_of_benchmarks():
    page = (ROOT / "docs" / "maintainers" / "benchmarks.md").read_text()
    figures = re.findall(r"\d\.\d+ ± \d\.\d+", README)
    assert len(figures) > 15
    assert [figure for figure in figures if figure not in page] == []


@pytest.mark.parametrize("page", sorted(p.name for p in ROOT.glob("*.md")))
def test_the_files_that_a_page_links_to_exist(page):
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)|src=\"([^\"]+)\"", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / (link[0] or link[1])).exists(), link


def test_the_layers_of_the_architecture_name_every_room():
    table = (ROOT / "docs" / "maintainers" / "architecture.md").read_text().split("## Data flow")[0]
    rooms = {path.name for path in (ROOT / "src" / "backwalk").iterdir() if (path / "__init__.py").exists()}
    assert {room for room in rooms if f"`{room}`" not in table} == set()


def test_the_table_of_symbols_names_what_there_is():
    from backwalk import Diffusion, NoiseSchedule, diffusion

    table = [line for line in SYMBOLS.splitlines() if line.startswith("| ")]
    spans = [span for line in table for span in re.findall(r"`([^`]+)`", line.split("|")[-2])]
    assert len(spans) > 40
    for span in spans:
        name = span.partition("(")[0].removesuffix("_")
        owner, _, attribute = name.partition(".")
        if owner == "schedule":
            assert hasattr(NoiseSchedule, attribute) or attribute == "log_snr", span
        elif owner in ("NoiseSchedule", ""):
            assert hasattr(NoiseSchedule, attribute), span
        elif owner in ("Diffusion", "model") and attribute not in ("denoiser", "model_.sigma_sq"):
            assert hasattr(Diffusion, attribute), span
        elif not attribute:
            assert hasattr(diffusion, name), span
