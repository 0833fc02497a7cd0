"""Models on disk: one checksummed safetensors file, alone or in a folder with a `model.json` that people can read.

`files.py` handles paths and concurrent writers; `conversion.py` converts a model to a record (`record.py`) and tensors,
and checks them.
"""

from backwalk.model_file.files import check_target, fingerprint, load, save, stamp
from backwalk.model_file.record import FORMAT, VERSION

__all__ = ["FORMAT", "VERSION", "check_target", "fingerprint", "load", "save", "stamp"]
