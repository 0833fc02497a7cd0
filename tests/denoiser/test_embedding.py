"""The modules that embed data columns: their shapes, their initial features, and what is refused."""

import math

import pytest
import torch
from torch import nn

from backwalk import CNNEmbedding, FCEmbedding, InvalidInput
from backwalk.denoiser.embedding import build_embedding
from backwalk.streams import Stream

STREAM = Stream(3)


@pytest.mark.parametrize("m", [1, 2, 5, 100])
@pytest.mark.parametrize(
    "sizes", [FCEmbedding(7), CNNEmbedding(7), CNNEmbedding(7, n_layers=5, kernel_size=4)], ids=repr
)
def test_features_have_the_size_asked_for_and_about_the_size_of_the_data(sizes, m):
    features = build_embedding(sizes, m, stream=STREAM)(STREAM.normal(0, 400, m, torch.float32))
    assert features.shape == (400, 7)
    least = 0.1 if m >= 20 else 0.0  # the ends of a short series are mostly padding
    assert least < float(features.detach().square().mean()) < 10.0


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (nn.Linear(9, 4), r"data \(6, 8\) to features \(6, k\).*raised"),
        (nn.Sequential(nn.Linear(8, 4), nn.Dropout(0.5)), "Dropout"),
        (nn.Unflatten(1, (2, 4)), "requires_grad"),
        (nn.Sequential(nn.Linear(8, 8), nn.Unflatten(1, (2, 4))), r"shape \(6, k\).*\(6, 2, 4\)"),
    ],
    ids=["other columns", "dropout", "no weights", "features in a matrix"],
)
def test_a_module_that_cannot_embed_the_data_is_refused(module, says):
    with pytest.raises(InvalidInput, match=says):
        build_embedding(module, 8, stream=STREAM)


@pytest.mark.parametrize("sizes", [{"n_features": 0}, {"n_layers": 2.5}, {"n_features": math.inf}])
def test_sizes_are_integers_from_1_on(sizes):
    with pytest.raises(InvalidInput, match=f"{next(iter(sizes))} should be an integer"):
        FCEmbedding(**sizes)
