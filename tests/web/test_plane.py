"""Packed arrays come back as they were, coordinates to a half of their last place; limits and ticks."""

import numpy as np
import pytest

from backwalk.web.plane import Packed, Plane, common_limits, unpack


def test_packed_arrays_come_back():
    rng = np.random.default_rng(0)
    arrays = {
        "points": (rng.integers(0, 2**16, size=(3, 5, 2)), "u2"),
        "field": (rng.normal(size=(4, 2)).astype(np.float32), "f4"),
        "t": (rng.normal(size=7), "f8"),
    }
    data = Packed({"title": "α̅ <b>", "none": float("nan")}, arrays).to_bytes()
    header, found = unpack(data)
    assert (header["title"], header["none"]) == ("α̅ <b>", None)
    for name, (array, dtype) in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == np.dtype(f"<{dtype}")
    assert all(each["offset"] % 8 == 0 for each in header["arrays"])


def test_coordinates_are_exact_to_half_a_place():
    plane = Plane(None, (0, 1), (-2.0, 3.0, 10.0, 11.0))
    points = np.random.default_rng(0).uniform([-2.0, 10.0], [3.0, 11.0], size=(100, 2))
    back = plane.coordinates(points) / (2**16 - 1) * [5.0, 1.0] + [-2.0, 10.0]
    assert np.abs(back - points).max() <= 5.0 / (2**16 - 1) / 2 * 1.001
    assert plane.coordinates(np.array([[-9.0, 99.0]])).tolist() == [[0, 65535]]
    assert plane.as_base64(np.array([[-9.0, 99.0]])) == "AAD//w=="


def test_limits_hold_both_sets():
    limits = common_limits(np.zeros((10, 2)), np.array([[5.0, -1.0]]))
    assert limits == pytest.approx((-0.3, 5.3, -1.06, 0.06))
