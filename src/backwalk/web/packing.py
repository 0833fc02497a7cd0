"""Arrays as bytes for the client: a JSON header, and the numbers as they lie in memory.

uint32, little-endian: the length of the header; the header in UTF-8, with `arrays` = [{name, dtype, shape, offset}];
padding to a multiple of 8; the arrays, each at its offset from the first one. Coordinates of points are uint16 within
`limits`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backwalk.formatting import as_json

LEVELS = 2**16 - 1
_DTYPES = {"u2": "<u2", "f4": "<f4", "f8": "<f8"}
Array = NDArray[Any]
Limits = tuple[float, float, float, float]
"""(left, right, bottom, top)."""


@dataclass(frozen=True)
class Packed:
    """A header of JSON values, and arrays by name: (numbers, dtype), with dtype "u2", "f4" or "f8"."""

    header: Mapping[str, Any]
    arrays: Mapping[str, tuple[Array, str]] = field(repr=False)

    def to_bytes(self) -> bytes:
        """Return the bytes that `unpacked` reads."""
        described, parts, offset = [], list[bytes](), 0
        for name, (numbers, dtype) in self.arrays.items():
            part = np.ascontiguousarray(numbers, dtype=_DTYPES[dtype]).tobytes()
            described.append({"name": name, "dtype": dtype, "shape": list(numbers.shape), "offset": offset})
            parts.append(_padded(part))
            offset += len(parts[-1])
        text = json.dumps(as_json({**self.header, "arrays": described}), allow_nan=False).encode()
        start = len(text).to_bytes(4, "little") + text
        return b"".join([_padded(start), *parts])


def unpacked(data: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the header and the arrays of packed bytes."""
    length = int.from_bytes(data[:4], "little")
    header: dict[str, Any] = json.loads(data[4 : 4 + length])
    first = len(_padded(data[: 4 + length]))
    arrays = {}
    for each in header["arrays"]:
        count, start = int(np.prod(each["shape"])), first + each["offset"]
        arrays[each["name"]] = np.frombuffer(data, _DTYPES[each["dtype"]], count, start).reshape(each["shape"])
    return header, arrays


def coordinates(points: Array, limits: Limits) -> Array:
    """Return points of the plane, (..., 2), as uint16 from 0 at the left and bottom to 65,535 at the right and top."""
    low, span = np.array(limits[::2]), np.array([limits[1] - limits[0], limits[3] - limits[2]])
    unit = np.clip((np.asarray(points, dtype=np.float64) - low) / span, 0.0, 1.0)
    return np.asarray(np.rint(unit * LEVELS), dtype="<u2")


def as_base64(points: Array, limits: Limits) -> str:
    """Return points of the plane as base64 of their `coordinates`."""
    return base64.b64encode(coordinates(points, limits).tobytes()).decode()


def common_limits(*sets: Array, margin: float = 0.06, share: float = 0.0005) -> Limits:
    """Return limits that hold all but the farthest thousandth of each set of points, (..., 2), with a margin."""
    points: Sequence[Array] = [np.asarray(each, dtype=np.float64).reshape(-1, 2) for each in sets]
    ends = list[float]()
    for axis in range(2):
        quantiles = [np.quantile(each[:, axis], [share, 1.0 - share]) for each in points]
        low, high = float(min(q[0] for q in quantiles)), float(max(q[1] for q in quantiles))
        more = margin * (high - low) or 1.0
        ends += [low - more, high + more]
    return ends[0], ends[1], ends[2], ends[3]


def _padded(part: bytes) -> bytes:
    return part + b"\0" * (-len(part) % 8)
