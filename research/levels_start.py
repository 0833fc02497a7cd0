"""Log losses of columns of levels given all other columns, beside classifiers and Bayes' rule on the model's own joint.

    PYTHONPATH=src python research/levels_start.py FOLDER_OF_PARQUET_FILES OUT.csv [--tables NAME ...] [--splits 2]

A quarter of the rows is held out. Each row of the result is a table, a split and a column: -ln P(level) of
`conditional`, of the training frequencies, of logistic regression and of boosted trees, in nats, and over some rows
that of `conditional` and of p(level, rest) / sum p(level', rest). `nats` is -ln p of some held-out rows in the table.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from backwalk import Diffusion

TABLES = (
    "boot__channing",
    "AER__CPS1985",
    "AER__HousePrices",
    "carData__Chile",
    "sem__CNES",
    "dslabs__olive",
    "mlmRev__Contraception",
    "openintro__acs12",
    "AER__HMDA",
    "ISLR__OJ",
)
_OF_JOINT, _MOST_LEVELS, _MOST_COLUMNS = 30, 3, 3  # rows, levels and columns of Bayes' rule
_SCORED = 60  # rows of nats
_LEAST = 1e-4  # of a classifier's probabilities: of a level that it has not seen


def measure(frame: pd.DataFrame, split: int, steps: int) -> pd.DataFrame:
    """Return the losses of one table and one split."""
    frame = frame.iloc[np.random.default_rng(split).permutation(len(frame))].reset_index(drop=True)
    n = 3 * len(frame) // 4
    began = time.process_time()
    model = Diffusion(random_state=split, max_steps=steps, conditions="any", verbose=False).fit(frame[:n])
    seconds = time.process_time() - began
    codec, names = model.model_.codec, list(model.model_.schema.names)
    frame = frame[names]
    columns = [names[b.column] for b in codec.blocks if b.number is None and b.n_levels <= 64]
    train, test = frame[:n], frame[n:]
    for name in columns:
        test = test[test[name].isin(train[name].dropna().unique()) | test[name].isna()]
    nats = -model.score_samples(test[:_SCORED])
    found, n_joint = [], 0
    for name in columns:
        rows = test[test[name].notna()]
        of_model = losses(model.conditional(rows, name), rows[name])
        fitted = train[train[name].notna()]
        shares = fitted[name].value_counts(normalize=True)
        row = {
            "column": name,
            "levels": len(shares),
            "nats": np.mean(nats[np.isfinite(nats)]),
            "seconds": seconds,
            "frequencies": -np.log(rows[name].map(shares).astype(float)).mean(),
            "model": of_model.mean(),
            **{kind: -np.log(p).mean() for kind, p in classifiers(fitted, rows, name).items()},
        }
        if len(shares) <= _MOST_LEVELS and n_joint < _MOST_COLUMNS:
            n_joint += 1
            some = rows[:_OF_JOINT]
            log_p = np.stack([model.score_samples(some.assign(**{name: level})) for level in shares.index], axis=1)
            at = shares.index.get_indexer(some[name])
            row["some"] = of_model[: len(some)].mean()
            row["joint"] = (np.logaddexp.reduce(log_p, axis=1) - log_p[np.arange(len(some)), at]).mean()
        found.append(row)
    return pd.DataFrame(found)


def losses(conditional, values: pd.Series) -> np.ndarray:
    """Return -ln P of values, (n,)."""
    return -np.asarray(conditional.log_prob(values.to_numpy()))


def classifiers(train: pd.DataFrame, test: pd.DataFrame, name: str) -> dict[str, np.ndarray]:
    """Return P(value) of the test rows by logistic regression and by boosted trees."""
    x, x_test = train.drop(columns=name), test.drop(columns=name)
    texts = [c for c in x if not pd.api.types.is_numeric_dtype(x[c]) or pd.api.types.is_bool_dtype(x[c])]
    x, x_test = (
        part.assign(**{c: part[c].astype(object).fillna("").astype(str) for c in texts}) for part in (x, x_test)
    )
    numbers = [c for c in x if c not in texts]
    means = x[numbers].mean()
    filled, filled_test = (part.assign(**{c: part[c].fillna(means[c]) for c in numbers}) for part in (x, x_test))
    scaled = make_column_transformer((StandardScaler(), numbers), (OneHotEncoder(handle_unknown="ignore"), texts))
    codes = {c: {level: i for i, level in enumerate(sorted(set(x[c])))} for c in texts}
    x, x_test = (part.assign(**{c: part[c].map(codes[c]).astype(float) for c in texts}) for part in (x, x_test))
    boosted = HistGradientBoostingClassifier(
        random_state=0, early_stopping=True, categorical_features=[c in texts for c in x]
    )
    y, y_test = train[name].astype(str), test[name].astype(str).to_numpy()
    if y.value_counts().min() < 2:  # which its early stopping refuses
        boosted.set_params(early_stopping=False, max_iter=30)
    linear = make_pipeline(scaled, LogisticRegression(max_iter=1000))
    found = {}
    for kind, fitted, rows in (
        ("logistic", linear.fit(filled, y), filled_test),
        ("trees", boosted.fit(x, y), x_test),
    ):
        at = np.searchsorted(fitted.classes_, y_test)
        found[kind] = np.maximum(fitted.predict_proba(rows)[np.arange(len(rows)), at], _LEAST)
    return found


def main() -> None:
    """Measure, and print the means of each table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tables", nargs="+", default=TABLES)
    parser.add_argument("--splits", type=int, default=2)
    parser.add_argument("--steps", type=int, default=600)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    found = []
    for table in arguments.tables:
        frame = pd.read_parquet(arguments.folder / f"{table}.parquet")
        for split in range(arguments.splits):
            found.append(measure(frame, split, arguments.steps).assign(table=table, split=split))
        together = pd.concat(found)
        together.to_csv(arguments.out, index=False)
        of_table = together[together.table == table].drop(columns=["column", "split", "table"]).mean()
        print(table, of_table.round(3).to_dict(), flush=True)


if __name__ == "__main__":
    main()
