"""The products of the passes: the same numbers whichever way they are made."""

import pytest
import torch

from backwalk.denoiser.passes import affine, product
from backwalk.streams import Stream

STREAM = Stream(21)


@pytest.mark.parametrize("n_out", [1, 2, 15, 16, 40])
@pytest.mark.parametrize("members", [1, 3])
def test_products_for_few_and_for_many_columns_are_products(n_out, members):
    x = STREAM.child("x").normal(0, members * 50, 7).reshape(members, 50, 7)
    weight = STREAM.child("weight").normal(0, members * 7, n_out).reshape(members, 7, n_out)
    bias = STREAM.child("bias").normal(0, members, n_out).reshape(members, 1, n_out)
    expected = torch.einsum("mri,mio->mro", x, weight)
    transposed = x.transpose(1, 2).contiguous().transpose(1, 2)  # as the backward pass has it
    for found in (product(x, weight), product(transposed, weight), affine(x, weight, bias) - bias):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)
        assert found.is_contiguous()  # the fused optimiser does not heed strides
