"""What requests ask for, checked before anything is computed."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backwalk.web.refusals import Refusal

MOST_ROWS_IN_TABLE = 200_000  # of draws from a density
MOST_POINTS = 20_000  # of a chain
MOST_DRAWN = 100_000  # rows to download
MOST_STEPS = 10_000  # of a chain that is made here
MOST_SECONDS = 3600.0  # of a fit
_MOST_BY_HAND = 2000
_WIDEST, _DEEPEST = 512, 16

Seed = Annotated[int, Field(ge=0, lt=2**53)]
Pair = tuple[str | int, str | int]
Solver = Literal["ancestral", "ddim", "dpm++2m", "multistep", "multistep-sde", "distilled"]
ReverseVariance = Literal["optimal", "beta", "beta_tilde"]


class Request(BaseModel):
    """A request's body, whose fields are all known."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


_Request = TypeVar("_Request", bound=Request)


class DataRequest(Request):
    """Rows of a built-in density, or rows around points that were drawn by hand."""

    density: str | None = Field(default=None, max_length=40)
    points: Annotated[list[tuple[float, float]], Field(min_length=2, max_length=_MOST_BY_HAND)] | None = None
    n: int = Field(default=5000, ge=2, le=MOST_ROWS_IN_TABLE)
    seed: Seed = 0


class ColumnsRequest(Request):
    """Which columns of a table to keep, and the kinds of some."""

    keep: list[str] | None = Field(default=None, min_length=1, max_length=10_000)
    kinds: dict[str, Literal["number", "integer", "levels", "constant"]] = Field(default_factory=dict)


class Network(Request):
    """The sizes of a network: `depth` counts residual blocks, or hidden layers."""

    kind: Literal["residual", "textbook"]
    width: int = Field(ge=1, le=_WIDEST)
    depth: int = Field(ge=1, le=_DEEPEST)
    members: int = Field(default=1, ge=1, le=8)


class SettingsRequest(Request):
    """The settings of a fit; None follows from the data."""

    preset: Literal["default", "ddpm"] = "default"
    schedule: Literal["log_snr", "linear", "cosine"] | None = None
    n_steps: int | None = Field(default=None, ge=2, le=MOST_STEPS)
    denoiser: Network | None = None
    sampler: Solver | None = None
    n_evaluations: int | None = Field(default=None, ge=1, le=MOST_STEPS)
    eta: float = Field(default=0.0, ge=0.0, le=1.0)
    reverse_variance: ReverseVariance | None = None
    max_steps: int | None = Field(default=None, ge=1, le=10**7)
    epochs: int | None = Field(default=None, ge=1, le=10**6)
    max_time: float | None = Field(default=None, gt=0.0, le=MOST_SECONDS)
    conditions: Literal["auto", "any"] | None = "auto"
    missing: Literal["absent", "generate"] = "absent"


class FitRequest(Request):
    """A fit of a table."""

    data: str = Field(max_length=80)
    settings: SettingsRequest = Field(default_factory=SettingsRequest)
    seed: Seed = 0


class GoOnRequest(Request):
    """More training."""

    max_steps: int | None = Field(default=None, ge=1, le=10**7)


class Drawn(Request):
    """The sampler and the two columns of a picture; None are the model's own."""

    seed: Seed = 0
    sampler: Solver | None = None
    n_evaluations: int | None = Field(default=None, ge=1, le=MOST_STEPS)
    eta: float = Field(default=0.0, ge=0.0, le=1.0)
    reverse_variance: ReverseVariance | None = None
    columns: Pair | None = None


class ChainRequest(Drawn):
    """The chain of n rows, forward and backward."""

    n: int = Field(default=2000, ge=1, le=MOST_POINTS)


class ParticleRequest(Drawn):
    """The chain of one row."""

    row: int = Field(default=0, ge=0, lt=MOST_POINTS)


class FieldRequest(Request):
    """The denoiser on a grid of the plane, at step t."""

    t: int = Field(ge=1)
    what: Literal["score", "x_0_hat", "eps"] = "score"
    size: int = Field(default=21, ge=2, le=64)
    columns: Pair | None = None


class DensityRequest(Request):
    """The log-density of x_t on a grid of the plane."""

    t: int = Field(default=0, ge=0)
    size: int = Field(default=40, ge=2, le=96)
    columns: Pair | None = None


class BoundRequest(Request):
    """The bound of n rows, term by term."""

    n: int = Field(default=500, ge=2, le=5000)
    seed: Seed = 0


class RowsRequest(Request):
    """New rows, or rows under conditions."""

    n: int = Field(default=1000, ge=1, le=MOST_DRAWN)
    seed: Seed = 0
    sampler: Solver | None = None
    n_evaluations: int | None = Field(default=None, ge=1, le=MOST_STEPS)
    eta: float = Field(default=0.0, ge=0.0, le=1.0)
    given: dict[str, Any] = Field(default_factory=dict)


class ConditionalRequest(Request):
    """The distribution of a column given values of others."""

    column: str
    given: dict[str, Any] = Field(default_factory=dict)
    seed: Seed = 0


class ImputeRequest(Request):
    """A row whose gaps, None, are filled."""

    row: dict[str, Any]
    n_draws: int = Field(default=5, ge=1, le=100)
    seed: Seed = 0


class DrawRequest(RowsRequest):
    """Rows of a model with some reverse variances."""

    reverse_variance: ReverseVariance | None = None


class CodeRequest(Request):
    """A model, or a fit of a table, and rows drawn from it, as code."""

    model: str | None = Field(default=None, max_length=80)
    data: str | None = Field(default=None, max_length=80)
    settings: SettingsRequest = Field(default_factory=SettingsRequest)
    seed: Seed = 0
    draw: DrawRequest = Field(default_factory=DrawRequest)


def checked(kind: type[_Request], body: Any) -> _Request:
    """Return a request's body as a record. Raises Refusal with the first field that is wrong."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=True)[0]
        name = ".".join(map(str, first["loc"])) or None
        value = repr(first.get("input"))[:80]
        raise Refusal(400, f"{name or 'The request'}: {first['msg']}, but got {value}.", name) from error
