"""A fitted model: new rows from it, and scores of rows.

Rows go in and come out in the user's units; inside they are encoded. `Given` is the condition under which rows are
drawn and scored: which of their coordinates are given, free and absent.

- To sample: read what is given (`conditions.py`), encode it (`given.py`), draw levels one after the other (`levels.py`)
  and then numbers by the reverse chain (`numbers.py`), and decode the rows.
- To score: encode the rows, and add the log-probability of levels and the log-density of numbers by the
  probability-flow ODE (`numbers.py`), integrated over the cells of integers (`integers.py`).

- `diffusion_model.py` has the record of a fitted model, and its facts in words.
- `terms.py` reads columns and values in the user's terms, and `possible.py` says which values a model can make.
  `unseen.py` has the policy for values that the fit did not see.
- `sample.py` samples rows, also under ranges and sets (`restricted.py`). `walks.py` shows the chain (`chain.py`) state
  by state.
- `score.py` has log-probabilities of rows, `gradients.py` their gradients, and `bounds.py` the variational bound.
- `distances.py` says how far given values lie from the fitted rows, and how rare that is.
- `conditionals.py` has the distribution (`distribution.py`) of a column given others, and `impute.py` fills gaps.
"""

from backwalk.model.bounds import N_MEASURED_LEVELS, bound, measure_denoising_error
from backwalk.model.conditionals import conditional
from backwalk.model.conditions import read_allowed, read_given
from backwalk.model.copies import probabilities_with_copies
from backwalk.model.diffusion_model import (
    MISMATCH_THAT_MATTERS,
    Conditions,
    DiffusionModel,
    blur_words,
    check_reverse_variance,
    default_decoder_variance,
    mismatch_warning,
    reverse_variances,
    short_training,
    training_words,
)
from backwalk.model.distances import (
    FEWEST_UNSEEN,
    MOST_HELD_OUT,
    RARE,
    find_rarity,
    held_out_given,
    measure_distances,
    rarity,
    warn_of_far,
)
from backwalk.model.distribution import Conditional
from backwalk.model.given import Allowed, Given, encode_complete
from backwalk.model.gradients import log_density_and_gradient, refuse_without_gradient
from backwalk.model.impute import estimate_rows, impute_rows
from backwalk.model.integers import N_PLACES, log_prob_of_rows
from backwalk.model.levels import level_of, log_prob_of_levels
from backwalk.model.numbers import MOST_EXACT_COLUMNS, given_all_levels
from backwalk.model.possible import (
    impossible_words,
    possible_rows,
    refuse_fractions,
    refuse_gaps,
    refuse_impossible,
    refuse_not_made,
)
from backwalk.model.restricted import log_prob_of_allowed
from backwalk.model.sample import gather_rows, measure_accepted_share, sample_numbered, sample_pieces, sample_rows
from backwalk.model.score import log_density, rank_scores
from backwalk.model.terms import column_numbers, read_cells, read_given_table, user_terms
from backwalk.model.unseen import beyond_range, broken_rules, check_policy, check_unseen, warn_of_unseen
from backwalk.model.walks import WalkState, denoise, row_steps, walk, walk_backward, walk_forward

__all__ = [
    "FEWEST_UNSEEN",
    "MISMATCH_THAT_MATTERS",
    "MOST_EXACT_COLUMNS",
    "MOST_HELD_OUT",
    "N_MEASURED_LEVELS",
    "N_PLACES",
    "RARE",
    "Allowed",
    "Conditional",
    "Conditions",
    "DiffusionModel",
    "Given",
    "WalkState",
    "beyond_range",
    "blur_words",
    "bound",
    "broken_rules",
    "check_policy",
    "check_reverse_variance",
    "check_unseen",
    "column_numbers",
    "conditional",
    "default_decoder_variance",
    "denoise",
    "encode_complete",
    "estimate_rows",
    "find_rarity",
    "gather_rows",
    "given_all_levels",
    "held_out_given",
    "impossible_words",
    "impute_rows",
    "level_of",
    "log_density",
    "log_density_and_gradient",
    "log_prob_of_allowed",
    "log_prob_of_levels",
    "log_prob_of_rows",
    "measure_accepted_share",
    "measure_denoising_error",
    "measure_distances",
    "mismatch_warning",
    "possible_rows",
    "probabilities_with_copies",
    "rank_scores",
    "rarity",
    "read_allowed",
    "read_cells",
    "read_given",
    "read_given_table",
    "refuse_fractions",
    "refuse_gaps",
    "refuse_impossible",
    "refuse_not_made",
    "refuse_without_gradient",
    "reverse_variances",
    "row_steps",
    "sample_numbered",
    "sample_pieces",
    "sample_rows",
    "short_training",
    "training_words",
    "user_terms",
    "walk",
    "walk_backward",
    "walk_forward",
    "warn_of_far",
    "warn_of_unseen",
]
