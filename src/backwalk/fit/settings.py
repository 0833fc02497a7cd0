"""The parameters of a `Diffusion`, checked before anything is computed.

`Settings` declares each parameter with its rule: in words, as a test, and the remedy for other values. pydantic applies
the rules in the order of the fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError, ValidationInfo, model_validator
from torch import nn

from backwalk.denoiser import Architecture, Embedding
from backwalk.diffusion import NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.estimates import as_numbers
from backwalk.fit.progress import Callback
from backwalk.limits import (
    GREATEST_LEVEL,
    HISTORY_LENGTH,
    LARGEST_LOG_SNR,
    LONGEST_TIME,
    MOST_STEPS,
    PREDICTS,
    UNSEEN,
    Missing,
    Predicts,
    ReverseVariance,
    Unseen,
    is_number,
    is_whole,
)
from backwalk.model import Conditions, check_reverse_variance, column_numbers
from backwalk.sampling import Sampler
from backwalk.streams import as_stream
from backwalk.table import Rule, Schema, parse_rule
from backwalk.training import Training


def _rule(
    words: str, holds: Callable[[Any], bool], remedy: str, *, convert: Callable[[Any], Any] = lambda value: value
) -> PlainValidator:
    """Return the rule for a parameter; values for which it holds are converted. None is a value if `words` say so."""
    takes_none = words.endswith("or None")

    def check(value: Any, info: ValidationInfo) -> Any:
        if takes_none and value is None:
            return None
        if not holds(value):
            instead = f"give an instance, {value.__name__}(...)" if isinstance(value, type) else remedy
            raise InvalidInput(f"{info.field_name} should be {words}, but got {value!r}: {instead}.")
        return convert(value)

    return PlainValidator(check)


def _is_a(kind: Any) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


def _is_truth_value(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_)) or (is_whole(value) and value in (0, 1))


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _are_conditions(value: Any) -> bool:
    if value is None or value in ("auto", "any"):
        return True
    return _is_sequence(value) and bool(value) and all(_is_sequence(columns) and bool(columns) for columns in value)


def _is_rule(value: Any) -> bool:
    return isinstance(value, (str, Rule))


def _rules_of(value: Any) -> Literal["auto"] | tuple[Rule, ...]:
    if isinstance(value, str):
        return "auto"
    return tuple(parse_rule(each) if isinstance(each, str) else each for each in value or ())


_FOLLOWS = "leave it out, and it follows from the data"
_TRUTH = _rule("True or False", _is_truth_value, "give one of them", convert=bool)
_STEPS = _rule(
    "an integer >= 1 or None", lambda n: is_whole(n) and n >= 1, "give 1 at least, or leave it out", convert=int
)
_SECONDS = _rule(
    f"a number of seconds in (0, {LONGEST_TIME:.0e}] or None",
    lambda seconds: is_number(seconds) and 0 < seconds <= LONGEST_TIME,
    "leave it out where time does not matter",
    convert=float,
)


def _checked_variance(name: Any) -> Any:
    check_reverse_variance(name)
    return name


class Settings(BaseModel):
    """The checked parameters of a `Diffusion`; its docstring describes them."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    max_steps: Annotated[int | None, _STEPS]
    max_time: Annotated[float | None, _SECONDS]
    reverse_variance: Annotated[ReverseVariance, PlainValidator(_checked_variance)]
    n_steps: Annotated[
        int | None,
        _rule(
            f"an integer in 2..{MOST_STEPS} or None",
            lambda n: is_whole(n) and 2 <= n <= MOST_STEPS,
            "1000 is usual",
            convert=int,
        ),
    ]
    validation_fraction: Annotated[
        float | None,
        _rule("a number in [0, 0.5] or None", lambda share: is_number(share) and 0.0 <= share <= 0.5, "None is usual"),
    ]
    schedule: Annotated[NoiseSchedule | None, _rule("a NoiseSchedule or None", _is_a(NoiseSchedule), _FOLLOWS)]
    denoiser: Annotated[
        Architecture | None,
        _rule(
            "a Residual, a Textbook, a torch.nn.Module or None", lambda value: isinstance(value, Architecture), _FOLLOWS
        ),
    ]
    predicts: Annotated[
        Predicts,
        _rule('"F", "eps", "v" or "x_0"', lambda value: value in PREDICTS, 'what your network returns, usually "eps"'),
    ]
    embedding: Annotated[
        Embedding | None,
        _rule(
            "a CNNEmbedding, an FCEmbedding, a torch.nn.Module or None",
            lambda value: isinstance(value, Embedding),
            "leave it out where data have few columns",
        ),
    ]
    training: Annotated[Training | None, _rule("a Training or None", _is_a(Training), _FOLLOWS)]
    sampler: Annotated[
        Sampler | None,
        _rule(
            "a Sampler, a solver's name or None",
            lambda value: isinstance(value, (Sampler, str)),
            "leave it out for the default",
            convert=lambda value: Sampler(value) if isinstance(value, str) else value,
        ),
    ]
    missing: Annotated[
        Missing,
        _rule('"absent" or "generate"', lambda value: value in ("absent", "generate"), '"absent" is usual'),
    ]
    conditions: Annotated[
        Any,
        _rule(
            '"auto", "any", None or a list of lists of columns',
            _are_conditions,
            'for example "any", or [["species"], ["species", "year"]]',
        ),
    ]
    unseen: Annotated[Unseen, _rule('"nearest" or "error"', lambda value: value in UNSEEN, '"nearest" is usual')]
    verbose: Annotated[
        bool,
        _rule(
            "True, False or an integer >= 0",
            lambda value: isinstance(value, (bool, np.bool_)) or (is_whole(value) and value >= 0),
            "False shows nothing",
            convert=bool,
        ),
    ]
    scale: Annotated[bool, _TRUTH]
    warm_start: Annotated[bool, _TRUTH]
    callbacks: Annotated[
        tuple[Callback, ...],
        _rule(
            "a list of functions",
            lambda value: isinstance(value, Sequence) and all(map(callable, value)),
            "give one alone as [function]",
            convert=tuple,
        ),
    ]
    device: Any
    random_state: Any
    columns: Any  # `fit_codec` checks it
    rules: Annotated[
        Literal["auto"] | tuple[Rule, ...],
        _rule(
            '"auto", None or a list of rules',
            lambda value: value is None or value == "auto" or (_is_sequence(value) and all(map(_is_rule, value))),
            'for example ["start <= end"], Order("start", "end")',
            convert=_rules_of,
        ),
    ]

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.training is not None and self.max_steps is not None:
            raise InvalidInput(
                f"max_steps should be None where training is given, but got {self.max_steps!r}: set it in the plan, "
                "Training(max_steps=...)."
            )
        if self.schedule is not None and self.n_steps is not None:
            raise InvalidInput(
                f"n_steps should be None where schedule is given, but got {self.n_steps!r}: a schedule has its own "
                "number, as in schedule=NoiseSchedule.linear(100). Diffusion.ddpm() gives one."
            )
        if self.schedule is not None:
            _check_schedule(self.schedule)
        if self.predicts != "F" and not isinstance(self.denoiser, nn.Module):
            raise InvalidInput(
                f"predicts goes with a network of your own as denoiser, but got {self.predicts!r} with "
                f"{self.denoiser!r}: leave it out."
            )
        choose_device(self.device)
        if not isinstance(self.random_state, (np.random.Generator, np.random.RandomState)):  # which would advance
            as_stream(self.random_state)
        if self.embedding is not None and (isinstance(self.conditions, str) or len(self.conditions or ()) != 1):
            raise InvalidInput(
                f"conditions should be one list of data columns where embedding is given, but got "
                f"{self.conditions!r}: name the columns that it reads, conditions=[[...]]."
            )
        if self.embedding is not None and self.rules != "auto" and self.rules:
            raise InvalidInput("rules should be None where embedding is given, as it goes without: leave them out.")
        return self

    def with_names(self, schema: Schema) -> Self:
        """Return the settings with names in place of the numbers of columns."""
        if not isinstance(self.columns, Mapping):
            return self
        names = {name: column_numbers(schema, [name])[0] for name in self.columns if is_whole(name)}
        by_name = {schema.names[names[name]] if name in names else name: of for name, of in self.columns.items()}
        return self.model_copy(update={"columns": by_name})

    def conditions_for(self, *, has_patterns: bool, schema: Schema) -> Conditions:
        """Return the conditions of a fit. `has_patterns` says whether the table has levels, gaps, dates or rules."""
        if self.conditions is None:
            return None
        if self.conditions == "any":
            return "any"
        if self.conditions == "auto":
            return "any" if has_patterns else None
        sets = tuple(tuple(sorted(column_numbers(schema, columns))) for columns in self.conditions)
        if any(len(columns) == schema.n_columns for columns in sets):
            raise InvalidInput(
                f"conditions should leave a column free in each set, but got all {schema.n_columns} columns in one: "
                "leave out those that should be drawn."
            )
        return sets


def always_given(conditions: Conditions) -> frozenset[int]:
    """Return the columns, by number, that every set of columns that may be given has: data that are never asked for."""
    if conditions is None or conditions == "any":
        return frozenset()
    return frozenset(conditions[0]).intersection(*conditions)


def check_settings(parameters: Mapping[str, Any]) -> Settings:
    """Return the parameters of a `Diffusion` as settings. Raises InvalidInput for the first that cannot be used."""
    try:
        return Settings(**parameters)
    except ValidationError as error:
        raise error.errors()[0]["ctx"]["error"] from None  # the InvalidInput of a rule


def check_weights(sample_weight: Any, n: int) -> NDArray[np.float64] | None:
    """Return the weights of n rows, (n,), scaled to mean 1. Raises InvalidInput for others."""
    if sample_weight is None:
        return None
    weights = as_numbers(sample_weight, "sample_weight")
    if weights.shape != (n,):
        raise InvalidInput(
            f"sample_weight should have a weight for each of {n:,} rows, but has shape {weights.shape}: give as many."
        )
    if not np.isfinite(weights).all() or weights.min() < 0.0 or not weights.sum() > 0.0:
        raise InvalidInput(
            f"sample_weight should be finite, >= 0 and not zero in all rows, but lies in {weights.min():g} to "
            f"{weights.max():g}: leave out rows that should not count."
        )
    return np.asarray(weights / weights.mean())


def _check_schedule(schedule: NoiseSchedule) -> None:
    if schedule.n_steps > MOST_STEPS:
        raise InvalidInput(
            f"schedule should have at most {MOST_STEPS} steps, but has {schedule.n_steps}: take fewer by respace."
        )
    if float(schedule.log_snr[1]) > LARGEST_LOG_SNR:
        raise InvalidInput(
            f"schedule should begin at a log-SNR of at most {LARGEST_LOG_SNR:g}, as float32 rounds away less noise, "
            f"but begins at {float(schedule.log_snr[1]):g}: give a smaller log_snr_max, or a larger beta_min."
        )
    if float(schedule.noise_level[1]) >= GREATEST_LEVEL:
        raise InvalidInput(
            f"schedule should begin at a noise level below {GREATEST_LEVEL:g}, but begins at "
            f"{float(schedule.noise_level[1]):g}: give a larger log_snr_max, or a smaller beta_min."
        )


def check_length(training: Training, n: int) -> None:
    """Raise InvalidInput where training on n rows would record more losses than a model file can hold."""
    epochs = -(-training.steps_for(n) // training.steps_an_epoch(n))
    if training.levels == "chain" and epochs > HISTORY_LENGTH:
        raise InvalidInput(
            f"training should take at most {HISTORY_LENGTH} epochs, as the loss of each is recorded, but would take "
            f"{epochs}: lower n_epochs or max_steps."
        )


def choose_device(device: str) -> str:
    """Return a device by name; "auto" is CUDA or else the CPU. Raises InvalidInput for one that cannot be used."""
    wanted = "cuda" if device == "auto" else device
    try:
        # This fails on "meta", which holds no numbers, on Apple's "mps", which has no float64, and on a GPU for which
        # this torch has no kernels.
        torch.zeros(1, dtype=torch.float64, device=torch.device(wanted)).item()
    except (RuntimeError, AssertionError, TypeError) as error:  # what torch raises differs by its build
        if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error):
            # Falling back to the CPU would give another model than when the GPU is free.
            raise InvalidInput('The GPU should have free memory, but has none: wait for it, or give "cpu".') from error
        if device == "auto":
            return "cpu"
        raise InvalidInput(
            f'device should be "auto", "cpu" or one that torch finds here and that has float64, but got {device!r}: '
            'give "cpu".'
        ) from error
    return wanted
