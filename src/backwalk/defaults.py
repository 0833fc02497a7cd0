"""What the data decide: noise levels, network and training that follow from (n, d) and from the rows themselves.

All functions take encoded rows. Where a constant was chosen by measurement, the comment says on what: never on the rows
of a benchmark, though on densities that the benchmark has too.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from backwalk.denoiser import Architecture, Residual, is_low
from backwalk.diffusion import NoiseSchedule, mismatch_along_axes, moments
from backwalk.streams import Stream
from backwalk.training import Training

_CPU = torch.device("cpu")
USUAL_STEPS = 1000  # a tight bound wants many: with the best scalar it is .009 nats above the truth, at 100 it is .09
USUAL_LEVEL = 20.0  # of noise at the end of a chain, for columns of deviation 1
_MOST_MISMATCH = 1e-4  # nats per row
_FINEST, _COARSEST = 0.016, 0.5
_LEVELS_BELOW_FLOOR = 8.0
_MOST_MEMBERS = 16
_STEPS_PER_ROW = 0.375  # beyond which time goes to more members: 560 passes in the plane's batches of 1,500
_LARGEST_BATCH = {True: 1500, False: 1000}  # in up to three dimensions, and beyond
_MANY_ROWS = 1000  # that are worth a wide network beyond the plane
_MOST_WIDTH = 512
_FEW_ROWS = {True: 1300, False: 2200}  # trained on, for which a usual fit has no more than 800 steps
_MOST_FASTER = 100  # than the machine that `_seconds_a_member_step` is of
_CALM_STEPS, _MOST_HASTE = 1600, 2.5  # at so many steps a run in the plane need not hurry
_HURRIED_SECONDS = 1.3
_LEAST_FOR_TWO = 1200  # steps in the plane, which two members share
_DECAYED_ROWS, _DECAYS = 200.0, (0.05, 0.4)  # weights decay by 200 / n beyond three dimensions, within these
_LEAST_HALF_WIDTH = 128  # at 48 rounding to bfloat16 took what its products saved
_PROBED_PRODUCTS = 2 * 10**10  # of the covariances of `finest_scale`: some seconds
_MOST_SEARCHED = 10**6  # rows in a search for neighbours; of ten times as many it took longer than the training
_CELLS_AT_ONCE = 2**22  # 32 MiB of numbers
_STUDENT_STEPS, _STUDENT_BATCH, _LEAST_STEP_SECONDS = 3000, 2000, 1e-3  # steps of usual networks take longer
_MOST_PAIRS, _MOST_PAIRED_CELLS = 200_000, 2**25  # 128 MiB each for x_N and x_0


def finest_scale(z: NDArray[np.float64], *, stream: Stream) -> float:
    """Return the finest structure that these rows, (n, d), can show, as a standard deviation in encoded units.

    At a random row, the covariance of its sqrt(n) nearest neighbours (2 d + 2, where these are more) is thin where the
    data are; the square root of its least eigenvalue is that thickness, or the neighbours' own spread where nothing is
    thinner. The median over up to 300 rows, of wide tables at least 3, is returned, within 0.016..0.5, so that repeated
    values and tiny tables give something sane. Of more than a million rows so many are looked at, and as much fewer
    neighbours.
    """
    n, d = z.shape
    if n <= d:
        return _FINEST  # no more rows than columns are flat in some direction
    k = min(n, max(2 * d + 2, math.isqrt(n)))
    if n > _MOST_SEARCHED:
        z = z[stream.child("searched").permutation(n)[:_MOST_SEARCHED]]
        n, k = _MOST_SEARCHED, max(2 * d + 2, k * _MOST_SEARCHED // n)
    # Where all rows are neighbours, every probe has the same ones.
    n_probes = 1 if k == n else int(np.clip(_PROBED_PRODUCTS // (d * d * k), 3, 300))
    probes = z[stream.child("probes").permutation(n)[:n_probes]]
    n_pieces = -(-len(probes) * d * max(k, d) // _CELLS_AT_ONCE)
    with threadpool_limits(1):  # so that the bits do not depend on the number of threads
        neighbours = NearestNeighbors(n_neighbors=k).fit(z).kneighbors(probes, return_distance=False)
        least = np.concatenate([_least_variance(z[rows]) for rows in np.array_split(neighbours, n_pieces)])
    return float(np.clip(math.sqrt(max(float(np.median(least)), 0.0)), _FINEST, _COARSEST))


def _least_variance(groups: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the least eigenvalue of the covariance of each group of rows: groups is (p, k, d)."""
    around = groups - groups.mean(axis=1, keepdims=True)
    least: NDArray[np.float64] = np.linalg.eigvalsh(around.mT @ around / groups.shape[1])[:, 0]
    return least


def default_schedule(z: NDArray[np.float64], floor: float, n_steps: int | None = None) -> NoiseSchedule:
    """Return a chain whose log-SNR falls evenly from well below the data's finest scale to noise alone.

    The greatest noise level is 20, or more where the data's first two moments would leave a prior mismatch above 1e-4
    nats. The least is an eighth of the finest scale, a blur that costs a Gaussian of that thickness 6e-5 nats.
    """
    mean, covariance = moments(torch.from_numpy(z))
    variances = torch.linalg.eigvalsh(covariance)
    level_max = USUAL_LEVEL
    while True:
        schedule = NoiseSchedule.log_snr_uniform(
            n_steps or USUAL_STEPS,
            log_snr_max=-2.0 * math.log(floor / _LEVELS_BELOW_FLOOR),
            log_snr_min=-2.0 * math.log(level_max),
        )
        if mismatch_along_axes(mean, variances, schedule) <= _MOST_MISMATCH:
            return schedule
        level_max *= math.sqrt(2.0)


def default_architecture(n: int, d: int, max_time: float | None = None, max_steps: int | None = None) -> Residual:
    """Return the network for n rows in R^d: more members for few rows, and for more time, in seconds, than usual.

    But not for more time with a number of steps, which then is a limit on what these take.

    What an ensemble's members have learnt from the noise of their own training averages out. On two moons two small
    members beat one larger network of the same cost (an excess of 0.0078 against 0.0087 nats), and four, trained twice
    as long, reach 0.005.
    """
    members, _ = _members_and_steps(n, d, max_time)
    if max_steps is not None:
        members = min(members, _members_and_steps(n, d, None)[0])
    return Residual(width=_width(n, d, max_time), n_blocks=3, n_members=members)


def default_training(
    n: int,
    d: int,
    max_steps: int | None = None,
    max_time: float | None = None,
    architecture: Architecture | None = None,
    device: torch.device = _CPU,
) -> Training:
    """Return the training plan of a network (the usual one) for n rows in R^d: more rows are worth more steps.

    `device` is where it is trained.

    With `max_time` the clock ends a run, and the rates follow it; the steps given here are then an upper bound, for
    machines a hundred times as fast as those that the plan was made on. Beyond three dimensions the weights of the
    blocks decay: on a curved chain (d = 8, 20,000 rows) the gap to the truth fell from 0.135 to 0.120 nats, and most of
    it was overfitting; in the plane, where there is little of it, decay only cost. With fewer rows more of the
    gap is overfitting, and weights decay faster (200 / n). Two members of 800 steps are 0.0 to 2.9 nats better with 0.4
    than with 0.05 on four real tables of 120 to 450 rows, and 0.25 on 300 rows of a curved chain; on 4,000 rows 0.1 is
    no better than 0.05, and 0.17 worse.

    In the plane a run of few steps takes larger ones, up to 1.6 times as large in the blocks and four times elsewhere.
    Larger steps still leave two moons as they are, and four rings unlearnt now and then: with 1.4 times as large ones
    in the blocks 811 steps end at 0.05 to 0.21 nats, with these at 0.05 to 0.08 (four seeds). So do smaller batches,
    however many more there are of them: in 0.8 s batches of 511 leave the rings at 0.81 nats, and these at 0.16.
    """
    _, steps = _members_and_steps(n, d, max_time)
    length = (max_steps or steps) if max_time is None else min(steps, max_steps or steps)
    haste = float(np.clip(_CALM_STEPS / length, 1.0, _MOST_HASTE)) if is_low(d) else 1.0
    return Training(
        max_steps=max_steps or (steps if max_time is None else _MOST_FASTER * steps),
        batch_size=_batch_size(n, d),
        learning_rate=0.005 * haste**1.5 if is_low(d) else 0.01,
        hidden_rate=0.02 * haste**0.5,
        weight_decay=0.0 if is_low(d) else float(np.clip(_DECAYED_ROWS / n, *_DECAYS)),
        bfloat16=_is_wide(architecture or default_architecture(n, d, max_time), d) and has_fast_bfloat16(device),
    )


def default_student(d: int, teacher: Architecture | None) -> Residual:
    """Return the network of a student in R^d: one member of the teacher's own, or of a fit's where that is no ensemble.

    On two moons a student of width 48 made rows as good as its teacher's (C2ST minus real .0114 against .0105).
    """
    return replace(teacher if isinstance(teacher, Residual) else default_architecture(1000, d), n_members=1)


def default_distillation(
    d: int,
    student: Architecture,
    max_steps: int | None = None,
    max_time: float | None = None,
    device: torch.device = _CPU,
) -> Training:
    """Return the training plan of a student in R^d, at the rates of a fit of as many steps.

    With `max_time` the clock ends it, and the steps are an upper bound, of which the rates follow: from 1.6 s on they
    are those of a run that need not hurry. (At twice the haste students of two moons and four rings erred by .0082 and
    .0040 for .0084 and .0037.)
    """
    steps = _STUDENT_STEPS if max_time is None else math.ceil(max_time / _LEAST_STEP_SECONDS)
    plan = default_training(default_pairs(d), d, max_steps or steps, architecture=student, device=device)
    return replace(plan, batch_size=_STUDENT_BATCH)


def default_pairs(d: int) -> int:
    """Return how many pairs a student in R^d learns from: as many as are soon made, fewer where they are large to keep.

    Too few are learnt by heart: on a curved chain (d = 8) 10,000 left an error of 0.09 on others, 40,000 one of 0.05.
    """
    return max(1, min(_MOST_PAIRS, _MOST_PAIRED_CELLS // d))


def has_fast_bfloat16(device: torch.device = _CPU) -> bool:
    """Return whether a device makes products of bfloat16 numbers faster than of float32 ones.

    Processors with matrix units (AMX) do. Vector instructions (AVX-512 BF16) do on AMD's, where the passes of a wide
    network took 0.55 of the time (Zen 4, width 512), and do not on Intel's, where they took 1.8 times as long (both
    measured). GPUs that have such products at all do, by their makers' figures; nothing is known of other devices.
    It is told by name and not by a trial: the same data and seed should give the same model on a busy machine too.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    is_amd = str(capabilities.get("cpu_name", "")).startswith("AMD")
    return bool(capabilities.get("amx_bf16") or (is_amd and capabilities.get("avx512_bf16")))


def _members_and_steps(n: int, d: int, max_time: float | None) -> tuple[int, int]:
    """Return the members of an ensemble and the steps of its training.

    Their product is what a fit costs. As it grows with a given time, both grow alike at first: on two moons four
    members of 3,200 steps (an excess of 0.005 nats) beat eight of 1,600 (0.007). With less time than usual two members
    begin to be worth their steps in the plane from 600 each on: in 2.5 s they are at 0.011, 0.041, 0.105 and 0.044 nats
    on two moons, rings, a checkerboard and a pinwheel, and one, which is better on the latter two, at 0.013, 0.045,
    0.093 and 0.035; in 1.6 s two are at 0.019, 0.123, 0.129 and 0.069, and one at 0.014, 0.067, 0.113 and 0.049. Beyond
    three dimensions they are not (in 8 s 0.245 against 0.185 on a curved chain).

    Members learn side by side on two threads or more, so that beyond one there is an even number of them: the nearest,
    or in the plane the next one from a quarter of the way on. (In 18 s two members of 5,600 steps are at 0.0076 nats,
    as they are in 6 s, and four of 2,900 at 0.0062: two moons, four draws.)

    A member remembers the rows in the end, in the plane, where weights do not decay, and of few rows beyond it: time
    beyond the usual steps, or some 560 passes over the rows, goes to more members as long as there are fewer than 16.
    They cost as much more in sampling and scoring. (In 60 s on 10,000 rows eight of 4,700 steps are at 0.0074 nats, and
    six of 6,800 at 0.0084: two moons, two draws; a checkerboard is at 0.050 for 0.049. In 20 s on 1,000 rows twelve of
    1,400 are at 0.061, and six of 2,200 at 0.074; rings at 0.133 for 0.139. 500 rows of two moons are at 0.101 in the
    usual 2.4 s, at 0.099 in 3 s and at 0.106 in 9 s; 300 of a chain in 12 columns at 2.83 in 3 s and at 2.69 in 9 s.)

    Of few rows each member learns accidents of its own, so that four are worth their time, and beyond the plane runs
    are shorter. Of more rows two do, so that a fit of 10,000 stays as short. (1,000 rows of two chains and of a warped
    mixture: four of 537 steps are 0.08, 0.22 and 0.14 nats better than two of 800; 120 to 450 rows of real tables in 4
    to 30 columns: four of 400, with the decay of `default_training`, 3.5, 0.4, 2.4 and 0.6 nats better than two of 800
    with that of many rows; in the plane four of 800 are 0.00 to 0.05 better than two: 300 and 1,000 rows of two moons,
    a pinwheel, rings.)
    """
    steps = int(np.clip(22 * math.sqrt(n), 800, 2200) if is_low(d) else np.clip(17 * math.sqrt(n), 400, 2500))
    has_few_rows = n <= _FEW_ROWS[is_low(d)]
    if max_time is None:
        return 4 if has_few_rows else 2, steps
    # In the plane, where runs are not shortened, four of few steps would leave rings unlearnt.
    members = 4 if has_few_rows and not is_low(d) else 2
    affordable = max_time / _seconds_a_member_step(n, d)
    least = 2 if is_low(d) and affordable >= _LEAST_FOR_TWO else 1
    wanted = members * math.sqrt(affordable / (members * steps))
    even = 2 * math.floor(wanted / 2.0 + (0.75 if is_low(d) else 0.5))
    even = max(even, 2 * round(affordable / max(steps, _STEPS_PER_ROW * n) / 2.0))
    members = int(np.clip(even if wanted >= 1.5 else 1, least, _MOST_MEMBERS))
    return members, max(1, round(affordable / members))


def _width(n: int, d: int, max_time: float | None) -> int:
    if is_low(d):
        return 32 if _is_hurried(d, max_time) else 48
    if n < _MANY_ROWS:
        return 64
    # What a network adds to a multiple of x_t lies in a space of as many dimensions as its last layer is wide: 10,000
    # rows of 256 columns, a Gaussian chain with a correlation of 0.9, are at 52 nats with 128 units, and at 9 with 256.
    return int(np.clip(64 * math.ceil(d / 64), 128, _MOST_WIDTH))


def _seconds_a_member_step(n: int, d: int) -> float:
    """Return about how long a step of one member takes on two cores of 2024: a third of it whatever the batch."""
    of_largest_batches = 2e-3 if is_low(d) else 5e-3 * (_width(n, d, None) / 128) ** 2 if n >= _MANY_ROWS else 3e-3
    return of_largest_batches * (1.0 + 2.0 * _batch_size(n, d) / _LARGEST_BATCH[is_low(d)]) / 3.0


def _batch_size(n: int, d: int) -> int:
    return int(np.clip(n, 256, _LARGEST_BATCH[is_low(d)]))


def _is_wide(architecture: Architecture, d: int) -> bool:
    """Return whether products of bfloat16 numbers pay: in the plane, where networks are small, they were not tried."""
    return not is_low(d) and isinstance(architecture, Residual) and architecture.width >= _LEAST_HALF_WIDTH


def _is_hurried(d: int, max_time: float | None) -> bool:
    """Return whether there is time for so few steps that those of a narrow network, of which there are more, do more.

    (In 0.8 s a width of 32 is at 0.029, 0.157 and 0.142 nats on two moons, rings and a checkerboard, 48 at 0.031, 0.256
    and 0.169; in 1.1 s at 0.022, 0.081 and 0.130, and 0.026, 0.114 and 0.131; in 1.6 s they are even.)
    """
    return is_low(d) and max_time is not None and max_time < _HURRIED_SECONDS


def default_validation_fraction(n: int, d: int) -> float:
    """Return the share of n rows in R^d that choose the weights and fit the reverse variances, and are not learnt from.

    A tenth of up to 1,000 rows, sqrt(10 n) of more, at most 1,000: the more rows there are, the less there is to
    overfit. In the plane, where there is little of it, at most the larger of 50 rows and a twentieth. None of fewer
    than 20 rows.

    On two moons (10,000 rows, 2.5 s, 42 draws) with 200 to 316 rows apart, not 1,000, C2ST minus real is .0043, not
    .0051 (.0007 +- .0003 less), and the gap 0.0103 nats, not 0.0112. In small tables of many columns overfitting is
    what is to be avoided: 134 rows of wine in 13 columns are best known after a fifth of their 400 steps.
    """
    most = max(0.05, 50 / n) if is_low(d) else 0.1
    return 0.0 if n < 20 else min(0.1, most, math.sqrt(10.0 / n), 1000 / n)
