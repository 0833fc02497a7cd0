"""Engines: what they refuse before they begin, and worker processes of this machine."""

import importlib.util

import pytest

from backwalk.errors import IncompatibleArguments, InvalidInput
from backwalk.pieces import make_parts, values_checksum


def test_workers_make_the_same_rows_and_print_nothing(saved, drawn, tmp_path, monkeypatch, capfd):
    """Found by trying: each worker printed a warning of runpy, and failed where warnings are errors."""
    drawn(rows=(0, 1))
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    shown = []
    made = make_parts(tmp_path, workers=2, watch=lambda *words: shown.append(words))
    assert made.manifest.values == values_checksum(saved[1])
    assert [part.start for part in made.parts] == [0, 2048, 4096]
    assert (len(shown), shown[-1]) == (3, ("sampling", 1.0, "5,000 of 5,000 rows"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("options", "error", "value"),
    [
        ({"address": "head:6379"}, IncompatibleArguments, "--address"),
        ({"engine": "ray", "address": "ray://head:10001"}, IncompatibleArguments, "ray://head:10001"),
        ({"engine": "abacus"}, InvalidInput, "abacus"),
    ],
)
def test_what_does_not_go_together_is_refused(drawn, tmp_path, monkeypatch, options, error, value):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    drawn(rows=(0, 1))
    with pytest.raises(error, match=value):
        make_parts(tmp_path, **options)


def test_a_missing_ray_is_named_with_the_remedy(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InvalidInput, match=r"backwalk\[ray\]"):
        drawn(tmp_path / "rows", engine="ray")
    assert not (tmp_path / "rows").exists()
