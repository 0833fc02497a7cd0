"""Engines: what they refuse before they begin, and worker processes of this machine."""

import importlib.util

import pytest

from backwalk.errors import InvalidInput
from backwalk.pieces import make_parts, values_checksum


@pytest.mark.slow
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
    ("is_installed", "address", "value"),
    [(True, "ray://head:10001", "ray://head:10001"), (False, None, r"backwalk\[ray\]")],
)
def test_a_ray_that_cannot_be_used_is_refused_before_a_folder_is_made(
    drawn, tmp_path, monkeypatch, is_installed, address, value
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: is_installed or None)
    with pytest.raises(InvalidInput, match=value):
        drawn(tmp_path / "rows", engine="ray", address=address)
    assert not (tmp_path / "rows").exists()
