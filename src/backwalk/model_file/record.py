"""The record of a model, JSON values of which pydantic checks the range of every number before it is used."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from backwalk.limits import Predicts, ReverseVariance

FORMAT: Final = "backwalk-model"
VERSION: Final = 1


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


_Text = Annotated[str, Field(max_length=1000)]
_Count = Annotated[int, Field(ge=0)]
_NonNegative = Annotated[float, Field(ge=0)]
_Distances = Annotated[list[_NonNegative], Field(max_length=1000)]
_Settings = Annotated[dict[str, Any], Field(max_length=100)]  # checked by the class that is made of them


class OwnNetwork(_Strict):
    """A user's module: the name of its class, its output at a few fixed points (`denoiser.answers`), what it means."""

    kind: Literal["Module"]
    name: Annotated[str, Field(max_length=200)]
    answers: Annotated[list[float], Field(max_length=100)]
    predicts: Predicts = "F"


class HistoryRecord(_Strict):
    """The numbers of a history that are not series."""

    loss_name: Annotated[str, Field(max_length=100)]
    n_steps: _Count
    chosen_step: _Count


class _Card(_Strict):
    """The card of a model. `Diffusion.load` checks its parameters and settings."""

    description: _Text
    parameters: _Settings
    settings: _Settings
    seed: int
    split_seed: int
    data_sha256: _Text
    n_rows: _Count
    n_validation_rows: _Count
    n_table_rows: _Count | None = None
    n_columns: _Count
    n_parameters: _Count
    steps_taken: _Count
    last_gain: float
    stopped_by: Literal["steps", "time limit", "patience", "callback", "divergence"]
    versions: dict[_Text, _Text]


class Record(_Strict):
    """A model without its tensors."""

    architecture: OwnNetwork | _Settings
    embedding: OwnNetwork | _Settings | None = None
    has_patterns: bool
    floor: Annotated[float, Field(ge=0, le=1e6)]
    partners: list[Annotated[list[_Count], Field(min_length=2, max_length=2)]] = []
    codec: dict[str, Any]
    data_schema: dict[str, Any]
    reverse_variance: ReverseVariance
    decoder_variance: _NonNegative
    sampler: _Settings
    prior_mismatch: Annotated[float, Field(ge=-1e-6)]
    history: HistoryRecord
    card: _Card
    conditions: Literal["any"] | list[list[_Count]] | None
    gaps: list[_Count] = []
    held_out_distances: Annotated[list[_Distances], Field(max_length=1000)] = []
    accepted_share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
