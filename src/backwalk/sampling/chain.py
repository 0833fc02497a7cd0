"""The reverse chain: the loop from x_N back to x_0, and the tiles in which rows are computed.

A row is a function of the stream and its row number. Noise is drawn by row number (`noise.py`). Networks are evaluated
in tiles, each on one thread: the bits of a matrix product depend on its shape, so a row's bits would otherwise depend
on how many rows are drawn. The tile of a row follows from its number (`tile_of`). Tiles have `TILE_ROWS` rows, which
fit in the cache; the first ones are smaller, so that a few rows do not take the time of many.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import torch
from torch import Tensor

from backwalk.diffusion import Denoiser, NoiseSchedule, check_schedule
from backwalk.sampling.noise import RowNoise
from backwalk.sampling.solvers import Solver, Visit
from backwalk.threads import over_threads

TILE_ROWS = 2048
_FIRST_TILES = (0, 256, 1024, TILE_ROWS)  # on a CPU: where the first tiles begin, and the last of them ends
TILES_AHEAD = 64  # tiles computed ahead of the caller, at most, which bounds memory
_NUMBERS_AHEAD = 2**25  # numbers in these tiles, at most
_NUMBERS_PER_DRAW = 64  # of noise, per row: one draw serves several steps of a chain of few coordinates


@dataclass(frozen=True, eq=False)
class ChainState:
    """The state of a reverse chain at one step.

    `walk_back` yields one for each step.

    Parameters
    ----------
    t : int
        The step: n_steps at the start, 0 at the end.
    log_snr : float
        The log-SNR at t.
    x_t : Tensor of shape (n, d)
        The points.
    x_0_hat : Tensor of shape (n, d) or None
        The estimates from which x_t was made, those at step t + 1; None at the start.
    eps : Tensor of shape (n, d) or None, default=None
        The noise that was added, None where there was none.

    See Also
    --------
    walk_back : The chain.

    Examples
    --------
    >>> import torch
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import GaussianDenoiser
    >>> from backwalk.sampling import Ddim, walk_back
    >>> denoiser, schedule = GaussianDenoiser(torch.zeros(1), torch.eye(1)), NoiseSchedule.linear(10)
    >>> states = walk_back(denoiser, schedule, Ddim(), torch.ones(1, 1), noise=lambda t: torch.randn(1, 1))
    >>> [state.t for state in states]
    [10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    """

    t: int
    log_snr: float
    x_t: Tensor
    x_0_hat: Tensor | None
    eps: Tensor | None = None


def walk_back(
    denoiser: Denoiser, schedule: NoiseSchedule, solver: Solver, x_N: Tensor, *, noise: Callable[[int], Tensor]
) -> Iterator[ChainState]:
    """Yield the states of the reverse chain, from x_N to x_0.

    To draw from a conditional or a marginal, pass a `ConditionalDenoiser`, and the free coordinates as x_N.

    Parameters
    ----------
    denoiser : Denoiser
        The denoiser.
    schedule : NoiseSchedule
        The noise levels of the chain. A respaced one gives a shorter chain.
    solver : Solver
        How x_{t-1} follows from x_t.
    x_N : Tensor of shape (n, d)
        The points at which the chain begins, standard normal for a draw.
    noise : callable
        `noise(t)` returns the eps of step t, of shape (n, d). It is called for steps that add noise.

    Yields
    ------
    ChainState
        The n_steps + 1 states.

    Raises
    ------
    InvalidInput
        If the denoiser is not valid on the schedule.

    See Also
    --------
    Solver : The solvers.
    backwalk.diffusion.integrate_ode : The probability-flow ODE, with an error estimate.

    Examples
    --------
    >>> import torch
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import GaussianDenoiser
    >>> from backwalk.sampling import Ddim, walk_back
    >>> denoiser, schedule = GaussianDenoiser(torch.zeros(1), torch.eye(1)), NoiseSchedule.linear(10)
    >>> states = list(walk_back(denoiser, schedule, Ddim(), torch.ones(1, 1), noise=lambda t: torch.randn(1, 1)))
    >>> states[-1].x_t.shape
    torch.Size([1, 1])
    """
    check_schedule(denoiser, schedule)
    x_t, visits, log_snr = x_N, list[Visit](), schedule.log_snr.to(x_N)
    yield ChainState(schedule.n_steps, float(schedule.log_snr[-1]), x_t, None)
    for t in range(schedule.n_steps, 0, -1):
        x_0_hat = denoiser(x_t, log_snr[t])
        visits = [Visit(x_t, x_0_hat), *visits][: solver.n_visits]
        mean, sigma = solver.step(visits, t, schedule)
        eps = noise(t) if sigma > 0.0 else None
        x_t = mean if eps is None else mean + sigma * eps
        yield ChainState(t - 1, float(schedule.log_snr[t - 1]), x_t, x_0_hat, eps)


def walk_rows(
    denoiser: Denoiser, schedule: NoiseSchedule, solver: Solver, d: int, *, noise: RowNoise
) -> Iterator[ChainState]:
    """Yield the states of the chain of some rows, (n, d), whose x_N and eps are drawn by row number."""
    # One draw of noise serves several steps, as draws are expensive. Steps t = N..2 add noise, t = 1 does not.
    n_noisy_steps = schedule.n_steps - 1
    n_draws = max(1, -(-n_noisy_steps // max(1, _NUMBERS_PER_DRAW // d)))
    steps_per_draw = max(1, -(-n_noisy_steps // n_draws))

    @lru_cache(maxsize=1)  # the steps of one draw follow each other
    def draw(*names: str | int, n_steps: int = 1) -> Tensor:
        """Return standard normal numbers, (n_steps, n, d)."""
        numbers = noise.normal(*names, width=n_steps * d)
        return numbers.reshape(-1, n_steps, d).transpose(0, 1).contiguous().to(denoiser.device)

    def eps_at(t: int) -> Tensor:
        draw_number, place = divmod(t - 2, steps_per_draw)
        return draw("eps", draw_number, n_steps=steps_per_draw)[place]

    return walk_back(denoiser, schedule, solver, draw("x_N")[0], noise=eps_at)


def last_state(states: Iterable[ChainState]) -> ChainState:
    """Return a chain's last state without storing the others, which are large for wide rows."""
    (last,) = deque(states, maxlen=1)
    return last


def tile_of(row: int, device: torch.device) -> tuple[int, int]:
    """Return the first row of the tile of a row of a sample, and the row after its last one.

    Tiles start at multiples of 2,048, but on a CPU rows 0..2047 are divided into tiles of 256, 768 and 1,024 rows. A
    GPU takes as long for one row as for a tile.

    >>> import torch
    >>> from backwalk.sampling import tile_of
    >>> [tile_of(row, torch.device("cpu")) for row in (5, 500, 5000)]
    [(0, 256), (256, 1024), (4096, 6144)]
    """
    if row < TILE_ROWS and device.type == "cpu":
        place = bisect_right(_FIRST_TILES, row)
        return _FIRST_TILES[place - 1], _FIRST_TILES[place]
    return _even_tile(row, TILE_ROWS)


def _even_tile(row: int, tile_rows: int) -> tuple[int, int]:
    first = row - row % tile_rows
    return first, first + tile_rows


def over_tiles(
    function: Callable[[int, int], Tensor],
    start: int,
    stop: int,
    tile_rows: int | None = None,
    *,
    width: int,
    device: torch.device,
) -> Iterator[Tensor]:
    """Yield the results of function(tile_start, tile_stop) for rows start..stop-1, in order, cut to those rows.

    Tiles are those of a sample (`tile_of`), or with `tile_rows` all of this size. `function` is called for whole tiles,
    which may include rows outside start..stop-1, and returns their rows of `width` numbers. Memory is bounded: at most
    `TILES_AHEAD` results, fewer of wide rows, but at least one per thread, wait for the caller. On a GPU tiles are
    computed one after the other in the caller's thread.
    """
    n_ahead = max(torch.get_num_threads(), min(TILES_AHEAD, _NUMBERS_AHEAD // ((tile_rows or TILE_ROWS) * width)))

    def tiles_from(row: int) -> Iterator[tuple[int, int]]:
        while row < stop:
            first, row_after = tile_of(row, device) if tile_rows is None else _even_tile(row, tile_rows)
            yield first, row_after
            row = row_after

    def compute(tile: tuple[int, int]) -> Tensor:
        first, last = tile
        with torch.no_grad():
            rows = function(first, last)
        return rows[max(start - first, 0) : min(stop, last) - first]

    tiles = tiles_from(start)
    while some := list(islice(tiles, n_ahead)):
        yield from over_threads(compute, some, parallel=device.type == "cpu")


def padded_tile(rows: Tensor, tile_rows: int) -> Tensor:
    """Return at most `tile_rows` rows padded to a whole tile with copies of the first one."""
    return torch.cat([rows, rows[:1].expand(tile_rows - len(rows), -1)]) if len(rows) < tile_rows else rows
