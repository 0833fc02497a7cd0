import dataclasses
import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch

from backwalk.assess import assess, assessment
from backwalk.assess.representation import Representation
from backwalk.assess.statistics import disjoint_pairs, marginal_ks
from backwalk.assess.topics import likelihood, memorisation
from backwalk.assess.topics.columns import compare_columns
from backwalk.assess.topics.likelihood import bound_textbook_chain
from backwalk.assess.topics.memorisation import draw_equally_many, measure_gain_by_level, measure_training_gain
from backwalk.assess.topics.rows import copied_share
from backwalk.datasets import two_moons
from backwalk.denoiser import Residual, build_denoiser
from backwalk.diffusion import EmpiricalDenoiser, NoiseSchedule, beta_variance, simple_loss, variational_bound
from backwalk.errors import InvalidInput, RepeatedValueWarning
from backwalk.estimator import Diffusion
from backwalk.fit import trained_rows
from backwalk.fit.oracle import oracle_model
from backwalk.model import bound, log_density
from backwalk.sampling import Sampler
from backwalk.streams import Stream
from backwalk.table import Codec, as_table
from backwalk.training import Trainer

SMALL = Residual(width=8, n_blocks=1, n_members=1)
MOONS = two_moons(noise=0.2)
SOME = {"stream": Stream(0), "n_pairs": 2, "n_rows": 50}
TRAINING, UNSEEN = MOONS.sample(600, random_state=0), MOONS.sample(400, random_state=1)

OTHER_CHAINS = likelihood.bound_other_chains

pytestmark = pytest.mark.usefixtures("cheap_scores")


@cache
def fitted():
    return Diffusion(n_steps=40, max_steps=60, denoiser=SMALL, random_state=0, verbose=False).fit(TRAINING).model_


@cache
def assessed():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(likelihood, "bound_other_chains", OTHER_CHAINS)
        patch.setattr(likelihood, "bound_textbook_chain", bound_textbook_chain)
        patch.setattr(likelihood, "log_density", log_density)
        return assess(fitted(), UNSEEN, training=TRAINING, density=MOONS, stream=Stream(0), n_pairs=2, n_rows=100)


def test_all_models_are_compared_with_the_same_nulls():
    names = [figure.name for figure in assessed().model.figures]
    assert len(names) == 7
    for scores in assessed().models:
        assert [figure.name for figure in scores.figures] == names
        for own, other in zip(scores.figures, assessed().model.figures, strict=True):
            assert own.null == other.null
            assert own.difference == pytest.approx(own.value - own.null, abs=1e-12)


def test_densities_are_scored_on_all_threads(monkeypatch):
    """Found by review: on one, as what takes small pieces of work is."""
    before, seen, score = torch.get_num_threads(), [], assessment.score_likelihood

    def noted(*given, **options):
        seen.append(torch.get_num_threads())
        return score(*given, **options)

    monkeypatch.setattr(assessment, "score_likelihood", noted)
    torch.set_num_threads(3)
    try:
        assess(fitted(), UNSEEN[:60], stream=Stream(0), n_pairs=2, n_rows=15)
    finally:
        torch.set_num_threads(before)
    assert seen == [3]


def test_nats_add_up():
    fidelity = assessed()
    ours = fidelity.model
    assert ours.density_of == "ode"
    for baseline in fidelity.baselines:
        # All are means over the same rows, so differences of means are means of differences.
        expected = ours.negative_log_density.value - baseline.negative_log_density.value
        assert baseline.advantage.value == pytest.approx(expected, abs=1e-9)
        assert baseline.advantage.value == pytest.approx(ours.gap.value - baseline.gap.value, abs=1e-9)
    assert fidelity.likelihood.entropy == MOONS.entropy


def test_the_same_stream_gives_the_same_figures_with_or_without_baselines(monkeypatch):
    monkeypatch.setattr(likelihood, "log_density", log_density)
    again = assess(fitted(), UNSEEN, density=MOONS, stream=Stream(0), n_pairs=2, n_rows=100, baselines=False).model
    assert [figure.name for figure in again.figures] == [figure.name for figure in assessed().model.figures]
    for one, other in zip(again.figures, assessed().model.figures, strict=True):
        # Without training rows the scale comes from the unseen ones, which moves distances but no ranks.
        if one.unit != "standard deviations" and not one.name.startswith(("C2ST, near", "Coverage")):
            assert one.value == pytest.approx(other.value, abs=1e-9)
    assert again.gap == assessed().model.gap


def test_chains_and_the_ode_stand_beside_the_truth():
    likelihood_scores = assessed().likelihood
    assert [chain.reverse_variance for chain in likelihood_scores.other_chains] == [
        "beta",
        "beta_tilde",
        "optimal",
        "full",
    ]
    assert {chain.n_steps for chain in likelihood_scores.other_chains} == {40}
    for chain in likelihood_scores.other_chains:
        # Bound and gap are means over the same rows, so their difference is the rows' own mean of -log p.
        own = likelihood_scores.bound.total - likelihood_scores.bound_gap.value
        assert chain.bound.value - chain.gap.value == pytest.approx(own, abs=1e-9)
    by_kind = {chain.reverse_variance: chain.bound.value for chain in likelihood_scores.other_chains}
    assert max(by_kind["full"], by_kind["optimal"]) < by_kind["beta_tilde"]  # by a nat, whatever the rough fit
    assert assessed().model.total_variation is not None
    # The notebook's schedule leaves alpha_bar_N = 0.3475 of what the codec has brought to variance 1.
    z = fitted().codec.encode(UNSEEN)
    variances = np.linalg.eigvalsh(np.cov(z, rowvar=False, bias=True))
    last = 1 + 0.3475 * (variances - 1)
    expected = 0.5 * (np.sum(last - 1 - np.log(last)) + 0.3475 * np.square(z.mean(0)).sum())
    assert likelihood_scores.textbook_mismatch == pytest.approx(expected, rel=1e-3)


def test_the_ode_and_the_bounds_are_about_the_same_rows():
    fidelity = assessed()
    assert fidelity.model.negative_log_density.n == fidelity.likelihood.bound.n_rows == len(UNSEEN)
    own = fidelity.model.negative_log_density.value - fidelity.model.gap.value
    assert fidelity.likelihood.bound.total - fidelity.likelihood.bound_gap.value == pytest.approx(own, abs=1e-9)
    assert fidelity.likelihood.ode_probe_error == fidelity.likelihood.entropy_standard_error == 0.0
    assert 0.0 < fidelity.likelihood.ode_solver_error < 0.1


def test_the_textbook_s_setting_is_paid_in_full_by_the_model_s_own_network():
    """Its bound lies above the truth by more than the mismatch that no network mends."""
    fidelity, model = assessed(), fitted()
    textbook = fidelity.likelihood.textbook_chain
    assert (textbook.n_steps, textbook.reverse_variance) == (100, "beta")
    assert textbook.gap.value > fidelity.likelihood.textbook_mismatch
    # By another route: the bound of mathematics, in encoded units.
    z = torch.from_numpy(model.codec.encode(UNSEEN)).float()
    schedule = NoiseSchedule.linear(100)
    terms = variational_bound(model.denoiser, z, schedule, beta_variance(schedule), stream=Stream(4), n_draws=2)
    same_noise = bound_textbook_chain(model, UNSEEN, None, Stream(4))
    expected = terms.total - model.codec.log_abs_det_jacobian(UNSEEN).mean()
    assert same_noise.bound.value == pytest.approx(expected, abs=1e-5)
    # Other noise on the same rows: the error over the rows is on the wide side.
    assert abs(textbook.bound.value - expected) < 5.7 * 2**0.5 * textbook.bound.standard_error
    narrow = build_denoiser(SMALL, 2, schedule=NoiseSchedule.linear(50), floor=0.1, stream=Stream(0))
    narrow = dataclasses.replace(model, denoiser=narrow)  # not valid at the textbook's last levels
    assert bound_textbook_chain(narrow, UNSEEN, None, Stream(0)) is None


def test_beyond_32_columns_probes_estimate_the_ode_s_density_with_their_error():
    """False alarm 1e-8: 5.7 standard errors of the probes of both."""
    d = 33
    rows = np.random.default_rng(0).normal(size=(300, d)) @ np.random.default_rng(1).normal(size=(d, d))
    training, unseen = rows[:250], rows[250:]
    settings = {"n_steps": 20, "max_steps": 30, "denoiser": SMALL, "validation_fraction": 0.0}
    model = Diffusion(**settings, random_state=0, verbose=False).fit(training).model_
    fidelity = assess(model, unseen, stream=Stream(0), n_pairs=2, baselines=False)
    by_many = log_density(model, unseen, n_probes=64, stream=Stream(9))
    ours, error = fidelity.model.negative_log_density, float(by_many.standard_error.square().sum().sqrt()) / 50
    probe_error = fidelity.likelihood.ode_probe_error
    assert 0.0 < probe_error < ours.standard_error
    assert (
        abs(ours.value + float(by_many.log_prob.mean()))
        < 5.7 * (fidelity.likelihood.ode_probe_error**2 + error**2) ** 0.5
    )
    assert fidelity.model.density_of == "ode"
    assert fidelity.model.total_variation is None


def test_rows_that_only_chose_the_weights_are_left_out_of_memory_s_figures():
    model = fitted()
    trained = trained_rows(model.card, TRAINING)
    assert trained.sum() == model.card["n_rows"] == assessed().checks.n_training
    assert trained_rows(model.card, TRAINING + 1.0).all()  # another table
    seen = {}

    class Watched(Trainer):
        def __init__(self, denoiser, x_0, *args, x_validation, **options):
            seen.update(x_0=x_0, x_validation=x_validation)
            super().__init__(denoiser, x_0, *args, x_validation=x_validation, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backwalk.fit.fit.Trainer", Watched)
        again = Diffusion(n_steps=5, max_steps=1, denoiser=SMALL, random_state=0, verbose=False).fit(TRAINING).model_
    z = torch.from_numpy(again.codec.encode(TRAINING)).float()
    found = trained_rows(again.card, TRAINING)
    for rows, told in ((seen["x_0"], z[found]), (seen["x_validation"], z[~found])):
        assert set(map(tuple, rows.tolist())) == set(map(tuple, told.tolist()))


def test_rows_that_chose_the_weights_are_in_no_figure_of_memory(monkeypatch):
    asked = {}

    def noting(name, function, place):
        def noted(*given, **options):
            asked[name] = len(given[place])
            return function(*given, **options)

        monkeypatch.setattr(memorisation, name, noted)

    noting("nearest_row_share", memorisation.nearest_row_share, 1)
    noting("draw_equally_many", memorisation.draw_equally_many, 0)
    assess(fitted(), UNSEEN, training=TRAINING, stream=Stream(0), n_pairs=2, n_rows=100, baselines=False)
    assert asked == dict.fromkeys(asked, fitted().card["n_rows"])
    assert len(asked) == 2
    assert fitted().card["n_rows"] < len(TRAINING)


def test_memory_is_seen_at_the_levels_where_it_is():
    """A denoiser of the training rows themselves remembers them where noise does not hide them, and nowhere else."""
    schedule = NoiseSchedule.log_snr_uniform(40, log_snr_max=8.0, log_snr_min=-8.0)
    training, unseen = TRAINING[:80], UNSEEN[:80]
    model = oracle_model(EmpiricalDenoiser(torch.from_numpy(training)), training, schedule)
    fidelity = assess(model, unseen, training=training, stream=Stream(0), n_pairs=2, baselines=False)
    levels = fidelity.memorisation.gain_by_level
    assert levels[0].t == 1
    assert levels[-1].t == 40
    assert levels[0].gain.value > 6 * levels[0].gain.standard_error
    assert abs(levels[-1].gain.value) < 6 * levels[-1].gain.standard_error
    assert fidelity.memorisation.training_gain.value > 6 * fidelity.memorisation.training_gain.standard_error
    assert (
        fidelity.memorisation.nearest_row_share.value > 0.5 + 6 * fidelity.memorisation.nearest_row_share.standard_error
    )
    # The network of a short fit has remembered nothing.
    for level in assessed().memorisation.gain_by_level:
        assert abs(level.gain.value) < 6 * level.gain.standard_error


def test_rows_that_memory_is_told_by_share_their_noise():
    model, n = fitted(), 400
    pair = draw_equally_many(TRAINING, UNSEEN, Stream(3))
    paired = measure_training_gain(model, *pair, Stream(4))
    assert paired.n == n
    same = measure_training_gain(model, pair[0], pair[0], Stream(4))
    assert same.value == same.standard_error == 0.0
    for level in measure_gain_by_level(model, pair[0], pair[0], Stream(4)):
        assert level.gain.value == level.gain.standard_error == 0.0
    first = next(measure_gain_by_level(model, *pair, Stream(4)))
    z = [torch.from_numpy(model.codec.encode(rows)).float() for rows in pair]
    gains = []
    for draw in range(4):
        eps = Stream(4).child(1, draw).normal(0, n, 2, torch.float32)
        with torch.no_grad():
            trained, unseen = (simple_loss(model.denoiser, x, 1, eps, model.schedule) for x in z)
        gains.append(unseen - trained)
    assert first.t == 1
    assert first.gain.value == pytest.approx(float(torch.stack(gains).mean()), rel=1e-4, abs=1e-7)


def test_seconds_are_told_for_ten_thousand_rows():
    assert assessment._per_10_000(3.0, 1500) == 20.0


def test_each_column_is_compared_by_its_own_values():
    rows = [Stream(5).child(k).normal(0, 400, 3).numpy() * [1.0, 2.0, 5.0] for k in range(3)]
    codec = Codec.fit(as_table(rows[0]))
    pairs = disjoint_pairs(codec.encode(rows[0]), 2, stream=Stream(6))
    generated = codec.encode(rows[1])
    for j, figure in enumerate(compare_columns(pairs, generated, Representation(codec), "abc")):
        split = np.split(generated[: pairs.n_generated], len(pairs.pairs))
        by_hand = [marginal_ks(a, g)[j] for (a, _), g in zip(pairs.pairs, split, strict=True)]
        assert figure.value == pytest.approx(np.mean(by_hand))


def test_the_record_is_plain_json():
    record = json.loads(json.dumps(assessed().to_dict(), allow_nan=False))
    assert record["version"] == 5
    assert "rows" not in record
    assert record["likelihood"]["bound"]["n_rows"] == 400
    assert len(record["likelihood"]["bound"]["transitions"]) == 41
    assert "per_row" not in record["likelihood"]["bound"]
    assert record["model"]["figures"][0]["null"] == assessed().model.figures[0].null


def test_real_rows_without_a_known_density_are_split_and_give_no_gap():
    fidelity = assess(fitted(), UNSEEN[:100], training=TRAINING, stream=Stream(0), n_pairs=2, baselines=False)
    assert fidelity.real_rows == "2 random splits of the unseen rows into halves of 50"
    assert fidelity.model.gap is fidelity.likelihood.entropy is fidelity.likelihood.bound_gap is None
    assert fidelity.baselines == ()
    disjoint = assess(fitted(), UNSEEN, stream=Stream(0), n_pairs=2, n_rows=100)
    assert disjoint.real_rows == "2 pairs of 100 unseen rows, none of them used twice"
    assert disjoint.memorisation is None


@cache
def with_a_flag():
    """Return a model of two moons and a flag, of one site, and more such rows."""
    rows = np.column_stack([np.full(1000, 3.0), np.arange(1000) % 2, MOONS.sample(1000, random_state=2)])
    with pytest.warns(RepeatedValueWarning):
        fit = Diffusion(n_steps=20, max_steps=30, denoiser=SMALL, random_state=0, verbose=False).fit(rows[:600])
    return fit.model_, rows[:600], rows[600:]


def test_a_column_that_does_not_vary_among_the_judged_rows_is_judged_all_the_same():
    model, training, unseen = with_a_flag()
    quiet = unseen[unseen[:, 1] == 0.0]
    fidelity = assess(model, quiet, stream=Stream(0), n_pairs=2)
    assert [figure.name for figure in fidelity.columns.figures] == ["x₂", "x₃", "x₄"]
    assert fidelity.columns.figures[0].value > 0.3  # half of the generated flags are 1
    assert fidelity.columns.figures[0].null == 0.0
    beside = assess(model, unseen, training=training[training[:, 1] == 0.0], stream=Stream(0), n_pairs=2)
    assert [figure.name for figure in beside.columns.figures] == ["x₂", "x₃", "x₄"]


def test_training_rows_that_the_model_cannot_make_are_refused():
    model, training, unseen = with_a_flag()
    training[[7, 9], 0] = 4.0
    with pytest.raises(InvalidInput, match=r"training should hold .* but got 4.0 at row 7 .* 1 more row differs"):
        assess(model, unseen, training=training, stream=Stream(0), n_pairs=2)


def test_unseen_rows_that_the_model_cannot_make_are_left_out_and_told():
    """Found by review: a single one kept all others from being judged."""
    model, _, unseen = with_a_flag()
    others = np.concatenate([unseen[:2], unseen])
    others[:2, 0] = 4.0
    fidelity, expected = (assess(model, rows, stream=Stream(0), n_pairs=2) for rows in (others, unseen))
    assert (fidelity.checks.n_unseen, fidelity.checks.n_impossible, expected.checks.n_impossible) == (len(unseen), 2, 0)
    told = [line for line in fidelity.warnings if line not in expected.warnings]
    assert [f"2 of {len(others)} unseen rows" in line for line in told] == [True]
    assert fidelity.model.figures == expected.model.figures
    assert fidelity.likelihood.bound.total == expected.likelihood.bound.total
    unseen[19:, 0] = 4.0
    with pytest.raises(InvalidInput, match=r"unseen should hold .* but got 4.0 at row 19"):
        assess(model, unseen, stream=Stream(0), n_pairs=2)


def test_an_estimator_in_the_place_of_its_model_is_told_so():
    with pytest.raises(InvalidInput, match=r"got Diffusion: give model.model_"):
        assess(Diffusion(), np.zeros((20, 2)), stream=Stream(0))


def test_the_gain_of_training_rows_is_that_of_encoded_ones():
    """Found by review: the volumes of columns with heavy tails were in it, and hid memorisation in their spread."""
    wild, even = (np.exp(2.0 * Stream(5).child(name).normal(0, 300, 1).numpy()) for name in ("training", "unseen"))
    model = Diffusion(n_steps=40, max_steps=30, denoiser=SMALL, random_state=0, verbose=False).fit(wild).model_
    assert model.codec.columns[0].axis.asinh
    times = Sampler("ancestral", 50).times(model.schedule)
    on_training, on_unseen = (
        bound(model, rows, steps=times, stream=Stream(4).child("noise")).per_row.numpy()
        + model.codec.log_abs_det_jacobian(rows)
        for rows in (wild, even)
    )
    gain = measure_training_gain(model, wild, even, Stream(4))
    assert gain.value == pytest.approx(float((on_unseen - on_training).mean()), rel=1e-5)


def test_rows_of_the_fit_get_no_verdict():
    """Found by a user: a report recommended a kernel density on the very rows that it was fitted to."""
    for rows, training in ((TRAINING, None), (TRAINING[:300], TRAINING)):
        fidelity = assess(fitted(), rows, training=training, **SOME)
        assert fidelity.checks.share_of_fit == 1.0
        assert fidelity.verdict.startswith("No verdict: 100%")
        assert "training rows" in fidelity.warnings[0] or "rows that the model was fitted to" in fidelity.warnings[0]
        assert fidelity.lines()[:3] == [fidelity.verdict, "Before you use it:", f"- {fidelity.warnings[0]}"]
        assert "Diffusion.load" in fidelity.code
    assert assessed().checks.share_of_fit == 0.0
    assert not assessed().verdict.startswith("No verdict")


def test_training_rows_that_are_not_the_fits_and_scored_rows_among_them_are_warned_of():
    """Found by review: with another table as training rows the report found no copies, and said so."""
    mixed = np.concatenate([UNSEEN[:300], TRAINING[:100]])
    fidelity = assess(fitted(), mixed, training=TRAINING[:-1], baselines=False, **SOME)
    assert fidelity.checks.copied_share == 0.25
    assert fidelity.checks.is_other_training
    assert "25%" in fidelity.warnings[0]
    assert "are not the rows of the fit" in fidelity.warnings[1]
    quiet = assess(fitted(), UNSEEN, training=TRAINING, baselines=False, **SOME)
    assert not quiet.checks.is_other_training
    assert quiet.checks.copied_share == 0.0


def test_rows_that_repeat_by_nature_are_no_copies():
    """Of 32 possible rows, most training rows occur twice, and so do unseen ones among them."""
    flags = np.random.default_rng(0).integers(0, 2, (400, 5)).astype(float)
    assert copied_share(flags[:200], flags[200:]) < 0.05
    assert copied_share(UNSEEN[:20], np.concatenate([TRAINING, UNSEEN[:10]])) == 0.5


def test_the_rows_of_the_pictures_are_those_of_the_figures():
    """Found by review: the report drew other rows than it compared."""
    fidelity = assess(fitted(), UNSEEN, baselines=False, **SOME)
    codec = fitted().codec.refitted(as_table(UNSEEN))
    pairs = disjoint_pairs(codec.encode(fidelity.rows.real), 2, stream=Stream(0).child("real"))
    found = compare_columns(pairs, codec.encode(fidelity.rows.generated), Representation(codec), ["x₁", "x₂"])
    assert found == fidelity.columns.figures
    assert set(map(bytes, fidelity.rows.real)) <= set(map(bytes, UNSEEN))


def test_progress_is_reported_from_0_to_1():
    seen = []
    assess(fitted(), UNSEEN, training=TRAINING, watch=lambda share, stage: seen.append((share, stage)), **SOME)
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert len({stage for _, stage in seen}) > 6


def test_the_code_to_copy_names_the_models_own_file():
    assert (
        "load(\"out/my 'moons'.backwalk\")"
        in assess(fitted(), UNSEEN, model_path="out/my 'moons'.backwalk", baselines=False, **SOME).code
    )


def test_threads_are_given_back():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assess(fitted(), UNSEEN[:60], stream=Stream(0), n_pairs=2, n_rows=15)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_model_that_repeats_its_training_rows_is_found_out():
    # Judged with the rows that it generates as its "training" rows: every one of them is a copy.
    from backwalk.model import sample_rows

    copies = sample_rows(fitted(), 0, 600, stream=Stream(9).child("generated"))
    fidelity = assess(
        fitted(), UNSEEN, training=copies, density=MOONS, stream=Stream(9), n_pairs=2, n_rows=200, baselines=False
    )
    assert fidelity.memorisation.nearest_row_share.value > 0.75
    assert any("repeats training rows" in warning for warning in fidelity.warnings)


@pytest.mark.parametrize(
    ("unseen", "words"),
    [(UNSEEN[:19], "at least 20 rows"), (np.zeros((50, 3)), "unseen has 3 features")],
)
def test_unfit_rows_are_refused(unseen, words):
    with pytest.raises(InvalidInput, match=words):
        assess(fitted(), unseen, stream=Stream(0))


def test_tables_with_whole_and_constant_columns_are_judged():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(size=200), "count": rng.poisson(9.0, 200), "one": 1.0})
    model = Diffusion(n_steps=20, max_steps=40, denoiser=SMALL, random_state=0, verbose=False).fit(frame[:150]).model_
    values = frame.to_numpy()
    fidelity = assess(model, values[150:], training=values[:150], stream=Stream(0), n_pairs=2)
    assert [figure.name for figure in fidelity.columns.figures] == ["size", "count"]
    assert all(np.isfinite(scores.negative_log_density.value) for scores in fidelity.models)


@pytest.mark.parametrize("n_rows", [9, 0, -1, 20.5, True])
def test_sets_too_small_for_the_classifiers_are_refused(n_rows):
    """Found by review: scikit-learn's own error came, or rows were cut off the end."""
    with pytest.raises(InvalidInput, match="n_rows should be an integer >= 10"):
        assess(fitted(), UNSEEN, density=MOONS, stream=Stream(0), n_pairs=2, n_rows=n_rows)


def test_tables_are_judged_by_the_names_of_their_columns():
    """Found by review: columns in another order were taken by their place."""
    pd = pytest.importorskip("pandas")
    training = pd.DataFrame(TRAINING, columns=["a", "b"])
    model = Diffusion(n_steps=5, max_steps=2, denoiser=SMALL, random_state=0, verbose=False).fit(training).model_
    unseen = pd.DataFrame(UNSEEN, columns=["a", "b"])
    one, other = (
        assess(model, rows, training=training, stream=Stream(0), n_pairs=2, baselines=False)
        for rows in (unseen, unseen[["b", "a"]])
    )
    assert one.to_dict()["columns"] == other.to_dict()["columns"]
    with pytest.raises(InvalidInput, match="unseen lacks 'b' and also has 'c'"):
        assess(model, unseen.rename(columns={"b": "c"}), stream=Stream(0))


def test_no_density_is_better_than_the_truth_of_whole_numbers():
    """Found by review: at the centres of the cells, a mixture with a bump on each number beat the truth by .3 nats.

    By 5.73 standard errors of the mean: false alarm 1e-8.
    """
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"flag": rng.integers(0, 4, 1200), "x": rng.normal(size=1200)})
    training, unseen = table[:800], table[800:]
    model = Diffusion(n_steps=20, max_steps=30, denoiser=SMALL, random_state=0, verbose=False).fit(training).model_
    fidelity = assess(model, unseen, training=training, stream=Stream(0), n_pairs=2)
    entropy = np.log(4.0) + 0.5 * np.log(2.0 * np.pi * np.e)
    for scores in fidelity.models:
        score = scores.negative_log_density
        assert score.value > entropy - 5.73 * score.standard_error, scores.name


def test_fractions_among_integers_are_left_out_and_named():
    """Found by an attack: half-integers in a column of integers were scored in silence."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"count": rng.integers(0, 9, 400).astype(float), "x": rng.normal(size=400)})
    settings = {"n_steps": 20, "max_steps": 20, "denoiser": SMALL, "columns": {"count": "integer"}}
    model = Diffusion(**settings, random_state=0, verbose=False).fit(frame[:200]).model_
    other = frame[200:].copy()
    other.iloc[:2, 0] = 2.5
    fidelity = assess(model, other, **SOME)
    assert (fidelity.checks.n_unseen, fidelity.checks.n_impossible) == (198, 2)
    assert any("2 of 200 unseen rows" in line for line in fidelity.warnings)
    assert log_density(model, other[:3].to_numpy()).log_prob.isinf().tolist() == [True, True, False]
    with pytest.raises(InvalidInput, match=r"2\.5 at row 0 .* column 'count', which is integers"):
        assess(model, frame[200:], training=other, **SOME)


def test_densities_of_a_baseline_without_asinh_are_over_the_same_columns():
    """Found by review: where other training rows held one value in a column, one of the two left it out."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": np.exp(2.0 * rng.normal(size=600)), "c": rng.normal(size=600)})
    model = Diffusion(n_steps=20, max_steps=20, denoiser=SMALL, random_state=0, verbose=False).fit(frame[:300]).model_
    assert [bool(column.axis.asinh) for column in model.codec.columns] == [True, False]
    other = frame[:300].assign(c=0.25)
    table = as_table(other)
    codec = model.codec.refitted(table)
    linear = codec.refitted(table, asinh=False)
    assert linear.varying == codec.varying == (0, 1)
    assert linear.columns[0].words == "number"
    assert linear.columns[1] == codec.columns[1] == model.codec.columns[1]
