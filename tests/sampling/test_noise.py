"""The random numbers of rows by their numbers and candidates."""

import numpy as np
import torch

from backwalk.sampling import RowNoise
from backwalk.streams import Stream


def test_a_stream_of_rows_is_that_of_their_numbers_and_candidates():
    numbers, candidates = np.array([5, 900, 6, 5]), np.array([0, 0, 2, 2])
    noise = RowNoise(Stream(1, ("a",)), numbers, candidates)
    expected = [
        Stream(1, ("a", "candidates", "b")).uniform(2**50 * candidate + i, 2**50 * candidate + i + 1, 3)[0]
        for i, candidate in zip(numbers.tolist(), candidates.tolist(), strict=True)
    ]
    np.testing.assert_array_equal(noise.uniform("b", width=3), np.stack(expected))
    plain = RowNoise(Stream(1), np.array([900, 3, 4, 4])).normal("b", width=3)
    np.testing.assert_array_equal(plain, Stream(1).child("b").normal(0, 901, 3, torch.float32)[[900, 3, 4, 4]])
