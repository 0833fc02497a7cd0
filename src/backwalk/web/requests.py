"""What requests ask for, checked before anything is computed."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from backwalk.sampling import SOLVERS
from backwalk.web.security import Refusal

MOST_ROWS_IN_TABLE = 200_000  # of draws from a density
MOST_POINTS = 20_000  # of a chain
MOST_DRAWN = 100_000  # rows to download
MOST_STEPS = 10_000  # of a chain that is made here
MOST_SECONDS = 3600.0  # of a fit
_MOST_BY_HAND = 2000
_WIDEST, _DEEPEST = 512, 16

Seed = Annotated[int, Field(ge=0, lt=2**53)]
Pair = tuple[str | int, str | int]
Value = bool | int | float | str
ReverseVariance = Literal["optimal", "beta", "beta_tilde"]


def _registered(name: str) -> str:
    if name not in SOLVERS:
        raise ValueError(f"should be one of {', '.join(SOLVERS)}")
    return name


Solver = Annotated[str, Field(max_length=80), AfterValidator(_registered)]


class Body(BaseModel):
    """A request's body, whose fields are all known."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


_Body = TypeVar("_Body", bound=Body)


class DataRequest(Body):
    """Rows of a built-in density, or rows around points that were drawn by hand."""

    density: str | None = Field(default=None, max_length=40)
    points: Annotated[list[tuple[float, float]], Field(min_length=2, max_length=_MOST_BY_HAND)] | None = None
    n: int = Field(default=5000, ge=2, le=MOST_ROWS_IN_TABLE)
    seed: Seed = 0


class ColumnsRequest(Body):
    """Which columns of a table to keep, and the kinds of some."""

    keep: list[str] | None = Field(default=None, min_length=1, max_length=10_000)
    kinds: dict[str, Literal["number", "integer", "levels"]] = Field(default_factory=dict)


class Network(Body):
    """The sizes of a network: `depth` counts residual blocks, or hidden layers."""

    kind: Literal["residual", "textbook"]
    width: int = Field(ge=1, le=_WIDEST)
    depth: int = Field(ge=1, le=_DEEPEST)
    members: int = Field(default=1, ge=1, le=8)


class SettingsRequest(Body):
    """The settings of a fit; None follows from the data."""

    preset: Literal["default", "ddpm"] = "default"
    schedule: Literal["log_snr", "linear", "cosine"] | None = None
    n_steps: int | None = Field(default=None, ge=2, le=MOST_STEPS)
    denoiser: Network | None = None
    sampler: Solver | None = None
    n_evaluations: int | None = Field(default=None, ge=1, le=MOST_STEPS)
    eta: float = Field(default=0.0, ge=0.0, le=1.0)
    reverse_variance: ReverseVariance | None = None
    beta_max: float | None = Field(default=None, gt=0.001, lt=1.0)
    max_steps: int | None = Field(default=None, ge=1, le=10**7)
    epochs: int | None = Field(default=None, ge=1, le=10**6)
    max_time: float | None = Field(default=None, gt=0.0, le=MOST_SECONDS)
    conditions: Literal["auto", "any"] | None = "auto"


class FitRequest(Body):
    """A fit of a table."""

    data: str = Field(max_length=80)
    settings: SettingsRequest = Field(default_factory=SettingsRequest)
    seed: Seed = 0


class GoOnRequest(Body):
    """More training."""

    max_steps: int | None = Field(default=None, ge=1, le=10**7)


class Sampled(Body):
    """The seed and the sampler of a draw; None is the model's own."""

    seed: Seed = 0
    sampler: Solver | None = None
    n_evaluations: int | None = Field(default=None, ge=1, le=MOST_STEPS)
    eta: float = Field(default=0.0, ge=0.0, le=1.0)


class ChainLike(Sampled):
    """The reverse variances and the two columns of a picture; None are the model's own."""

    reverse_variance: ReverseVariance | None = None
    columns: Pair | None = None


class ChainRequest(ChainLike):
    """The chain of n rows, forward and backward."""

    n: int = Field(default=2000, ge=1, le=MOST_POINTS)


class ParticleRequest(ChainLike):
    """The chain of one row."""

    row: int = Field(default=0, ge=0, lt=MOST_POINTS)


class FieldRequest(Body):
    """The denoiser on a grid of the plane, at step t."""

    t: int = Field(ge=1)
    what: Literal["score", "x_0_hat", "eps"] = "score"
    size: int = Field(default=21, ge=2, le=64)
    columns: Pair | None = None


class DensityRequest(Body):
    """The log-density of the data on a grid of the plane."""

    size: int = Field(default=40, ge=2, le=96)
    columns: Pair | None = None


class BoundRequest(Body):
    """The bound of n rows, term by term."""

    n: int = Field(default=500, ge=2, le=5000)
    seed: Seed = 0


class ScheduleRequest(Body):
    """A schedule; None is the model's own."""

    schedule: Literal["linear", "cosine"] | None = None
    n_steps: int | None = Field(default=None, ge=2, le=MOST_STEPS)
    beta_max: float | None = Field(default=None, gt=0.001, lt=1.0)


class QualityRequest(Sampled):
    """How close rows are to real rows."""

    reverse_variance: ReverseVariance | None = None
    figures: tuple[Literal["c2st", "distance"], ...] = ("c2st", "distance")


class RowsRequest(Sampled):
    """New rows, or rows under conditions."""

    n: int = Field(default=1000, ge=1, le=MOST_DRAWN)
    given: dict[str, Value] = Field(default_factory=dict)


class ConditionalRequest(Body):
    """The distribution of a column given values of others."""

    column: str
    given: dict[str, Value] = Field(default_factory=dict)
    seed: Seed = 0


class ImputeRequest(Body):
    """A row whose gaps, None, are filled."""

    row: dict[str, Value | None]
    n_draws: int = Field(default=5, ge=1, le=100)
    seed: Seed = 0


class DrawRequest(RowsRequest):
    """Rows of a model with some reverse variances."""

    reverse_variance: ReverseVariance | None = None


class CodeRequest(Body):
    """A model, and rows drawn from it, as code."""

    model: str = Field(max_length=80)
    draw: DrawRequest = Field(default_factory=DrawRequest)


def check_body(kind: type[_Body], values: Any) -> _Body:
    """Return a body of JSON values as a record. Raises Refusal with the first field that is wrong."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=True)[0]
        name = ".".join(map(str, first["loc"])) or None
        value = repr(first.get("input"))[:80]
        raise Refusal(400, f"{name or 'The request'}: {first['msg']}, but got {value}.", name) from error
