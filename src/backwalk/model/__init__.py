"""A fitted model: new rows from it, and scores of rows.

Rows go in and come out in the user's units; inside, they are encoded. `fitted.py` has the record of a fitted model,
`generation.py` makes rows, `walks.py` shows the chain state by state, and `scoring.py` scores rows.
"""

from backwalk.model.bounds import (
    MOST_FULL_COLUMNS,
    N_MEASURED_LEVELS,
    bound,
    chosen_times,
    measured_denoising_error,
)
from backwalk.model.conditions import Encoded, column_numbers, encoded, known_cells, numbers_given, of_numbers
from backwalk.model.densities import MOST_EXACT_COLUMNS, log_density
from backwalk.model.distributions import Conditional
from backwalk.model.fields import denoised, log_density_at
from backwalk.model.fitted import (
    MISMATCH_THAT_MATTERS,
    Conditions,
    DiffusionModel,
    Student,
    blur_words,
    check_reverse_variance,
    default_decoder_variance,
    mismatch_warning,
    reverse_variances,
    student_words,
    time_limit_words,
    training_words,
)
from backwalk.model.generation import gathered, sample_pieces, sample_rows, visited_times, walk
from backwalk.model.given import (
    Allowed,
    Given,
    conditions_of,
    refuse_fractions,
    refuse_not_made,
    user_terms,
    values_of,
    values_of_table,
)
from backwalk.model.imputation import estimated, imputed
from backwalk.model.integers import N_PLACES, log_prob_of_rows
from backwalk.model.one_column import conditional
from backwalk.model.particles import RowStep, row_steps, walk_tiles
from backwalk.model.rejection import conditional_pieces, rows_by_number
from backwalk.model.scoring import (
    encode_for_scoring,
    impossible_words,
    possible_rows,
    ranks,
    refuse_gaps,
    refuse_impossible,
)
from backwalk.model.walks import WalkState, walk_backward, walk_forward

__all__ = [
    "MISMATCH_THAT_MATTERS",
    "MOST_EXACT_COLUMNS",
    "MOST_FULL_COLUMNS",
    "N_MEASURED_LEVELS",
    "N_PLACES",
    "Allowed",
    "Conditional",
    "Conditions",
    "DiffusionModel",
    "Encoded",
    "Given",
    "RowStep",
    "Student",
    "WalkState",
    "blur_words",
    "bound",
    "check_reverse_variance",
    "chosen_times",
    "column_numbers",
    "conditional",
    "conditional_pieces",
    "conditions_of",
    "default_decoder_variance",
    "denoised",
    "encode_for_scoring",
    "encoded",
    "estimated",
    "gathered",
    "impossible_words",
    "imputed",
    "known_cells",
    "log_density",
    "log_density_at",
    "log_prob_of_rows",
    "measured_denoising_error",
    "mismatch_warning",
    "numbers_given",
    "of_numbers",
    "possible_rows",
    "ranks",
    "refuse_fractions",
    "refuse_gaps",
    "refuse_impossible",
    "refuse_not_made",
    "reverse_variances",
    "row_steps",
    "rows_by_number",
    "sample_pieces",
    "sample_rows",
    "student_words",
    "time_limit_words",
    "training_words",
    "user_terms",
    "values_of",
    "values_of_table",
    "visited_times",
    "walk",
    "walk_backward",
    "walk_forward",
    "walk_tiles",
]
