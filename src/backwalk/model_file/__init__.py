"""Models on disk: one checksummed safetensors file, alone or in a folder beside a `model.json` that people can read.

`files.py` knows paths and who else may be writing; `record.py` knows what a model is made of, and checks it.
"""

from backwalk.model_file.files import check_target, load, save, stamp
from backwalk.model_file.record import FORMAT, VERSION

__all__ = ["FORMAT", "VERSION", "check_target", "load", "save", "stamp"]
