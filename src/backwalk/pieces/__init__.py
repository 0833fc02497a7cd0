"""Outputs in parts: any number of rows in a folder of Parquet files, made by any number of processes.

A `Job` says what each row is, and `run_piece(folder, start, stop)` makes one part of it, anywhere, with the same bits.
`make_parts` calls it for all parts, in this process, in several, or on Ray (`engines.py`). `PartsFolder` shows what
lies in the folder, and `verify` finds bad parts and makes them again.
"""

from backwalk.pieces.digests import add_checksums, file_sha256, values_checksum
from backwalk.pieces.engines import ENGINES, Parts, make_parts
from backwalk.pieces.folder import Job, Manifest, Part, PartsFolder
from backwalk.pieces.outputs import PART_ROWS, SCORE_COLUMNS, Making, impute_parts, sample_parts, score_parts
from backwalk.pieces.run import run_piece
from backwalk.pieces.verify import Faults, Verified, verify
from backwalk.pieces.work import NUMBER, Imputing, Sampling, Scoring

__all__ = [
    "ENGINES",
    "NUMBER",
    "PART_ROWS",
    "SCORE_COLUMNS",
    "Faults",
    "Imputing",
    "Job",
    "Making",
    "Manifest",
    "Part",
    "Parts",
    "PartsFolder",
    "Sampling",
    "Scoring",
    "Verified",
    "add_checksums",
    "file_sha256",
    "impute_parts",
    "make_parts",
    "run_piece",
    "sample_parts",
    "score_parts",
    "values_checksum",
    "verify",
]
