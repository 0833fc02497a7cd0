"""Check a student's function by the laws of its exercise.

A function is called with tensors, and again with NumPy arrays if a law fails with tensors: students may write it for
either, or as loops over numbers.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from backwalk.course.laws import EXERCISES, BrokenLaw, Law, WrongResult
from backwalk.errors import InvalidInput
from backwalk.formatting import one_line

_TOLERANCE = 1e-4  # relative and absolute: a function may compute in float32
_AT_FIRST_STEP = " At t = 1, 1 - alpha_bar_(t-1) is 0, and 0 / 0 is no number: write the formula without that division."


@dataclass(frozen=True)
class Checked:
    """The outcome of a check, shown as text and true where every law holds.

    `check` returns it.

    Parameters
    ----------
    name : str
        The exercise.
    state : str
        "passed", "failed" or "unwritten".
    holding : tuple of str
        The laws that hold, in words.
    fault : str, default=""
        Which law fails first, where, and a hint. It is empty where all hold.

    See Also
    --------
    check : The function that makes it.

    Examples
    --------
    >>> from backwalk.course import check
    >>> bool(check("snr", lambda t, alpha_bar: alpha_bar[t] / (1 - alpha_bar[t])))
    True
    """

    name: str
    state: str
    holding: tuple[str, ...]
    fault: str = ""

    def __bool__(self) -> bool:
        """Return whether every law holds."""
        return self.state == "passed"

    def __repr__(self) -> str:
        """Return the outcome in lines of text."""
        if self.state == "unwritten":
            return f"{self.name}: not written yet. Replace the line `raise NotImplementedError` by your lines."
        n = len(EXERCISES[self.name].laws)
        head = f"{self.name}: " + (
            f"right, all {n} laws hold." if self else f"not yet, law {len(self.holding) + 1} of {n} fails."
        )
        lines = [head, *(f"  holds: {law}" for law in self.holding), *self.fault.splitlines()]
        return "\n".join(_wrapped(line) for line in lines)


class _Unwritten(Exception):
    """The function is still the lesson's stub."""


def check(name: str, mine: Callable[..., Any]) -> Checked:
    """Check a function that solves an exercise of the course.

    Parameters
    ----------
    name : str
        The exercise: a key of `EXERCISES`.
    mine : callable
        Your function, with the arguments that the exercise states. It may be written for tensors, for NumPy arrays,
        or as loops over numbers.

    Returns
    -------
    Checked
        True where every law holds. Its text names the law that fails, with a counterexample and a hint.

    Raises
    ------
    InvalidInput
        If there is no exercise of this name, or `mine` cannot be called.

    See Also
    --------
    write_lessons : The lessons with the exercises.

    Examples
    --------
    >>> from backwalk.course import check
    >>> def snr(t, alpha_bar):
    ...     return (1 - alpha_bar[t]) / alpha_bar[t]
    >>> check("snr", snr)
    snr: not yet, law 2 of 2 fails.
      holds: Where signal and noise have the same variance, the ratio is 1.
      fails: The ratio is that of the variances of signal and noise, for data of variance 1.
        alpha_bar_t = 0.8: yours is 0.25, it should be 4.
        Hint: x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps. Which variance belongs above the line?
    """
    if name not in EXERCISES:
        raise InvalidInput(f"name should be one of {', '.join(EXERCISES)}, but got {name!r}: take the exercise's name.")
    if not callable(mine):
        raise InvalidInput(f"mine should be your function, but got {type(mine).__name__}: leave out the brackets.")
    with_tensors = _check_with(name, mine, _as_tensor)
    if with_tensors.state != "failed":
        return with_tensors
    with_arrays = _check_with(name, mine, np.copy)
    return max(with_tensors, with_arrays, key=lambda checked: (bool(checked), len(checked.holding)))


def _check_with(name: str, mine: Callable[..., Any], convert: Callable[..., Any]) -> Checked:
    """Return the outcome for arguments of one kind."""
    holding: list[str] = []
    for law in EXERCISES[name].laws:
        try:
            _try_law(law, mine, convert, EXERCISES[name].arguments.split(", "))
        except _Unwritten:
            return Checked(name, "unwritten", ())
        except (WrongResult, BrokenLaw) as wrong:
            hint = f"\n    Hint: {law.hint}" if isinstance(wrong, BrokenLaw) else ""
            return Checked(name, "failed", tuple(holding), f"  fails: {law.says}\n    {wrong}{hint}")
        holding.append(law.says)
    return Checked(name, "passed", tuple(holding))


def _try_law(law: Law, mine: Callable[..., Any], convert: Callable[..., Any], names: list[str]) -> None:
    """Raise BrokenLaw at the first case of a law that does not hold, and WrongResult where none can be tried."""
    last: dict[str, Any] = {}  # the arguments of the last call, which is that of a case

    def call(*arguments: Any) -> Any:
        last.update(zip(names, arguments, strict=True))
        result = called(*arguments)
        if not _are_equal(result, called(*arguments)):
            noise = next((f"the argument {name}" for name in ("z", "eps") if name in names), "its arguments")
            raise WrongResult(
                "Your function returns something else for the same arguments, so it draws random numbers: take the "
                f"noise from {noise} in place of torch.randn."
            )
        return result

    def called(*arguments: Any) -> Any:
        given = [convert(value) if isinstance(value, np.ndarray) else value for value in arguments]
        try:
            result = mine(*given)
        except Exception as error:  # whatever a student's function raises
            if isinstance(error, NotImplementedError) and not error.args:
                raise _Unwritten from error
            raise WrongResult(f"Your function raised {type(error).__name__}: {one_line(error)}.") from error
        for before, after in zip(arguments, given, strict=True):
            if isinstance(before, np.ndarray) and not np.array_equal(before, _as_array(after)):
                raise WrongResult(
                    "Your function changed one of its arguments in place: write x = x + 1 instead of x += 1."
                )
        if result is None:
            raise WrongResult("Your function returned nothing: does it end with `return`?")
        return tuple(map(_as_numbers, result)) if isinstance(result, tuple) else _as_numbers(result)

    for case in law.cases(call):
        _compare(case.words, np.asarray(case.got), np.asarray(case.wanted, dtype=float), last)


def _compare(words: str, got: NDArray[Any], wanted: NDArray[np.float64], arguments: dict[str, Any]) -> None:
    """Raise BrokenLaw where a result is of another shape, or differs by more than rounding."""
    if wanted.ndim == 0 and got.size == 1:
        got = got.reshape(())
    if got.shape != wanted.shape:
        raise BrokenLaw(f"{words}: yours has the shape {_shape(got)}, it should have {_shape(wanted)}.")
    differs = ~np.isclose(got, wanted, rtol=_TOLERANCE, atol=_TOLERANCE)
    if not differs.any():
        return
    is_finite = np.isfinite(np.asarray(got, dtype=float)).all()
    why = "" if is_finite else _AT_FIRST_STEP if arguments.get("t") == 1 else " Is something divided by 0 there?"
    if wanted.ndim == 0:
        raise BrokenLaw(f"{words}: yours is {_numbers(got)}, it should be {_numbers(wanted)}.{why}")
    row = int(differs.reshape(len(wanted), -1).any(1).argmax())  # the first that differs says enough
    points = [name for name, value in arguments.items() if isinstance(value, np.ndarray) and value.ndim == 2]
    of_row = ", ".join(f"{name} = {_numbers(arguments[name][row])}" for name in points)
    raise BrokenLaw(
        f"{words}: row {row} of yours is {_numbers(got[row])}, it should be {_numbers(wanted[row])}"
        f"{f', where {of_row}' if points else ''}.{why}"
    )


def _wrapped(line: str) -> str:
    """Return a line in lines of at most 110 characters, further ones indented by two more."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(line, 110, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _as_tensor(array: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(array.copy())


def _as_array(value: Any) -> NDArray[Any]:
    """Return a result as an array: of tensors, arrays, numbers, and lists of these."""
    if isinstance(value, torch.Tensor):
        return np.asarray(value.detach().cpu())
    if isinstance(value, list | tuple):
        try:
            return np.asarray([_as_array(item) for item in value])
        except ValueError as error:
            raise WrongResult("Your function returned a list of rows of different lengths.") from error
    return np.asarray(value)


def _as_numbers(value: Any) -> NDArray[Any]:
    """Return a result as an array of numbers. Raises WrongResult where it holds something else."""
    array = _as_array(value)
    if not np.issubdtype(array.dtype, np.number):
        raise WrongResult(f"Your function returned {value!r}, which is no number.")
    return array


def _are_equal(one: Any, other: Any) -> bool:
    """Return whether two results, arrays or tuples of arrays, have the same numbers."""
    if isinstance(one, tuple):
        return isinstance(other, tuple) and len(one) == len(other) and all(map(_are_equal, one, other))
    return not isinstance(other, tuple) and np.array_equal(one, other, equal_nan=True)


def _shape(array: NDArray[Any]) -> str:
    return f"({', '.join(map(str, array.shape))}{',' * (array.ndim == 1)})" if array.ndim else "() of a single number"


def _numbers(values: NDArray[Any]) -> str:
    """Return numbers with six digits: several in brackets."""
    texts = [f"{value:.6g}" if math.isfinite(value) else str(value) for value in np.ravel(values).tolist()]
    return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"
