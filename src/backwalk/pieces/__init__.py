"""Outputs in parts: any number of rows in a folder of Parquet files, made by any number of processes.

A `Job` says what each row is, and `run_piece(folder, start, stop)` makes one part of it, anywhere, with the same bits.
An engine calls `run_piece` for all parts (`engines.py`). `folder.py` shows what lies in the folder.
"""

from backwalk.pieces.begin import Making
from backwalk.pieces.digests import values_checksum
from backwalk.pieces.engines import ENGINES, Engine
from backwalk.pieces.folder import Entry, Manifest, PartsFolder
from backwalk.pieces.job import PART_ROWS, Imputing, Job, Sampling, Scoring
from backwalk.pieces.make import Parts, make_parts
from backwalk.pieces.outputs import impute_parts, sample_parts, score_parts
from backwalk.pieces.run import run_piece
from backwalk.pieces.verify import Faults, Verified, verify

__all__ = [
    "ENGINES",
    "PART_ROWS",
    "Engine",
    "Entry",
    "Faults",
    "Imputing",
    "Job",
    "Making",
    "Manifest",
    "Parts",
    "PartsFolder",
    "Sampling",
    "Scoring",
    "Verified",
    "impute_parts",
    "make_parts",
    "run_piece",
    "sample_parts",
    "score_parts",
    "values_checksum",
    "verify",
]
