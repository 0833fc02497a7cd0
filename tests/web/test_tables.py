"""Tables: draws, drawn points, files; checked as on the command line, and text stays text."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backwalk.datasets import DENSITIES, around_points
from backwalk.web import security, workspaces
from tests.web.conftest import Tab

MARKUP = '<img src=x onerror="alert(1)">'
CSV = f'{MARKUP},kind,"a,b"\n1.5,red,2\n2.5,blue,3\n0.5,red,7\n'


def parquet(columns):
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def test_draws_are_those_of_the_command_line(page):
    answer = page.answer("/api/data", {"density": "rings", "n": 30, "seed": 5})
    rows = DENSITIES["rings"]().sample(30, random_state=5)
    assert answer["picture"]["rows"] == rows.tolist()
    assert page.get(f"/api/data/{answer['data']}").json() == answer


def test_points_are_sown_by_their_density(page):
    points = [[0.0, 0.0], [1.0, 0.5], [0.5, 1.0]]
    answer = page.answer("/api/data", {"points": points, "n": 40, "seed": 2})
    assert answer["picture"]["rows"] == around_points(points).sample(40, random_state=2).tolist()
    made = page.fitted(answer["data"], {"n_steps": 10, "max_steps": 2})
    assert page.get(f"/api/models/{made['model']}").json()["has_exact"]


def test_a_file_is_read_and_markup_in_names_stays_text(page):
    answer = page.upload("some table.CSV", CSV.encode()).json()
    assert [column["name"] for column in answer["columns"]] == [MARKUP, "kind", "a,b"]
    assert answer["columns"][1]["description"] == "blue, red"
    answered = page.get(f"/api/data/{answer['data']}")
    assert answered.headers["content-type"] == "application/json"


def test_a_parquet_file_is_read(page):
    answer = page.upload("t.parquet", parquet({"x": np.arange(30.0), "y": np.arange(30.0)[::-1] ** 2})).json()
    assert [column["name"] for column in answer["columns"]] == ["x", "y"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv", b"", "empty"),
        ("t.csv", b"x,x\n1,2\n", "x"),
        ("t.csv", "x\n\u00e9\n".encode("latin-1"), "UTF-8"),
        ("t.parquet", b"PAR1nothing", "t.parquet"),
        ("t.exe", b"x\n1\n", ".csv"),
        ("", b"x\n1\n", ".csv"),
        ("../../t.csv.gz", b"x\n1\n", "t.csv.gz"),
    ],
)
def test_files_that_cannot_be_read_are_refused_in_one_sentence(page, name, content, words):
    answered = page.upload(name, content)
    assert answered.status == 400
    assert words in answered.message
    assert "/tmp" not in answered.message
    assert ".." not in answered.message.replace("...", "")


def test_a_large_file_is_refused(running, page, monkeypatch):
    monkeypatch.setattr(security, "UPLOAD_BYTES", 1000)
    assert page.upload("t.csv", b"x\n" + b"1\n" * 1000).status == 413


def test_columns_are_kept_and_their_kinds_set(page):
    data = page.upload("t.csv", b"a,b,c\n" + b"\n".join(b"%d,%d,%d" % (i % 7, i % 3, i) for i in range(60)))
    answer = page.answer(f"/api/data/{data.json()['data']}/columns", {"keep": ["a", "b"], "kinds": {"b": "levels"}})
    assert [(column["name"], column["kind"]) for column in answer["columns"]][1] == ("b", "levels")
    path = f"/api/data/{data.json()['data']}/columns"
    assert page.post(path, {"keep": ["nowhere"]}).status == 400
    assert page.post(path, {"keep": []}).status == 400
    assert page.post(path, {"kinds": {"a": "pickle"}}).status == 400


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"density": "two_moons", "points": [[0, 0], [1, 1]]},
        {"density": "nowhere"},
        {"density": "rings", "n": 10**9},
        {"points": [[0, 0]]},
        {"points": [[0, 0], [0, 0]]},
        {"points": [[0, 0], [1, "x"]]},
        {"points": [[0, 0]] * 5000},
        [],
        "rings",
        None,
    ],
)
def test_tables_that_cannot_be_are_refused(page, body):
    answered = (
        page.post("/api/data", body)
        if body is not None
        else page.running.ask("POST", "/api/data", b"\xff{", {**page.headers, "Content-Type": "application/json"})
    )
    assert answered.status == 400
    assert answered.message


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"density": NaN}', b"{} {}", b"\x00"])
def test_bodies_that_are_no_json_are_refused(page, content):
    answered = page.running.ask("POST", "/api/data", content, {**page.headers, "Content-Type": "application/json"})
    assert answered.status == 400


def test_tables_are_bounded_by_their_cells(page, monkeypatch):
    monkeypatch.setattr(workspaces, "MOST_CELLS", 100)
    assert page.post("/api/data", {"density": "rings", "n": 50}).status == 200
    refused = page.post("/api/data", {"density": "rings", "n": 51})
    assert (refused.status, "102" in refused.message) == (413, True)


def test_old_tables_make_room(running):
    tab = Tab(running, "many-tables")
    made = [tab.answer("/api/data", {"density": "rings", "n": 5, "seed": k})["data"] for k in range(10)]
    assert tab.get(f"/api/data/{made[0]}").status == 404
    assert tab.get(f"/api/data/{made[-1]}").status == 200
