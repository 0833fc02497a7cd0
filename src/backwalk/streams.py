"""Counter-based random streams: every draw is a function of (seed, path, row), not of earlier draws.

Philox maps (key, counter) to random words. The key is made from the seed and the path of names of a stream, the counter
from the row. So row 712 of a sample is the same in a batch of one, ten or a million, and in every process. No global
random state is read or set.

Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from backwalk.errors import InvalidInput
from backwalk.threads import on_one_thread

__all__ = ["RandomState", "Stream", "as_stream"]

_WORDS_PER_BLOCK = 4  # Philox 4x64 makes four 64-bit words from one value of its counter
_LARGEST_GAP = 2_048  # words between two rows that are drawn in one call: they take less time than another call


@dataclass(frozen=True)
class Stream:
    """A source of random numbers that is addressed by row.

    Row 712 of a stream is the same in a batch of one, ten or a million, and in every process. Streams with different
    seeds or paths are independent. No global random state is read or set.

    Parameters
    ----------
    seed : int
        An integer >= 0.
    path : tuple of str or int, default=()
        The purpose of the stream; `child` extends it.

    See Also
    --------
    backwalk.diffusion.variational_bound : A function that takes a stream.

    Notes
    -----
    Philox maps a key and a counter to random words. The key is made from seed and path, the counter from the row.
    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".

    Examples
    --------
    >>> from backwalk.streams import Stream
    >>> stream = Stream(seed=0).child("example", 3)
    >>> bool((stream.normal(0, 10, 2)[4:6] == stream.normal(4, 6, 2)).all())
    True
    """

    seed: int
    path: tuple[str | int, ...] = ()

    def child(self, *names: str | int) -> Stream:
        """Return the stream for one purpose within this one, for example `stream.child("step", t)`.

        Parameters
        ----------
        *names : str or int
            Names of the purpose. Scalars of NumPy count as the equal ones of Python.

        Returns
        -------
        Stream
            The stream whose path ends with these names.
        """
        plain = (name.item() if isinstance(name, np.generic) else name for name in names)
        return Stream(self.seed, (*self.path, *plain))

    def uniform(self, start: int, stop: int, d: int) -> Tensor:
        """Return rows of numbers that are uniform on the open interval (0, 1).

        They lie on the grid (k + 1/2) / 2^52, so neither 0 nor 1 occurs.

        Parameters
        ----------
        start : int
            First row.
        stop : int
            Row after the last.
        d : int
            Numbers in a row.

        Returns
        -------
        Tensor, (stop - start, d)
            Float64.
        """
        return _uniform(self._words([(start, stop)], d))

    def uniform_of_rows(self, rows: np.ndarray, d: int) -> Tensor:
        """Return the rows of `uniform` that have some numbers, in any order.

        Parameters
        ----------
        rows : ndarray, (n,)
            The numbers of the rows, integers >= 0.
        d : int
            Numbers in a row.

        Returns
        -------
        Tensor, (n, d)
            Float64.
        """
        return _uniform(self._words_of_rows(rows, d))

    def normal(self, start: int, stop: int, d: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return rows of standard normal numbers.

        One 64-bit word gives a radius (from 32 bits) and an angle (from 32 bits), hence two normals (Box and Muller
        1958). The tails end at 6.76 standard deviations, beyond which lies a probability of 1.4e-11.

        Parameters
        ----------
        start : int
            First row.
        stop : int
            Row after the last.
        d : int
            Numbers in a row.
        dtype : torch.dtype, default=torch.float64
            The type of the numbers.

        Returns
        -------
        Tensor, (stop - start, d)
            Independent draws of N(0, 1).
        """
        return _normal(self._words([(start, stop)], (d + 1) // 2), d, dtype)

    def normal_of_rows(self, rows: np.ndarray, d: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return the rows of `normal` that have some numbers, in any order.

        Parameters
        ----------
        rows : ndarray, (n,)
            The numbers of the rows, integers >= 0.
        d : int
            Numbers in a row.
        dtype : torch.dtype, default=torch.float64
            The type of the numbers.

        Returns
        -------
        Tensor, (n, d)
            Independent draws of N(0, 1).
        """
        return _normal(self._words_of_rows(rows, (d + 1) // 2), d, dtype)

    def permutation(self, n: int) -> np.ndarray:
        """Return the numbers 0..n-1 in a random order.

        Parameters
        ----------
        n : int
            How many.

        Returns
        -------
        ndarray, (n,)
            Int64.
        """
        return self.generator().permutation(n)

    def generator(self) -> np.random.Generator:
        """Return a NumPy generator at the start of this stream, for libraries that need one.

        Returns
        -------
        numpy.random.Generator
            A new one at each call.
        """
        return np.random.Generator(np.random.Philox(key=self._key()))

    def integer(self) -> int:
        """Return one integer in 0..2^31 - 1, for libraries that need a seed.

        Returns
        -------
        int
            The same at each call.
        """
        return int(self.generator().integers(2**31))

    def _key(self) -> np.ndarray:
        # Slashes within a name are doubled, so that no two paths have the same text.
        names = [f"{type(name).__name__}:{str(name).replace('/', '//')}" for name in self.path]
        text = "/".join([str(self.seed), *names])
        return np.frombuffer(hashlib.blake2b(text.encode(), digest_size=16).digest(), dtype="<u8")

    def _words_of_rows(self, rows: np.ndarray, per_row: int) -> np.ndarray:
        """Return the words of some rows, (n, per_row): rows that lie close together are drawn with those between."""
        if not len(rows):
            return self._words([], per_row)
        order = np.argsort(rows, kind="stable")
        in_order = rows[order]
        is_first = np.append(True, np.diff(in_order) > _LARGEST_GAP / max(per_row, 1))
        first = in_order[is_first]
        stops = in_order[np.append(is_first[1:], True)] + 1
        words = self._words(list(zip(first.tolist(), stops.tolist(), strict=True)), per_row)
        starts = np.append(0, (stops - first).cumsum()[:-1])
        run = is_first.cumsum() - 1
        places = np.empty(len(rows), dtype=np.intp)
        places[order] = starts[run] + in_order - first[run]
        is_all = len(places) == len(words) and bool((places == np.arange(len(words))).all())
        return words if is_all else words[places]

    def _words(self, runs: Sequence[tuple[int, int]], per_row: int) -> np.ndarray:
        """Return the words of rows start..stop-1 of each run, (n, per_row)."""
        generator, at, drawn = np.random.Philox(key=self._key()), 0, list[np.ndarray]()
        for start, stop in runs:
            block, skip = divmod(start * per_row, _WORDS_PER_BLOCK)
            n_words = skip + (stop - start) * per_row
            generator.advance(block - at)
            drawn.append(generator.random_raw(n_words)[skip:])
            at = block + -(-n_words // _WORDS_PER_BLOCK)
        words = drawn[0] if len(drawn) == 1 else np.concatenate([np.empty(0, dtype=np.uint64), *drawn])
        return words.reshape(sum(stop - start for start, stop in runs), per_row)


def _uniform(words: np.ndarray) -> Tensor:
    return torch.from_numpy(((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52)


@on_one_thread
def _normal(words: np.ndarray, d: int, dtype: torch.dtype) -> Tensor:
    halves = words.view(np.uint32).reshape(*words.shape, 2)
    unit = torch.from_numpy(halves.astype(np.float64)).add_(0.5).mul_(2.0**-32).to(dtype)
    radius = unit[..., 0].log().mul_(-2.0).sqrt_()
    # In float32 the largest of the 2^32 values rounds to 1: its radius is 0, the limit.
    angle = unit[..., 1].mul(2.0 * math.pi)
    both = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)
    return both[:, :d].contiguous()


RandomState: TypeAlias = int | np.random.Generator | np.random.RandomState | None
"""The types that scikit-learn accepts as a `random_state`."""


def as_stream(random_state: RandomState) -> Stream:
    """Return the stream for a `random_state` as in scikit-learn.

    An integer gives the same stream every time. A generator gives a new one at each call and is advanced. None takes
    entropy from the operating system.

    Parameters
    ----------
    random_state : int, numpy.random.Generator, numpy.random.RandomState or None
        A seed, an integer >= 0, or where to take one from.

    Returns
    -------
    Stream
        The stream of this seed.

    Raises
    ------
    InvalidInput
        A ValueError: it is none of these.

    See Also
    --------
    Stream : The stream, from a seed.

    Examples
    --------
    >>> from backwalk.streams import as_stream
    >>> as_stream(0)
    Stream(seed=0, path=())
    """
    if random_state is None:
        return Stream(secrets.randbits(64))
    if isinstance(random_state, np.random.Generator):
        return Stream(int(random_state.integers(2**63)))
    if isinstance(random_state, np.random.RandomState):
        return Stream(int(random_state.randint(2**31)))
    if isinstance(random_state, (int, np.integer)) and not isinstance(random_state, bool) and random_state >= 0:
        return Stream(int(random_state))
    raise InvalidInput(
        f"random_state should be None, an integer >= 0 or a NumPy generator, but got {random_state!r}: "
        "give an integer for results that repeat."
    )
