"""The report's sentences: what each number means, for a reader who meets it for the first time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from backwalk.assess import Fidelity
from backwalk.assess.scored import TEXTBOOK
from backwalk.assess.words import significant, with_error
from backwalk.diffusion import NoiseSchedule
from backwalk.model import MISMATCH_THAT_MATTERS
from backwalk.training import History

EXPLANATIONS: Mapping[str, str] = MappingProxyType(
    {
        "C2ST, boosting": "A two-sample test: how often boosted trees tell generated from real rows. 50 % is guessing.",
        "C2ST, nearest rows": "The same by a vote of the 15 nearest rows: keener on local density.",
        "Sliced Wasserstein": "How far rows must be moved, on average over random directions, to match the real ones.",
        "Energy distance": "Do two rows of different sets lie farther apart than two of one set? About 0 if not.",
        "Worst column (KS)": "The largest difference of cumulative distributions, real and generated, of one column.",
        "Correlations": "How far correlations between two columns are off, on average over pairs.",
        "Coverage": "The share of real rows with a generated row as near as their fifth neighbour. More is better.",
    }
)

DENSITIES: Mapping[str, str] = MappingProxyType(
    {
        "exact": "exact density",
        "ode": "density of its probability-flow ODE",
    }
)

VARIANCES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "beta": ("σ² = β", "the larger of the paper's two"),
        "beta_tilde": ("σ² = β̃", "the smaller of the paper's two"),
        "optimal": ("σ² fitted", "the best scalar per step, as the fit measured it"),
        "full": ("full covariance", "from the network's Jacobian, row by row"),
    }
)


def dataset_words(data: NDArray[np.float64], fidelity: Fidelity, varying: Sequence[int]) -> str:
    """Return what the data are, in one or two sentences."""
    n, d = data.shape
    columns = f"{d} column{'s' * (d > 1)}"
    if fidelity.n_training is None:
        words = f"{n:,} rows of {columns}, by which the model is judged; its training rows were not given"
    else:
        others = "others" if fidelity.are_others else "rows, some of which are among these or among the fit's"
        words = f"{n:,} training rows of {columns}; judged by {fidelity.n_unseen:,} {others}"
    if len(varying) < d:
        constant = d - len(varying)
        one = constant == 1
        words += f"; {constant} of the columns {'holds' if one else 'hold'} one value throughout, and "
        words += f"{'comes' if one else 'come'} back exactly"
    if fidelity.entropy is not None:
        words += "; the true density is known"
    return words + "."


def loss_words(history: History) -> str:
    """Return what the pictures of a run show: its losses, and which weights were kept."""
    if history.loss_name == "L_simple":
        loss = "L_simple = |ε − ε_θ|²"
    else:
        loss = "v-loss = |v − v_θ|², where v = √ᾱ ε − √(1 − ᾱ) x₀ turns from noise to data along the chain"
    words = (
        f"{history.n_steps:,} steps were taken. Each aims to lower the {loss}, at random noise levels, summed over "
        "columns. It does not end at 0, as noise cannot be told from data for certain."
    )
    if history.validation_step:
        words += (
            " From time to time the weights are judged by rows kept apart: by the part of the bound between "
            "its two ends, of encoded rows, so that it compares with no other number on this page. The last weights "
            "are kept, unless earlier ones were better by half a standard error of the difference or more."
        )
    return words


def entropy_words(fidelity: Fidelity) -> str:
    """Return the entropy of the truth with its error, where it has one, or nothing where it is not known."""
    if fidelity.entropy is None:
        return ""
    error = fidelity.entropy_standard_error
    return with_error(fidelity.entropy, error) if error else f"{fidelity.entropy:.4f}"


def prior_words(fidelity: Fidelity, schedule: NoiseSchedule) -> str:
    """Return what the prior term and the mismatch are, and whether they matter."""
    alpha_bar = significant(float(schedule.alpha_bar[-1]))
    term = with_error(fidelity.prior_term.value, fidelity.prior_term.standard_error)
    mismatch = fidelity.prior_mismatch
    lost = f"at least {mismatch:.3f} nats are" if mismatch >= 1e-3 else "less than 0.001 nats is known to be"
    words = (
        f"After the last step ᾱ_N = {alpha_bar} of the variance is signal, for columns of variance 1. The bound's "
        f"prior term is {term} nats per row; of that, {lost} lost because the chain starts from pure noise instead of "
        "from where the data end (the prior mismatch). "
    )
    if mismatch >= MISMATCH_THAT_MATTERS:
        return words + (
            "This matters: no training removes it from the bound, and every sample starts from the wrong place. More "
            "steps or larger betas do."
        )
    words += "That is nothing to worry about."
    if schedule == TEXTBOOK:
        return words
    words += (
        " The course notebook's schedule, 100 steps with β from 0.001 to 0.02 (the paper's has 1,000, from 0.0001), "
        f"would lose at least {fidelity.textbook_mismatch:.3f} nats of the bound on the same encoded rows, whatever "
        "the network."
    )
    if fidelity.textbook_chain is None:
        return words
    return words + " What it costs in all, with the network of this model, stands in the table of the bounds."


def bound_words(fidelity: Fidelity, schedule: NoiseSchedule) -> str:
    """Return what the bound is and where it stands."""
    terms = fidelity.bound
    words = (
        f"On average the chain gives an unseen row a −log p of at most "
        f"{with_error(terms.total, terms.total_standard_error)} nats ({terms.n_rows:,} rows). The bound adds what "
        f"is lost at the start (prior), at each of the steps 2 to {schedule.n_steps:,} (transitions) and in the "
        "last step to clean data (reconstruction; negative where data are concentrated)."
    )
    if fidelity.bound_gap is not None:
        gap = with_error(fidelity.bound_gap.value, fidelity.bound_gap.standard_error)
        words += f" Its gap to the truth, row by row, is {gap} nats."
    return words
