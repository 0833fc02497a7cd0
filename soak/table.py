"""All campaigns, in the order of the page."""

from soak import (
    arrays,
    correctness,
    determinism,
    disk,
    kills,
    memory,
    model_files,
    stops,
    table_files,
    training,
    writers,
)
from soak.campaign import Campaign

_REFUSED = "ValueError in one line, with row and column, before any training; the input unchanged"
_WHOLE_TABLE = "an error in one line, or data that pass every check; no crash, ended within 10 s and 2 GiB"
_WHOLE_MODEL = "an error in one line, or the very same model or state; no crash, within 10 s and 2 GiB"
_KILLED = "the old or the new file whole; the fit that goes on equals the uninterrupted one bit for bit"
_DISK = "an error that names the path, what was there intact, no litter"

CAMPAIGNS = [
    Campaign(
        "arrays", "NaN, inf, text, wrong shapes, sparse, complex, at every way in", _REFUSED, arrays.bad, 372, 186
    ),
    Campaign(
        "arrays",
        "arrays that hypothesis makes up",
        "refused, or finite and back again exactly; the input unchanged",
        arrays.generated,
        10_000,
        200,
    ),
    Campaign(
        "arrays",
        "arrays that hypothesis makes up, at `fit`, scores, bound, latents and back",
        "InvalidInput, or numbers; the input unchanged",
        arrays.generated_at_entries,
        1_000,
        40,
    ),
    Campaign(
        "arrays",
        "1e30, 1e-30, constants, duplicates, dtypes, orders, strides",
        "samples equal those of the float64 copy; constants exact",
        arrays.odd,
        150,
        15,
    ),
    Campaign(
        "tables",
        "columns permuted, missing, extra, renamed, twice; unseen categories",
        "reordered by name, or refused by name",
        arrays.tables,
        63,
        21,
    ),
    Campaign(
        "tables",
        "tables that hypothesis makes up: names, their order, dtypes, gaps",
        "the scores of the same columns in the fitted order, or refused",
        arrays.generated_tables,
        2_000,
        60,
    ),
    Campaign(
        "table files", "cut off after every byte", _WHOLE_TABLE, table_files.truncated, 10**6, 60, all_there_are=True
    ),
    Campaign("table files", "CSV with a few other bytes", _WHOLE_TABLE, table_files.csv_mutations, 20_000, 60),
    Campaign("table files", "Parquet with a few other bytes", _WHOLE_TABLE, table_files.parquet_mutations, 20_000, 60),
    Campaign(
        "table files", "`.tsv.gz` with a few other bytes", _WHOLE_TABLE, table_files.compressed_mutations, 5_000, 30
    ),
    Campaign("table files", "`.npy` with a few other bytes", _WHOLE_TABLE, table_files.npy_mutations, 2_000, 60),
    Campaign(
        "table files",
        "UTF-16, Latin-1, NUL, 100,000 columns, bombs of gzip and Parquet, footers that lie, pickles in `.npy`",
        _WHOLE_TABLE,
        table_files.hostile,
        len(table_files.ALL_HOSTILE),
        3,
    ),
    Campaign(
        "CSV out",
        "headers that begin with = + - @, their full-width forms, a tab or a line end",
        "escaped by default, as they are when asked for; numbers untouched",
        table_files.csv_headers,
        42,
        14,
    ),
    Campaign(
        "model files",
        "models and checkpoints cut off after every byte",
        _WHOLE_MODEL,
        model_files.truncated,
        10**6,
        60,
        all_there_are=True,
    ),
    Campaign(
        "model files", "models and checkpoints with a few other bytes", _WHOLE_MODEL, model_files.mutations, 20_000, 100
    ),
    Campaign(
        "model files",
        "pickles, links, `../`, shapes of 2^63, deep JSON, NaN weights, future versions, false cards",
        "refused with the reason; nothing runs; at most twice the file (and 32 MiB)",
        model_files.hostile,
        len(model_files._HOSTILE),
        len(model_files._HOSTILE),
    ),
    Campaign(
        "model files",
        "checkpoints with false shapes, numbers without end, states of no run",
        "CheckpointError in one line; at most twice the file (and 32 MiB)",
        model_files.hostile_checkpoints,
        len(model_files._HOSTILE_STATES),
        len(model_files._HOSTILE_STATES),
    ),
    Campaign("kill -9", "fits with checkpoints, killed at random up to three times", _KILLED, kills.fits, 300, 6),
    Campaign("kill -9", "real `backwalk fit` processes, gone on with by --resume", _KILLED, kills.commands, 10, 0),
    Campaign("kill -9", "rows drawn and written over a file", "the old rows or the new, whole", kills.samples, 100, 6),
    Campaign(
        "kill -9", "writers of a model's folder", "one whole model; the next save clears up", writers.killed, 100, 10
    ),
    Campaign("disk", "a limit on a file's size, at random", _DISK, disk.file_size, 96, 12),
    Campaign("disk", "a file system of 32 KiB", _DISK, disk.small_disk, 36, 6),
    Campaign("disk", "a folder that may not be written", _DISK, disk.read_only, 12, 6),
    Campaign("disk", "/dev/full as standard output", "status 1 and one line", disk.full_device, 12, 4),
    Campaign(
        "signals",
        "SIGINT, SIGTERM or SIGHUP at a random moment of `backwalk fit`",
        "status 130, 143 or 129 within 5 s, no litter; --resume gives the uninterrupted model",
        stops.once,
        100,
        4,
    ),
    Campaign(
        "signals",
        "two of them within 10 ms",
        "the end within 1 s; --resume gives the uninterrupted model",
        stops.twice,
        50,
        4,
    ),
    Campaign(
        "signals",
        "SIGINT, SIGTERM or SIGHUP while a model is saved over another",
        "status 130, 143 or 129; the old model or the new, whole; no part of a file",
        writers.stopped,
        200,
        10,
    ),
    Campaign("memory", "10^13 rows, 10^9 steps, batches of 10^10", "a clear error, soon", memory.too_much, 10, 5),
    Campaign(
        "memory",
        "200,000 rows of width 256 with 256 MiB to spare",
        "the same bits as without a limit",
        memory.little,
        10,
        1,
    ),
    Campaign("memory", "loading models of 39 to 138 MiB", "at most twice the file (and 32 MiB)", memory.loading, 8, 1),
    Campaign(
        "writers",
        "eight processes save four versions to one path, two read",
        "readers see one whole version; no litter",
        writers.folder_and_file,
        400,
        32,
    ),
    Campaign(
        "training",
        "outliers of a million sigma, rates far too high",
        "finite samples, or TrainingDiverged and the last good weights, in the estimator and the checkpoint",
        training.hard,
        35,
        7,
    ),
    Campaign(
        "determinism",
        "samples in pieces of 1, 7, 1,000, 1,024, 4,096 rows and all, one thread and two",
        "the same bits; sample(100) is the head of sample(1000)",
        determinism.samples,
        200,
        12,
    ),
    Campaign(
        "determinism",
        "scores in batches of 1, 7, 4,096 and all, one thread and two",
        "the same bits",
        determinism.scores,
        48,
        3,
    ),
    Campaign(
        "determinism", "fit, samples and scores in another process", "the same bits", determinism.processes, 20, 2
    ),
    Campaign(
        "correctness",
        "random Gaussians, exact denoiser: d = 1, 2, 10, 50, four schedules, both variances, DDIM",
        "the moments of the steps are those of the closed forms, within 1e-10",
        correctness.gaussians,
        100,
        48,
    ),
]
