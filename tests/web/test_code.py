"""The code that the page shows gives the page's rows, by running it."""

import shlex
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from backwalk import Diffusion
from backwalk.cli import main
from backwalk.errors import PriorMismatchWarning
from backwalk.sampling import SOLVERS
from backwalk.web.code import OWN, of_fit
from backwalk.web.requests import ColumnsRequest, DrawRequest, SettingsRequest
from backwalk.web.tables import keep_columns, read_upload

NETWORK = {"kind": "residual", "width": 8, "depth": 1}
QUICK = {"n_steps": 12, "denoiser": NETWORK, "max_steps": 4}
CSV = "species,mass,year\n" + "".join(f"{'ab'[i % 2]},{40 + 7 * (i % 11)}.5,{2000 + i % 9}\n" for i in range(80))


def run_python(text):
    """Run copied code. The page's server, in a thread of this process, has set filters that precede those of pytest."""
    names = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PriorMismatchWarning)
        exec(compile(text, "copied", "exec"), names)
    return names["rows"]


def run_shell(text, capsys):
    Path("rows.csv").unlink(missing_ok=True)
    for line in text.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "backwalk"
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "-q"])
        assert ended.value.code == 0, capsys.readouterr().err
    return pd.read_csv("rows.csv")


def check(page, model, draw, folder, capsys, *, downloads=False):
    """The rows of the page, of the Python and of the commands are equal."""
    code = page.answer("/api/code", {"model": model, "draw": draw})
    own = {name: value for name, value in draw.items() if name != "reverse_variance"}
    if downloads or "model.safetensors" in code["shell"]:
        (folder / "model.safetensors").write_bytes(page.get(f"/api/models/{model}/download").content)
    table = page.answer(f"/api/models/{model}/rows", own)
    theirs = pd.DataFrame(table["rows"], columns=table["columns"])
    assert code["same_rows"]
    with np.errstate(all="ignore"):
        rows = run_python(code["python"])
    rows = rows.to_pandas() if hasattr(rows, "to_pandas") else pd.DataFrame(rows)
    written = run_shell(code["shell"], capsys)
    for found in (rows, written):
        for j, name in enumerate(theirs.columns):
            ours = [str(value) if isinstance(value, str) else float(value) for value in found.iloc[:, j]]
            assert ours == [str(v) if isinstance(v, str) else float(v) for v in theirs[name]]
    return code


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "draw"),
    [
        ({"max_steps": 4}, {}),
        (QUICK, {"sampler": "ddim", "n_evaluations": 5, "eta": 0.5}),
        ({**QUICK, "schedule": "cosine", "sampler": "ancestral", "reverse_variance": "beta"}, {"n_evaluations": 6}),
        ({"preset": "ddpm", "epochs": 2}, {"sampler": "dpm++2m"}),
        ({**QUICK, "schedule": "linear", "beta_max": 0.4}, {}),
    ],
    ids=["default", "own network", "cosine", "ddpm", "a line to another beta"],
)
def test_code_of_a_density_gives_the_page_s_rows(page, tmp_path, monkeypatch, capsys, settings, draw):
    monkeypatch.chdir(tmp_path)
    data = page.answer("/api/data", {"density": "two_moons", "n": 60, "seed": 4})["data"]
    model = page.fitted(data, settings, seed=4)["model"]
    code = check(page, model, {"n": 7, "seed": 9, **draw}, tmp_path, capsys)
    assert ("backwalk fit two_moons" in code["shell"]) == ("denoiser" not in settings)


@pytest.mark.slow
def test_code_of_drawn_points_and_mixed_tables(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    points = [[0.0, 0.1], [1.0, 0.5], [-0.3, 0.7]]
    for body in ({"points": points, "n": 60, "seed": 1}, {"density": "mixed_arcs", "n": 90, "seed": 1}):
        data = page.answer("/api/data", body)["data"]
        model = page.fitted(data, {"n_steps": 8, "denoiser": NETWORK, "max_steps": 2})["model"]
        check(page, model, {"n": 5, "seed": 9}, tmp_path, capsys)


@pytest.mark.slow
def test_code_of_a_file_gives_the_page_s_rows_under_conditions(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my table.csv").write_text(CSV)
    data = page.upload("my table.csv", CSV.encode()).json()["data"]
    kept = page.answer(f"/api/data/{data}/columns", {"keep": ["species", "mass"], "kinds": {"mass": "number"}})["data"]
    settings = {"n_steps": 8, "denoiser": NETWORK, "max_steps": 2}
    model = page.fitted(kept, settings, seed=2)["model"]
    for given in ({"species": "a", "mass": 47.5}, {"species": "b"}):
        check(page, model, {"n": 5, "seed": 9, "given": given}, tmp_path, capsys)


def code_of_file(folder, name, content, columns, settings, **draw):
    """Return the code of a fit to columns of an uploaded file."""
    entry = keep_columns("kept", read_upload("file", name, content.encode(), folder), ColumnsRequest(**columns))
    return of_fit(entry, SettingsRequest(**settings), draw.pop("fit_seed", 0), DrawRequest(**draw))


def test_the_command_of_a_file_has_its_options(tmp_path):
    columns = {"keep": ["species", "mass"], "kinds": {"species": "levels", "mass": "number"}}
    settings = {"max_steps": 2, "conditions": "any"}
    code = code_of_file(tmp_path, "my table.csv", CSV, columns, settings, fit_seed=6, n=4, seed=1)
    fit, sample = map(shlex.split, code["shell"].splitlines())
    assert fit[:3] == ["backwalk", "fit", "my table.csv"]
    options = "--drop year --max-steps 2 --column species=levels --column mass=number"
    assert " ".join(fit[3:]) == f"{options} --conditions any --seed 6 -o model.backwalk"
    assert sample == shlex.split("backwalk sample model.backwalk -n 4 --seed 1 -o rows.csv")
    assert "my table.csv" in code["note"]
    columns["kinds"] = {"mass": "levels"}  # texts on the command line, numbers here
    assert "model.safetensors" in code_of_file(tmp_path, "my table.csv", CSV, columns, {})["shell"]


def test_reverse_variances_of_a_draw_are_those_of_the_fit(page, moons):
    code = page.answer("/api/code", {"model": moons["model"], "draw": {"n": 5, "reverse_variance": "beta"}})
    rows = run_python(code["python"])
    steps = page.answer(f"/api/models/{moons['model']}/particle", {"row": 4, "reverse_variance": "beta"})
    np.testing.assert_allclose(list(steps["x_0"].values()), rows[4])


def test_a_time_limit_is_said_to_differ(tmp_path):
    code = code_of_file(tmp_path, "t.csv", CSV, {}, {"max_time": 5.0})
    assert not code["same_rows"]
    assert "max_steps" in code["note"]


def test_names_cannot_leave_their_quotes(tmp_path):
    """Column names and file names come from anywhere."""
    evil = "a'); import os; os.abort() #"
    text = f'"{evil}",b\n' + "".join(f"{i % 7}.5,{i % 5}.25\n" for i in range(60))
    code = code_of_file(tmp_path, "$(touch x);'.csv", text, {"keep": ["b"]}, {})
    tree = compile(code["python"], "copied", "exec")
    assert "os" not in tree.co_names
    words = shlex.split(code["shell"].splitlines()[0])
    assert words[2] == "$(touch x);'.csv"
    assert words[words.index("--drop") + 1] == evil


@pytest.mark.parametrize("name", ["--force.csv", "-n.csv", "a\x1b[2Jb.csv", "it's \u202e\x1b[0m.csv", "a\nb $HOME.csv"])
def test_a_file_s_name_is_one_argument_and_no_option(tmp_path, name):
    """`--force.csv` was an option, and a raw escape stood in the command."""
    code = code_of_file(tmp_path, name, CSV, {}, {})
    assert code["shell"].replace("\n", "").isprintable()
    line = code["shell"].splitlines()[0].replace("backwalk", "printf '%s\\0'", 1)
    words = subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout.decode().split("\0")
    assert words[1] in (name, f"./{name}")
    assert not words[1].startswith("-")
    assert code["python"].replace("\n", "").isprintable()
    assert f"read_table({name!r})" in code["python"]


@pytest.mark.slow
def test_code_of_own_parts_runs(monkeypatch):
    """The network, the schedule and the solver that the page shows are those of the model that it opens."""
    shown = []
    monkeypatch.setattr(Diffusion, "show", lambda model: shown.append(model))
    names = {}
    exec(compile(OWN.replace("max_steps=2000", "max_steps=5"), "copied", "exec"), names)
    assert shown == [names["model"]]
    assert names["rows"].shape == (2000, 2)
    assert type(names["model"].model_.architecture) is names["MyNetwork"]
    assert names["model"].model_.schedule.alpha_bar[-1] == pytest.approx(float((1 - names["beta"]).prod()), rel=1e-4)
    ddim = names["model"].sample(50, sampler="ddim", n_evaluations=20, random_state=0)
    own = names["model"].sample(50, sampler="my-solver", n_evaluations=20, random_state=0)
    np.testing.assert_allclose(own, ddim, atol=1e-4)
    del SOLVERS["my-solver"]


def test_beta_at_the_end_goes_with_a_line_alone(page):
    data = page.answer("/api/data", {"density": "two_moons", "n": 60})["data"]
    answered = page.post("/api/fits", {"data": data, "settings": {**QUICK, "schedule": "cosine", "beta_max": 0.1}})
    assert (answered.status, answered.json()["error"]["field"]) == (400, "settings.beta_max")
