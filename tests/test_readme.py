"""The examples in the README and docs run as they stand, and what they name exists."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SYMBOLS = (ROOT / "docs" / "reference" / "symbols.md").read_text()


@pytest.mark.campaign
def test_everything_runs_as_pasted_in_this_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("backwalk.fit.plan.default_training", _short_training)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where this environment's backwalk is
    environment = {**os.environ, "BACKWALK_FIT_MAX_STEPS": "20", "PATH": path}
    names: dict[str, object] = {}
    found = re.findall(r"```(sh|python)\n(.*?)```", README, flags=re.DOTALL)
    assert [language for language, _ in found] == ["sh", "python", "sh", "python"]
    for language, block in found:
        if language == "python":
            exec(compile(block.replace("5_000", "1_000"), "README.md", "exec"), names)
        else:
            lines = block.replace("pip install .\n", "")
            done = subprocess.run(["bash", "-euc", lines], env=environment, check=True, capture_output=True, text=True)
            if "--given species=Gentoo" in lines:
                assert [line.split(",")[0].strip('"') for line in done.stdout.splitlines()[1:]] == ["Gentoo"] * 3
    assert (tmp_path / "report.html").stat().st_size > 10_000


def _short_training(n, **others):
    from backwalk.fit import default_training

    return default_training(n, **{**others, "max_steps": 30})


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
