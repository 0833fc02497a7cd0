"""The columns of a fit."""

import numpy as np
import pandas as pd
import pytest

from backwalk import Diffusion
from backwalk.errors import InvalidInput
from backwalk.fit import check_settings, choose_within, read_rows
from backwalk.limits import LEAST_MEMORY
from backwalk.table.codec_rules import stated_rules

SETTINGS = check_settings(Diffusion().get_params(deep=False))


def choose(frame, path, settings=SETTINGS):
    """The columns that a fit chooses of a file of which few rows fit into memory, and which rows these are."""
    frame.to_parquet(path)
    rows = read_rows(path, settings, memory=LEAST_MEMORY)
    return choose_within(rows, settings, LEAST_MEMORY), rows


@pytest.mark.slow
def test_rules_of_files_larger_than_memory_are_confirmed_in_all_rows(tmp_path):
    rng, n = np.random.default_rng(0), 60_000
    frame = pd.DataFrame({"number": np.arange(n) * 1.0, "some": rng.poisson(20, n), "rest": rng.poisson(30, n)})
    frame["all"], frame["place"] = frame["some"] + frame["rest"], rng.choice(["p", "q", "r"], n)
    frame["side"] = np.where(frame["place"] == "p", "a", "b")
    chosen, rows = choose(frame, tmp_path / "whole.parquet")
    names, found = chosen.table.schema.names, {"all = some + rest", "place -> side"}
    assert not rows.has_all
    assert len(chosen.table.values) < n
    assert found <= set(stated_rules(chosen.codec, names))
    elsewhere = np.setdiff1d(frame["number"], rows.table.values[:, 0]).astype(int)
    frame.loc[elsewhere[0], "all"] += 1
    frame.loc[elsewhere[1], "side"] = "a" if frame.loc[elsewhere[1], "place"] != "p" else "b"
    broken, _ = choose(frame, tmp_path / "broken.parquet")
    assert not found & set(stated_rules(broken.codec, names))
    declared = check_settings(Diffusion(rules=["all = some + rest"]).get_params(deep=False))
    with pytest.raises(InvalidInput, match=r"all = some \+ rest.*1 that"):
        choose(frame, tmp_path / "broken.parquet", declared)
