"""Rows, conditions, one column given others, gaps filled, and files to download."""

import io

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from backwalk.datasets import mixed_arcs
from tests.web.conftest import Tab


@pytest.fixture(scope="module")
def arcs(running):
    page = Tab(running, "tab-of-arcs")
    data = page.answer("/api/data", {"density": "mixed_arcs", "n": 200})["data"]
    network = {"kind": "residual", "width": 8, "depth": 1}
    return page.fitted(data, {"n_steps": 20, "denoiser": network, "max_steps": 5})["model"]


def test_rows_keep_what_is_given(page, arcs):
    card = page.get(f"/api/models/{arcs}").json()
    name, levels = card["columns"][0]["name"], card["columns"][0]["levels"]
    found = page.answer(f"/api/models/{arcs}/rows", {"n": 8, "given": {name: levels[1], "x": 0.5}})
    rows = [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]
    assert {row[name] for row in rows} == {levels[1]}
    assert {row["x"] for row in rows} == {0.5}


def test_files_hold_the_same_rows(page, arcs):
    body = {"n": 6, "seed": 3}
    found = page.answer(f"/api/models/{arcs}/rows", body)
    csv = page.post(f"/api/models/{arcs}/rows.csv", body)
    assert csv.headers["content-disposition"] == 'attachment; filename="rows.csv"'
    table = pyarrow.csv.read_csv(io.BytesIO(csv.content))
    assert [list(row.values()) for row in table.to_pylist()] == found["rows"]
    parquet = page.post(f"/api/models/{arcs}/rows.parquet", body)
    assert [list(row.values()) for row in pq.read_table(io.BytesIO(parquet.content)).to_pylist()] == found["rows"]
    assert page.post(f"/api/models/{arcs}/rows.exe", body).status == 400


@pytest.mark.slow
def test_one_column_given_others(page, arcs):
    columns = page.get(f"/api/models/{arcs}").json()["columns"]
    levels = page.answer(f"/api/models/{arcs}/conditional", {"column": columns[0]["name"], "given": {"x": 0.5}})
    assert sum(levels["probabilities"]) == pytest.approx(1.0)
    assert levels["levels"] == columns[0]["levels"]
    number = page.answer(f"/api/models/{arcs}/conditional", {"column": "y", "given": {"x": 0.5}})
    quantiles = list(number["quantiles"].values())
    assert quantiles == sorted(quantiles)
    middles, density = np.array(number["density"]).T
    assert density.sum() * (middles[1] - middles[0]) == pytest.approx(1.0)


def test_gaps_are_filled_and_the_rest_stays(page, arcs):
    columns = page.get(f"/api/models/{arcs}").json()["columns"]
    row = {column["name"]: None for column in columns} | {"x": 0.25, columns[0]["name"]: columns[0]["levels"][0]}
    answer = page.answer(f"/api/models/{arcs}/impute", {"row": row, "n_draws": 3})
    assert len(answer["draws"]) == 3
    for draw in answer["draws"]:
        assert draw["x"] == 0.25
        assert draw[columns[0]["name"]] == columns[0]["levels"][0]
        assert None not in draw.values()


@pytest.mark.slow
def test_a_date_is_given_as_a_text(page):
    lines = [f"2024-{1 + k % 12:02}-{1 + k % 28:02},{0.1 * k:.1f}" for k in range(300)]
    data = page.upload("days.csv", "\n".join(["day,x", *lines, ""]).encode()).json()["data"]
    network = {"kind": "residual", "width": 8, "depth": 1}
    settings = {"n_steps": 20, "denoiser": network, "max_steps": 5, "conditions": "any"}
    model = page.fitted(data, settings)["model"]
    day, x = page.get(f"/api/models/{model}").json()["columns"]
    assert (day["low"], day["high"]) == ("2024-01-01", "2024-12-28")
    assert day["low"] <= day["example"] <= day["high"]
    assert "example" not in x
    found = page.answer(f"/api/models/{model}/rows", {"n": 3, "given": {"day": day["example"]}})
    assert [row[found["columns"].index("day")] for row in found["rows"]] == [day["example"]] * 3
    drawn = page.answer(f"/api/models/{model}/impute", {"row": {"day": "2024-03-05", "x": None}, "n_draws": 2})
    assert {draw["day"] for draw in drawn["draws"]} == {"2024-03-05"}
    assert page.post(f"/api/models/{model}/rows", {"n": 3, "given": {"day": 19800}}).status == 400


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("rows", {"given": {"nowhere": 1}}),
        ("rows", {"given": {"x": [1, 2]}}),
        ("rows", {"given": {"x": {"range": [1, 2]}}}),
        ("rows", {"given": {"x": None}}),
        ("rows", {"n": 10**9}),
        ("rows", {"n": 6000}),
        ("conditional", {"column": "nowhere"}),
        ("conditional", {"column": "x", "given": {"x": 1.0}}),
        ("impute", {"row": {"nowhere": 1}}),
        ("impute", {"row": {"x": "text"}}),
    ],
)
def test_what_cannot_be_drawn_is_refused(page, arcs, name, body):
    answered = page.post(f"/api/models/{arcs}/{name}", body)
    assert answered.status == 400, answered.content
    assert answered.message


@pytest.mark.slow
def test_the_ladder_of_a_mixed_table_has_its_entropy(page, arcs):
    """Labels have other codes in the model than in the density, wherever their order is not the alphabet's."""
    answer = page.answer(f"/api/models/{arcs}/bound", {"n": 60})
    ladder = {step["name"]: step for step in answer["ladder"]}
    density = mixed_arcs()
    assert ladder["entropy"]["value"] == pytest.approx(density.entropy)
    for name in ("ode", "bound"):  # no model is better, but by chance
        assert ladder[name]["value"] > density.entropy - 6.0 * ladder[name]["error"]


def test_models_of_whole_rows_refuse_conditions(page, moons):
    answered = page.post(f"/api/models/{moons['model']}/rows", {"given": {"x1": 0.5}})
    assert answered.status == 400
    assert "conditions" in answered.message


def test_a_model_is_downloaded_whole(page, moons, tmp_path):
    from backwalk.estimator import Diffusion

    (tmp_path / "m.safetensors").write_bytes(page.get(f"/api/models/{moons['model']}/download").content)
    rows = Diffusion.load(tmp_path / "m.safetensors").sample(4, random_state=2)
    assert page.answer(f"/api/models/{moons['model']}/rows", {"n": 4, "seed": 2})["rows"] == rows.tolist()
