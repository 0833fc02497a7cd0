"""Models on disk: one checksummed safetensors file, with a JSON record of all that is not a tensor.

`files.py` saves and loads; `conversion.py` turns a model into a record (`record.py`) and tensors and back, and checks
them.
"""

from backwalk.model_file.files import check_target, fingerprint, is_model, load, n_network_columns, save
from backwalk.model_file.record import FORMAT, VERSION

__all__ = ["FORMAT", "VERSION", "check_target", "fingerprint", "is_model", "load", "n_network_columns", "save"]
