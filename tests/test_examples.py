"""The examples run from top to bottom, and the notebooks that are kept are what their scripts make."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from backwalk import PriorMismatchWarning

EXAMPLES = Path(__file__).parents[1] / "examples"
BUILD = EXAMPLES / "build.py"
SCRIPTS = sorted(set(EXAMPLES.glob("*.py")) - {BUILD})
SHORT = {"N_EPOCHS": 3, "MAX_STEPS": 20, "N_ROWS": 200, "N_PAIRS": 2}

_TINY = """\
# %% [markdown]
# A heading.

# %%
import warnings

from backwalk.report.figures import plot_points

# %matplotlib inline

# %%
warnings.warn("mind the step", RuntimeWarning)
plot_points([[0.0, 0.0], [1.0, 2.0]])
"""


def build_module():
    spec = importlib.util.spec_from_file_location("examples_build", BUILD)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def code_of(cell):
    """The cell as plain Python: notebook commands, which only say how pictures are shown, are left out."""
    return "\n".join(line for line in cell.source.splitlines() if not line.startswith("%"))


def run_shortened(script):
    """Run the cells in order, with other numbers in the place of those in the first, the parameters."""
    parameters, *cells = [cell for cell in build_module().read_cells(script).cells if cell.cell_type == "code"]
    assert parameters.metadata.tags == ["parameters"]
    namespace = {}
    exec(code_of(parameters), namespace)
    assert set(SHORT) <= set(namespace)
    namespace.update(SHORT)
    for cell in cells:
        exec(compile(code_of(cell), str(script), "exec"), namespace)


@pytest.mark.campaign
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script_runs_shortened(script, capsys):
    with pytest.warns(PriorMismatchWarning, match=r"alpha_bar_N = 0\.3475"):
        run_shortened(script)
    assert "alpha_bar_N = 0.3475" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_notebook_is_fresh_and_was_run_to_the_end(script):
    stored = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    made = build_module().read_cells(script)
    assert [(cell.cell_type, cell.source, cell.id) for cell in stored.cells] == [
        (cell.cell_type, cell.source, cell.id) for cell in made.cells
    ], "the script has changed since: make notebook"
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert all(output.output_type != "error" for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 10


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_notebook_is_small_and_names_no_place_of_a_machine(script):
    text = script.with_suffix(".ipynb").read_text()
    assert len(text) < 2_000_000
    assert not any(place in text for place in ("/tmp/", "/home/", "/root/", "/Users/", "site-packages"))


@pytest.mark.campaign
def test_build_keeps_what_cells_say_and_nothing_of_the_machine(tmp_path):
    script = tmp_path / "tiny.py"
    script.write_text(_TINY)
    texts = []
    for _ in range(2):
        subprocess.run([sys.executable, str(BUILD), str(script)], check=True, capture_output=True)
        texts.append(script.with_suffix(".ipynb").read_text())
    assert texts[0] == texts[1]
    heading, first, second = nbformat.reads(texts[0], as_version=4).cells
    assert (heading.cell_type, first.execution_count, second.execution_count) == ("markdown", 1, 2)
    warning, figure = second.outputs
    assert warning.text == "RuntimeWarning: mind the step\n"
    assert "image/png" in figure.data


@pytest.mark.slow
def test_build_writes_nothing_where_a_cell_fails(tmp_path):
    script = tmp_path / "broken.py"
    script.write_text("# %%\n1 / 0\n")
    result = subprocess.run([sys.executable, str(BUILD), str(script)], check=False, capture_output=True, text=True)
    assert result.returncode != 0
    assert "ZeroDivisionError" in result.stderr
    assert not script.with_suffix(".ipynb").exists()


def test_tidying_takes_progress_away_and_leaves_a_valid_notebook():
    """Found by reading again: cells of text were given outputs, which no notebook may have."""
    progress, result = (
        nbformat.v4.new_output("display_data", data={"text/plain": text}) for text in ("training  50%  step 9", "7")
    )
    cells = [nbformat.v4.new_markdown_cell("text"), nbformat.v4.new_code_cell("fit()", outputs=[progress, result])]
    notebook = nbformat.v4.new_notebook(cells=cells)
    build_module().tidy(notebook)
    nbformat.validate(notebook)
    assert cells[1]["outputs"] == [result]


@pytest.mark.slow
def test_text_files_are_read_in_a_notebook_without_widgets(tmp_path):
    """DuckDB refuses there any setting of its progress bar."""
    import nbclient

    (tmp_path / "rows.csv").write_text("a;b\n" + "".join(f"{i}.5;{i % 3}.5\n" for i in range(50)))
    source = "import sys\nsys.modules['ipywidgets'] = None\n"
    source += "from backwalk.table import read_table\n"
    source += f"len(read_table({str(tmp_path / 'rows.csv')!r}).values)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbclient.NotebookClient(notebook, kernel_name="python3").execute()
    assert notebook.cells[0].outputs[-1]["data"]["text/plain"] == "50"
