"""Limits of the input that backwalk accepts. Other input raises an error with the rule, the value and the remedy.

- **Arrays** (`table.as_table`): (n, d) with n, d >= 1, of floats, integers, truth values, texts, dates or times of any
  width, order or strides, or of Python objects, each column of one type; no infinities, no integers or times that
  float64 rounds. NaN and null are missing values; `table.complete` refuses them where complete rows are needed. `fit`
  needs at least two rows and one column that varies. Arrays are never changed; results are those of a float64 copy. 1-D
  and 3-D arrays, bytes, complex and sparse arrays are refused.
- **Latents** (`latent.from_latent`): arrays as above, with a column for each fitted column that varies, within 1e6.
- **Tables** (`table.as_table`, `table.match_columns`): pandas, polars or pyarrow tables of numbers, truth values,
  texts, categories, dates, times and durations with distinct names, with at most TABLE_LEVELS different texts in all
  columns. Nested and binary columns are refused. The columns of a fitted model are found by name; all must be there,
  and no others but those that the fit set aside. Values that the fit did not see follow `unseen` of `Diffusion`.
- **Conditions**: a row to be scored, bounded or mapped to latents lies within FARTHEST_TO_SCORE scales of the fitted
  rows; for bounds and latents its constant columns hold the fitted constants (`score_samples` returns -inf otherwise).
  A row to be fitted lies within FARTHEST_TO_FIT if columns are not scaled. Given values (`model.read_given`) are
  in one row for all rows to draw or in one for each; at least one candidate in a thousand meets ranges and sets.
- **Settings** (`fit.check_settings`, `Diffusion`): checked before any training.
- **Table files** (`table.read_table`): `.csv` and `.tsv` with a header, plain or with `.gz`; and
  `.parquet`. Each is a regular file within the sizes below, compressed or not; CSV is also read from
  standard input. Lines of text are at most 2 MiB long, and all end alike. A whole number in text that float64 rounds is
  refused, and so is an impossible date in a column of dates.
- **Tables larger than memory** (`table.read_within`): Parquet, CSV and TSV files of any size, at most TABLE_FILES of
  them with the same columns, in the memory that the user gives (MEMORY). Columns of more than LEVELS_OF_A_PASS texts
  are set aside.
- **Model files** (`model_file`): complete and unaltered files of this version of the format, within the sizes below.
  Sizes are checked before memory is taken for reading, and before a file is written that could not be read. Nothing in
  any file is run.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Literal, TypeAlias, TypeGuard, get_args

ReverseVariance: TypeAlias = Literal["beta", "beta_tilde", "optimal"]
REVERSE_VARIANCES: tuple[str, ...] = get_args(ReverseVariance)
Predicts: TypeAlias = Literal["F", "eps", "v", "x_0"]
"""What a user's network returns: see `denoiser/own_network.py`."""
PREDICTS: tuple[str, ...] = get_args(Predicts)
Missing: TypeAlias = Literal["absent", "generate"]
"""Whether new rows have missing values, where the fitted rows have."""
Unseen: TypeAlias = Literal["nearest", "error"]
"""What becomes of values that the fit did not see: see `model/unseen.py`."""
UNSEEN: tuple[str, ...] = get_args(Unseen)
KnownSolver: TypeAlias = Literal["ancestral", "ddim", "multistep", "multistep-sde"]
"""The solvers of this package; a user's own register themselves beside them."""
SOLVER_NAMES: tuple[str, ...] = get_args(KnownSolver)

TABLE_FILE_CELLS = 2**26
TABLE_FILE_COLUMNS = 10_000
TABLE_LEVELS = 2**22  # labels of texts and categories in all columns together
LEVELS_OF_A_PASS = 2**18  # of one column, in a table larger than memory
ONE_HOT_LEVELS = 512  # of one column: their codes are a square
TABLE_FILES = 100_000  # read as one table
MEMORY = 2**31  # bytes that a fit to files may take, unless the user says otherwise
LEAST_MEMORY = 2**20

CHECKSUMMED_HEADER_BYTES = 4 * 2**20
CHECKSUMMED_HEADER_VALUES = 160_000  # counted before JSON is parsed: a value may take 30 times the bytes of its text
CHECKSUMMED_BYTES = 4 * 2**30
NETWORK_SIZE, NETWORK_DEPTH = 2**16, 1000  # units and members, each of them; blocks or layers
MOST_STEPS = 10**6  # of a chain
HISTORY_LENGTH = 2**18  # losses in a model's history; as Python numbers they take nine times their bytes
LARGEST_LOG_SNR = 28.0  # of a chain's first step: float32 rounds away noise below 1e-6
LEAST_LOG_SNR = -80.0  # of a chain's last step: a network needs a finite level
GREATEST_LEVEL = 1e3  # noise level; beyond it networks are neither trained nor measured
LONGEST_TIME = 1e9  # seconds of training, thirty years

FARTHEST_TO_FIT = 1e6  # in encoded units: losses at the noise levels of larger numbers overflow float32
FARTHEST_TO_SCORE = 1e30  # in encoded units: a network's products with larger numbers overflow float32


def is_whole(value: object) -> TypeGuard[int]:
    """Return whether a setting is an integer of Python or NumPy, and not a truth value."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Return whether a setting is a real number of Python or NumPy, and not a truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)
