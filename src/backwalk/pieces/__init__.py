"""Outputs in parts: any number of rows in a folder of Parquet files, made by any number of processes.

A `Job` says what each row is, and `run_piece(folder, start, stop)` makes one part of it, anywhere, with the same bits.
An engine calls `run_piece` for all parts (`engines.py`). `folder.py` shows what lies in the folder.
"""

from backwalk.pieces.digests import values_checksum
from backwalk.pieces.engines import ENGINES, Engine
from backwalk.pieces.folder import Entry, Manifest, PartsFolder
from backwalk.pieces.job import PART_ROWS, Job, SamplerSettings, Sampling, Source, as_conditions, check_part_rows
from backwalk.pieces.make import Parts, make_parts
from backwalk.pieces.outputs import sample_parts
from backwalk.pieces.run import run_piece
from backwalk.pieces.verify import Faults, Verified, verify

__all__ = [
    "ENGINES",
    "PART_ROWS",
    "Engine",
    "Entry",
    "Faults",
    "Job",
    "Manifest",
    "Parts",
    "PartsFolder",
    "SamplerSettings",
    "Sampling",
    "Source",
    "Verified",
    "as_conditions",
    "check_part_rows",
    "make_parts",
    "run_piece",
    "sample_parts",
    "values_checksum",
    "verify",
]
