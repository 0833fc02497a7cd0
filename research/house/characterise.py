"""Record what the library computes for twelve tables and six arrays, and compare another checkout with the record.

    PYTHONPATH=OLD/src python research/house/characterise.py record out/record
    PYTHONPATH=src     python research/house/characterise.py compare out/record

Each table is fitted for three steps. The weights are then moved by fixed noise, so that networks matter, and stored in
the record: the other checkout loads the same weights, and all else has to be equal up to rounding. Stored are encoded
and decoded rows, log-densities, conditionals, imputations, draws, and the descriptions and types of the columns.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn import datasets

from backwalk import Diffusion, Number
from backwalk.datasets import DENSITIES
from backwalk.streams import Stream
from backwalk.table import as_table

N_ROWS = 300


def frames() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yield twelve tables: name, rows and arguments of `Diffusion`."""
    rng = np.random.default_rng(0)
    for name, load in (
        ("iris", datasets.load_iris),
        ("wine", datasets.load_wine),
        ("cancer", datasets.load_breast_cancer),
    ):
        bunch = load(as_frame=True)
        frame = bunch.data.iloc[:N_ROWS, :10].copy()
        frame["class"] = pd.Categorical.from_codes(bunch.target[: len(frame)], list(map(str, bunch.target_names)))
        yield name, frame, {}
    yield "diabetes", datasets.load_diabetes(as_frame=True, scaled=False).frame.iloc[:N_ROWS], {}
    n = N_ROWS
    z = rng.normal(size=(n, 4))
    city = np.array(["Bern", "Basel", "Zug"])[rng.choice(3, n, p=[0.5, 0.3, 0.2])]
    dates = pd.Timestamp("2020-03-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D")
    times = pd.Timestamp("2021-01-01") + pd.to_timedelta((1e6 * np.abs(z[:, 0])).astype(int), unit="s")
    yield "dates", pd.DataFrame({"day": dates, "at": times, "city": city, "x": z[:, 1]}), {}
    paid = np.where(rng.random(n) < 0.4, 0.0, np.exp(2.0 + 1.5 * z[:, 0]).round(2))
    yield "atoms", pd.DataFrame({"paid": paid, "income": np.exp(10 + z[:, 1]), "heavy": rng.standard_cauchy(n)}), {}
    decimals = pd.DataFrame(
        {
            "rate": (0.05 * rng.integers(0, 60, n)).round(2),
            "count": rng.poisson(4.0, n),
            "year": 1990 + rng.integers(0, 30, n),
        }
    )
    yield "decimals", decimals, {}
    share = rng.beta(2.0, 1.0, n)
    yield (
        "bounds",
        pd.DataFrame({"share": share, "x": z[:, 0] + share}),
        {"columns": {"share": Number(bounds=(0.0, 1.0))}, "conditions": "any"},
    )
    gaps = pd.DataFrame(
        {
            "x": z[:, 0],
            "y": z[:, 0] + 0.3 * z[:, 1],
            "city": pd.Series(city, dtype=object),
            "k": rng.poisson(3.0, n).astype(float),
        }
    )
    for column, share_of_gaps in (("x", 0.1), ("city", 0.2), ("k", 0.15)):
        gaps.loc[rng.random(n) < share_of_gaps, column] = None if column == "city" else np.nan
    yield "gaps", gaps, {}
    yield "generated gaps", gaps, {"missing": "generate"}
    nullable = pd.DataFrame(
        {
            "int": pd.array(np.where(rng.random(n) < 0.1, None, rng.integers(0, 500, n)), dtype="Int64"),
            "flag": pd.array(np.where(rng.random(n) < 0.1, None, z[:, 0] > 0), dtype="boolean"),
            "name": pd.array(city, dtype="string"),
            "grade": pd.Categorical(rng.choice(["low", "mid", "high"], n), ["low", "mid", "high"], ordered=True),
            "f32": z[:, 1].astype(np.float32),
        }
    )
    yield "nullable", nullable, {}
    yield (
        "skewed",
        pd.DataFrame(
            {"a": rng.gamma(0.5, 3.0, n), "b": rng.exponential(1.0, n), "c": rng.choice(2, n), "d": np.full(n, 2.5)}
        ),
        {},
    )


def arrays() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yield six arrays."""
    rng = np.random.default_rng(1)
    yield "two_moons", DENSITIES["two_moons"]().sample(N_ROWS, random_state=0), {}
    yield "rings", DENSITIES["rings"]().sample(N_ROWS, random_state=0).astype(np.float32), {}
    yield "gaussian", rng.normal(size=(N_ROWS, 5)) @ rng.normal(size=(5, 5)) + 10.0, {"conditions": "any"}
    yield "heavy", rng.standard_t(1.2, size=(N_ROWS, 3)), {}
    yield "integers", rng.poisson([2.0, 40.0, 900.0], size=(N_ROWS, 3)), {}
    holes = rng.normal(size=(N_ROWS, 4)).cumsum(axis=1)
    holes[rng.random(holes.shape) < 0.15] = np.nan
    yield "holes", holes, {}


def plain(rows: Any) -> dict[str, Any]:
    """Return a table as lists of JSON values, with its types."""
    if isinstance(rows, np.ndarray):
        return {"dtype": str(rows.dtype), "values": rows.tolist()}
    return {
        "dtypes": [str(dtype) for dtype in rows.dtypes],
        "values": {
            name: [
                None if pd.isna(v) else v if isinstance(v, (int, float, str)) else str(v) for v in rows[name].tolist()
            ]
            for name in rows
        },
    }


def moved_weights(model: Diffusion, stored: Path, *, is_recording: bool) -> str:
    """Give the networks the stored weights, or move them by noise and store them. Return what had to be adapted."""
    state = model.denoiser_.state_dict()
    if is_recording:
        rng = np.random.default_rng(5)
        names = [name for name, _ in model.denoiser_.named_parameters()]
        for name in names:
            noise = torch.from_numpy(rng.normal(size=tuple(state[name].shape))).to(state[name])
            state[name] = state[name] + 0.05 * noise
        np.savez(stored, **{f"{i:03d} {name}": state[name].numpy() for i, name in enumerate(names)})
        model.denoiser_.load_state_dict(state)
        return ""
    with np.load(stored) as file:
        weights = {key.split(" ", 1)[1]: file[key] for key in sorted(file)}
    names = [name for name, _ in model.denoiser_.named_parameters()]
    if names == list(weights):
        pairs = dict(zip(names, weights.values(), strict=True))
        note = ""
    else:
        pairs = dict(zip(names, weights.values(), strict=True))
        note = "parameters by order, as names differ"
    for name, value in pairs.items():
        state[name] = torch.from_numpy(value).to(state[name]).reshape(state[name].shape)
    model.denoiser_.load_state_dict(state)
    return note


def attempt(compute: Callable[[], Any]) -> Any:
    """Return a result, or the words of the error."""
    try:
        return compute()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def characters(name: str, rows: Any, arguments: dict[str, Any], folder: Path, *, is_recording: bool) -> dict[str, Any]:
    """Return what the library computes for one table, and store or load its weights."""
    model = Diffusion(max_steps=3, random_state=0, verbose=False, **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(rows)
        note = moved_weights(model, folder / f"{name}.npz", is_recording=is_recording)
        is_frame = isinstance(rows, pd.DataFrame)
        names: list[Any] = list(rows.columns) if is_frame else list(range(rows.shape[1]))
        head = rows.iloc[:40] if is_frame else rows[:40]
        codec = model.codec_
        z = codec.encode(as_table(head).values, stream=Stream(3))
        places = [j for j in range(codec.n_columns) if codec.columns[j].width]
        result: dict[str, Any] = {
            "note": note,
            "columns": [column.description for column in codec.columns],
            "architecture": repr(model.model_.architecture),
            "schedule": model.schedule_.log_snr.tolist()[::100],
            "encoded": np.asarray(z).tolist(),
            "decoded": codec.decode(z).tolist(),
            "scores": attempt(lambda: model.score_samples(head).tolist()),
            "draws": attempt(lambda: plain(model.sample(50, random_state=1))),
            "imputed": attempt(lambda: plain(model.impute(head, random_state=2))),
            "mean": attempt(lambda: plain(model.impute(head, statistic="mean", n_draws=20, random_state=2))),
        }
        for j in (places[0], places[-1]):
            conditional = attempt(lambda j=j: told(model.conditional(head, names[j], n_draws=10)))
            result[f"conditional {j}"] = conditional
        given = {names[places[-1]]: head.iloc[0, places[-1]]} if is_frame else {0: head[0, 0]}
        result["given"] = attempt(lambda: plain(model.sample(10, given=given, random_state=3)))
    return result


def told(conditional: Any) -> Any:
    """Return the probabilities or the draws of a conditional."""
    try:
        return np.asarray(conditional.probabilities).tolist()
    except ValueError:  # of a number
        return np.asarray(conditional.draws).tolist()


def differences(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """Yield where two records differ by more than rounding."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old.keys() & new.keys():
            yield from differences(old.get(key), new.get(key), f"{place}/{key}")
    elif isinstance(old, list) and isinstance(new, list) and old and new and not isinstance(old[0], str):
        try:
            a, b = np.array(old, dtype=float), np.array(new, dtype=float)
        except (TypeError, ValueError):
            if old != new:
                n = sum(x != y for x, y in zip(old, new, strict=False))
                yield f"{place}: {n} of {len(old)} differ"
            return
        if a.shape != b.shape:
            yield f"{place}: shapes {a.shape} and {b.shape}"
        else:
            far = ~np.isclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)
            if far.any():
                with np.errstate(invalid="ignore"):
                    by = np.abs(a - b)
                most = np.max(by[np.isfinite(by)], initial=0.0)
                yield f"{place}: {far.sum()} of {a.size} differ, at most by {most:.3g}"
    elif old != new:
        yield f"{place}: {str(old)[:300]!r} and {str(new)[:300]!r}"


def main() -> int:
    """Record or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("record", "compare"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    is_recording, n = options.action == "record", 0
    for name, rows, arguments in (*frames(), *arrays()):
        if options.only and name not in options.only:
            continue
        found = characters(name, rows, arguments, options.folder, is_recording=is_recording)
        path = options.folder / f"{name}.json"
        if is_recording:
            path.write_text(json.dumps(found, default=str))
            print(name, "recorded", flush=True)
            continue
        old = json.loads(path.read_text())
        lines = list(differences(old, json.loads(json.dumps(found, default=str))))
        n += len(lines)
        print(f"{name}: {'equal' if not lines else ''}", *lines, sep="\n  ", flush=True)
    return 1 if n else 0


if __name__ == "__main__":
    sys.exit(main())
