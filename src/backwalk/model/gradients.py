"""Gradients of the log-density of a model's numbers, in the user's units.

`log_density_and_gradient` goes back through the steps of the probability-flow ODE by autograd. With z(x) the map of a
column,

    d/dx ln p(x) = d/dz ln p(z) dz/dx + d/dx ln(dz/dx).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.model.diffusion_model import DiffusionModel
from backwalk.model.given import Given
from backwalk.model.numbers import Ode, log_prob_and_gradient
from backwalk.model.score import encode_possible, n_probes_of
from backwalk.table.codec_rules import stated_rules
from backwalk.threads import on_one_thread
from backwalk.torch_state import in_initial_torch_state

Array = NDArray[np.float64]


@in_initial_torch_state
@on_one_thread
def log_density_and_gradient(
    model: DiffusionModel, values: Array, *, given: Sequence[int], columns: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return `log_density` of columns of rows given others, (n,), and its gradient by these columns, (n, i).

    It is the gradient of what is returned, up to rounding, and 0 in rows that the model cannot make. Raises
    InvalidInput for columns that are not on a continuous scale, and where rules compute numbers.
    """
    refuse_without_gradient(model, columns)
    is_possible, values, rows = encode_possible(model, values, given, columns)
    result, by_z = log_prob_and_gradient(rows.then_levels(), Ode(n_probes=n_probes_of(model, given, columns)))
    gradient = _in_user_units(rows, by_z, columns)
    return result.log_prob.where(is_possible, -torch.inf), gradient.where(is_possible[:, None], 0.0)


def refuse_without_gradient(model: DiffusionModel, columns: Sequence[int]) -> None:
    """Raise InvalidInput unless columns are on a continuous scale and no number is computed by rules."""
    codec, names = model.codec, model.schema.names
    uneven = [names[j] for j in columns if j not in codec.continuous or j in codec.date_columns]
    if uneven:
        verb = "is" if len(uneven) == 1 else "are"
        raise InvalidInput(
            f"A gradient needs parameters on a continuous scale, but {listed(uneven)} {verb} not: take theta.detach(), "
            'or fit them as columns={name: "number"}.'
        )
    if codec.rules is not None and codec.rules.equations:
        raise InvalidInput(
            f"A gradient needs columns without rules, but the model has {listed(stated_rules(codec, names))}: take "
            "theta.detach(), or fit again with rules=None."
        )


def _in_user_units(rows: Given, by_z: Tensor, columns: Sequence[int]) -> Tensor:
    """Return gradients by columns, (n, i), from those by encoded rows, (n, k), of the log-density there."""
    gradient, codec = np.zeros((len(by_z), len(columns))), rows.model.codec
    for i, j in enumerate(columns):
        if (chain := codec.columns[j].chain) is not None:
            gradient[:, i] = chain.gradient(rows.cells[:, j], by_z[:, codec.slices[j].start].numpy())
    return torch.from_numpy(gradient)
