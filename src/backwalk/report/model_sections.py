"""The sections of the model: its training, noise schedule, bound and chain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np

from backwalk.assess.statistics import Estimate
from backwalk.assess.topics.likelihood import TEXTBOOK
from backwalk.assess.words import estimate_text, significant, with_error
from backwalk.diffusion import evenly_spaced
from backwalk.model import MISMATCH_THAT_MATTERS, DiffusionModel
from backwalk.report import figures
from backwalk.report.score_sections import entropy_text
from backwalk.report.sections import (
    Chain,
    Context,
    Details,
    Heading,
    Pictures,
    Row,
    Section,
    Table,
    Text,
    picture,
)
from backwalk.report.style import GENERATED, REAL

_ALL_STEPS, _SOME_STEPS = 120, 20  # a schedule of more steps is tabulated at some of them
_STRIP = 6  # frames of the chain where no script runs
_VARIANCES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "beta": ("σ² = β", "the larger of the paper's two"),
        "beta_tilde": ("σ² = β̃", "the smaller of the paper's two"),
        "optimal": ("σ² fitted", "the best variance per step, as the fit measured it"),
        "full": ("full covariance", "from the network's Jacobian, row by row"),
    }
)


def training_section(context: Context) -> Section | None:
    """Show the losses of training; None for models without a history, such as closed-form ones."""
    history, card = context.model.history, context.model.card
    if not history.step:
        return None
    loss = "v-loss |v − v_θ|², where v = √ᾱ ε − √(1 − ᾱ) x₀"
    if history.loss_name == "L_simple":
        loss = "L_simple = |ε − ε_θ|²"
    words = f"Training took {history.n_steps:,} steps"
    if card.get("stopped_by") == "time limit":
        words += f" of about {card['usual_steps']:,}, when its time limit ended"
    elif card.get("stopped_by") == "overfitting":
        words += f" of {card['usual_steps']:,}, as later weights were worse on held-out rows"
    words += (
        f". Each step lowers the {loss}, at random noise levels, summed over coordinates. The loss does not reach 0: "
        "noisy rows do not determine their noise."
    )
    figure = figures.plot_training_loss(history.step, history.loss, loss_name=history.loss_name)
    pictures = [picture(figure, "Training loss against training step", "loss")]
    if history.validation_step:
        words += (
            " Before the first step of a new network, and now and then, the weights are scored on held-out rows, by "
            "the transition terms of the bound on encoded rows; compare this number with no other on this page. The "
            "newest weights are kept that the best do not beat by half a standard error of the difference, if they are "
            "at least as good in the mean as those of a new network before its training."
        )
        if not history.chosen_step:
            words += " Here none were: the model is the untrained network."
        figure = figures.plot_validation_loss(
            history.validation_step, history.validation_loss, chosen_step=history.chosen_step
        )
        pictures.append(picture(figure, "Loss on held-out rows against training step", "validation"))
    return Section("Training", [Text(words), Pictures(pictures)])


def schedule_section(context: Context) -> Section:
    """Show the noise schedule, and whether the chain ends in noise."""
    model = context.model
    schedule, n = model.schedule, model.schedule.n_steps
    rows = [Row.of(*texts) for texts in _schedule_texts(model)]
    unit = (
        "each column is brought to mean 0 and standard deviation 1" if model.codec.is_scaled else "columns as they are"
    )
    blocks = [
        Text(
            f"The chain adds noise to the data in N = {n:,} steps. β is the variance that a step adds, α = 1 − β the "
            "share that it keeps, ᾱ the share of signal left after t steps, σ² the variance of the reverse step, and "
            f"the log-SNR is ln ᾱ/(1 − ᾱ). All are in encoded units: {unit}."
        ),
        Pictures(
            [
                picture(figures.plot_signal(schedule), "alpha and alpha_bar against t", "signal"),
                picture(figures.plot_noise(schedule, model.sigma_sq), "beta and sigma squared against t", "noise"),
                picture(figures.plot_log_snr(schedule), "log-SNR against t", "log-snr"),
            ],
            small=True,
        ),
        Heading("Does the chain end in noise?"),
        Text(prior_text(context)),
        Details(
            "The schedule in numbers" + (f": {len(rows)} of {n:,} steps" if len(rows) < n else ""),
            [Table(("t", "β", "α", "ᾱ", "σ²", "log-SNR"), rows, stacked=False)],
        ),
    ]
    return Section("The noise schedule", blocks)


def prior_text(context: Context) -> str:
    """Return the prior term and the prior mismatch in words, and whether the mismatch matters."""
    likelihood, schedule = context.fidelity.likelihood, context.model.schedule
    mismatch = likelihood.prior_mismatch
    least = f"at least {mismatch:.3f} nats of it are" if mismatch >= 1e-3 else "a part of less than 0.001 nats is"
    words = (
        f"After the last step, ᾱ_N = {significant(float(schedule.alpha_bar[-1]))} of the signal is left, but sampling "
        f"starts from pure noise. The prior term of the bound, {estimate_text(likelihood.prior_term)} nats per row, is "
        f"the difference for a single row; {least} lost by all rows together (the prior mismatch). "
    )
    if mismatch >= MISMATCH_THAT_MATTERS:
        return words + (
            "This matters: training does not remove it, and generated rows start from the wrong distribution. Use more "
            "steps or larger betas."
        )
    words += "That does not matter."
    if schedule == TEXTBOOK:
        return words
    words += (
        " For comparison: the course notebook's schedule (100 steps, β from 0.001 to 0.02; the paper's has 1,000, from "
        f"0.0001) would lose at least {likelihood.textbook_mismatch:.3f} nats of the bound on these rows, whatever the "
        "network."
    )
    if likelihood.textbook_chain is None:
        return words
    return words + " The table of bounds below has its whole cost with the network of this model."


def bound_section(context: Context) -> Section:
    """Show the bound term by term, and the densities and bounds of other models with the same network."""
    fidelity, likelihood = context.fidelity, context.fidelity.likelihood
    terms, known = likelihood.bound, likelihood.entropy is not None
    words = (
        f"The −log p of an unseen row under the chain is at most {with_error(terms.total, terms.total_standard_error)} "
        f"nats on average ({terms.n_rows:,} rows). This bound adds what is lost at the start (prior), in the steps 2 "
        f"to {context.model.schedule.n_steps:,} (transitions) and in the last step to clean data (reconstruction; "
        "negative where data are concentrated)."
    )
    if likelihood.bound_gap is not None:
        words += f" It lies {estimate_text(likelihood.bound_gap)} nats above the −log p of the true density."
    cases = list(_network_models(context))
    rows = [
        Row.of(name, estimate_text(nats), *([estimate_text(gap)] if known else []), explanation=explanation)
        for name, explanation, nats, gap in cases
    ]
    if known:
        rows.insert(0, Row.of("The truth", entropy_text(fidelity), "0", explanation="its entropy"))
    names = [name for name, *_ in cases]
    entropy = (likelihood.entropy, likelihood.entropy_standard_error or 0.0) if likelihood.entropy is not None else None
    nats = figures.plot_nats(names, [(nats.value, nats.standard_error) for _, _, nats, _ in cases], truth=entropy)
    pictures = [picture(nats, "The ODE's -log p and the chains' bounds, with errors, beside the entropy", "nats")]
    gaps = [(gap.value, gap.standard_error) for *_, gap in cases if gap is not None]
    if gaps:
        figure = figures.plot_nats(names, gaps, truth=(0.0, 0.0), truth_name="the truth", title="Gap to the truth")
        pictures.append(picture(figure, "The gap of each to the truth, with errors", "gaps"))
    head = ("Model", "−log p of unseen rows, or its bound, nats per row", *(["Gap to the truth"] if known else []))
    blocks = [
        Text(words),
        Pictures(
            [
                picture(
                    figures.plot_bound_parts(terms, entropy=likelihood.entropy),
                    "The parts of the bound",
                    "parts",
                ),
                picture(figures.plot_transitions(terms), "The transition terms against t", "transitions"),
            ]
        ),
        Heading("One network, several models"),
        Text(
            "The same network gives a density by its ODE, and a bound for any chain, with any steps and any reverse "
            f"variance. All are evaluated at the same {terms.n_rows:,} unseen rows, and gaps are taken row by row."
        ),
        Pictures(pictures),
        Table(head, rows),
    ]
    return Section("The bound, term by term", blocks)


def chain_section(context: Context) -> Section:
    """Show the chain forward and backward."""
    frames = context.frames
    up = (
        "spread out upwards, so that points do not hide each other"
        if len(context.varying) == 1
        else f"{frames.labels[1]} upwards"
    )
    kept = [round(i) for i in np.linspace(0, len(frames.t) - 1, min(_STRIP, len(frames.t)))]
    limits = figures.limits_of(frames.forward.reshape(-1, 2), frames.backward.reshape(-1, 2))
    strips = []
    for name, clouds, color in (("Forward", frames.forward, REAL), ("Backward", frames.backward, GENERATED)):
        figure = figures.plot_chain(
            [clouds[k] for k in kept], captions=[f"t = {frames.t[k]:.0f}" for k in kept], color=color, limits=limits
        )
        strips.append(picture(figure, f"{name}: the chain from data to noise", f"strip {name}", name))
    words = (
        "Left: real rows, as noise is added to them. Right: generated rows on their way from noise, at the same "
        f"noise level. Both clouds should look alike. Axes: {frames.labels[0]} across, {up}, encoded units."
    )
    return Section("The chain, forward and backward", [Text(words), Chain(frames, strips)])


def _schedule_texts(model: DiffusionModel) -> Iterator[list[str]]:
    """Yield t, beta, alpha, alpha_bar, sigma_sq and log-SNR of every step, or of about 20 where there are many."""
    schedule, n = model.schedule, model.schedule.n_steps
    arrays = (schedule.beta, schedule.alpha, schedule.alpha_bar, model.sigma_sq.double(), schedule.log_snr)
    for t in range(1, n + 1) if n <= _ALL_STEPS else (1, *evenly_spaced(n, _SOME_STEPS)):
        yield [f"{t:,}", *(significant(float(array[t])) for array in arrays)]


def _network_models(context: Context) -> Iterator[tuple[str, str, Estimate, Estimate | None]]:
    """Yield the models of the network: a name, an explanation, −log p or its bound, and the gap to the truth."""
    own, likelihood = context.fidelity.model, context.fidelity.likelihood
    terms = likelihood.bound
    note = f"−log p itself; error of the solver {significant(likelihood.ode_solver_error, 2)} nats"
    if likelihood.ode_probe_error:
        note += f", part of random probes and places in the standard error {significant(likelihood.ode_probe_error, 2)}"
    yield "Probability-flow ODE", note, own.negative_log_density, own.gap
    whole = Estimate(terms.total, terms.total_standard_error, terms.n_rows)
    yield "The model's chain", f"{len(terms.transitions) - 1:,} steps", whole, likelihood.bound_gap
    for chain in likelihood.other_chains:
        name, note = _VARIANCES[chain.reverse_variance]
        yield name, f"{chain.n_steps:,} steps, the best ones for fitted σ²; {note}", chain.bound, chain.gap
    if likelihood.textbook_chain is not None:
        chain = likelihood.textbook_chain
        note = f"{chain.n_steps} steps, β from 0.001 to 0.02, σ² = β; the network of this model"
        yield "The course notebook's chain", note, chain.bound, chain.gap
