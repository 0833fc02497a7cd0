"""Linear discriminants of levels: those of the dense Gaussian, where they are exact."""

import numpy as np
import pytest
import torch

from backwalk.diffusion import Discriminants, JointGaussian, variates_of
from backwalk.streams import Stream

CODES = np.eye(4), np.array([[-1.0], [0.2], [3.0]])
BLOCKS = [(slice(1, 5), CODES[0], slice(3, 7)), (slice(6, 7), CODES[1], slice(0, 3))]  # of seven coordinates


def joint():
    stream = Stream(0)
    return JointGaussian(
        *(stream.child(i).normal(0, 7, n).squeeze(1).float() for i, n in ((0, 1), (1, 5))),
        0.2 + stream.child(2).uniform(0, 7, 1)[:, 0].float(),
    )


def log_likelihood(gaussian, x, known, at, codes):
    """ln N(x_K | x_C = c_l) of the dense Gaussian, (n, L), up to a constant of each row."""
    mu, v = gaussian.mean.double().numpy(), gaussian.directions.double().numpy()
    s = v @ v.T + np.diag(gaussian.rest.double().numpy())
    k, c = np.flatnonzero(known), np.arange(at.start, at.stop)
    towards = s[np.ix_(k, c)] @ np.linalg.inv(s[np.ix_(c, c)])
    law = np.linalg.inv(s[np.ix_(k, k)] - towards @ s[np.ix_(c, k)])
    error = x[:, None, k] - mu[k] - (codes - mu[c]) @ towards.T
    return torch.from_numpy(-0.5 * np.einsum("nlk,kj,nlj->nl", error, law, error)).log_softmax(1)


def log_ratios(discriminants, *of_rows):
    linear, quadratic = discriminants.evidence(*of_rows)
    return (linear.T @ discriminants.codes) + quadratic.T @ discriminants.codes.square()


@pytest.mark.parametrize(
    ("block", "known"),
    [(0, [True] + 4 * [False] + 2 * [True]), (1, 6 * [True] + [False]), (1, [True, False, True, True] + 3 * [False])],
    ids=["several variates, all else known", "one variate, all else known", "one variate, some known"],
)
def test_they_are_the_likelihoods_of_the_dense_gaussian(block, known):
    gaussian, x = joint(), Stream(1).normal(0, 5, 7).float()
    at, codes, levels = BLOCKS[block]
    patterns = torch.tensor([7 * [False], known])
    found = log_ratios(Discriminants.of(gaussian, BLOCKS, 7), gaussian, x, patterns, torch.ones(5, dtype=torch.long))
    expected = log_likelihood(gaussian, x.double().numpy(), known, at, codes)
    torch.testing.assert_close(found[:, levels].log_softmax(1).double(), expected, atol=1e-4, rtol=1e-4)


def test_they_are_0_where_nothing_is_known_and_one_block_has_its_own():
    gaussian, x = joint(), Stream(1).normal(0, 3, 7).float()
    made = Discriminants.of(gaussian, BLOCKS, 7)
    of_row = torch.zeros(3, dtype=torch.long)
    none = log_ratios(made, gaussian, x, torch.zeros(1, 7, dtype=torch.bool), of_row)
    torch.testing.assert_close(none, torch.zeros(3, 7), atol=1e-4, rtol=0.0)
    known = torch.tensor([7 * [True]]).index_fill(1, torch.tensor([6]), False)
    own, of_all = (log_ratios(each, gaussian, x, known, of_row) for each in (made.some(slice(3, 4)), made))
    torch.testing.assert_close(own[:, :3], of_all[:, :3])


def test_there_are_few_variates():
    assert variates_of([(4, 4), (30, 30), (9, 1)]) == [slice(0, 3), slice(3, 11), slice(11, 12)]
    assert variates_of(100 * [(5, 5)])[-1].stop == 200
    assert variates_of([]) == []
