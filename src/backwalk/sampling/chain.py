"""The loop from x_N back to x_0, which yields every state."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from backwalk.diffusion import Denoiser, NoiseSchedule, check_schedule
from backwalk.sampling.steps import Step, Visit


@dataclass(frozen=True, eq=False)
class ChainState:
    """The state of a chain after step t + 1: x_t, (n, d), and the x_0_hat and the noise eps of that step.

    Both are None at the start, and `eps` also after a step without noise.
    """

    t: int
    log_snr: float
    x_t: Tensor
    x_0_hat: Tensor | None
    eps: Tensor | None = None


def walk_back(
    denoiser: Denoiser, schedule: NoiseSchedule, step: Step, x_N: Tensor, *, noise: Callable[[int], Tensor]
) -> Iterator[ChainState]:
    """Yield the states of the reverse chain, from x_N to x_0: n_steps + 1 of them.

    `x_N` is (n, d) in variance-preserving scaling. `noise(t)` returns the eps of step t, (n, d); it is called for
    stochastic solvers only. For rows of a conditional or a marginal, pass a `ConditionalDenoiser` and the free
    coordinates.
    """
    check_schedule(denoiser, schedule)
    x_t, past, log_snr = x_N, list[Visit](), schedule.log_snr.to(x_N)
    yield ChainState(schedule.n_steps, float(schedule.log_snr[-1]), x_t, None)
    for t in range(schedule.n_steps, 0, -1):
        x_0_hat = denoiser(x_t, log_snr[t])
        past = [Visit(x_t, x_0_hat), *past][: step.n_visits]
        eps = noise(t) if step.is_stochastic and t > 1 else None
        x_t = step(past, t, schedule, eps)
        yield ChainState(t - 1, float(schedule.log_snr[t - 1]), x_t, x_0_hat, eps)


def last_state(states: Iterable[ChainState]) -> ChainState:
    """Return a chain's last state without storing the others, which are large for wide rows."""
    (last,) = deque(states, maxlen=1)
    return last
