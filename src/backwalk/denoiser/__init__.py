"""Learned weights: networks, and the adapters that make denoisers of them.

`Textbook` and `Residual` are records of sizes; a user may give any `torch.nn.Module` in their place
(`own_network.py`). `build_denoiser` makes an untrained denoiser of either.
"""

from torch import nn

from backwalk.denoiser.embedding import CNNEmbedding, Embedding, FCEmbedding, build_embedding, embedding_probes
from backwalk.denoiser.embedding_denoiser import DataColumns, EmbeddingDenoiser
from backwalk.denoiser.layout import WIDE, TableLayout
from backwalk.denoiser.levels_start import choose_levels_start
from backwalk.denoiser.network import Residual, Textbook
from backwalk.denoiser.own_network import NetworkDenoiser, NetworkOnSchedule, checked_network, network_probes
from backwalk.denoiser.partners import Partner, may_be_partners
from backwalk.denoiser.preconditioning import (
    EnsembleDenoiser,
    NoiseDenoiser,
    PreconditionedDenoiser,
    ResidualDenoiser,
)
from backwalk.denoiser.table_denoiser import TableDenoiser
from backwalk.denoiser.user_module import Probes, answers, check_answers
from backwalk.diffusion import NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.limits import Predicts
from backwalk.streams import Stream

Architecture = Textbook | Residual | nn.Module
"""The sizes of a network of this library, or a user's module with its initial weights."""

__all__ = [
    "WIDE",
    "Architecture",
    "CNNEmbedding",
    "DataColumns",
    "Embedding",
    "EmbeddingDenoiser",
    "EnsembleDenoiser",
    "FCEmbedding",
    "NetworkDenoiser",
    "NetworkOnSchedule",
    "NoiseDenoiser",
    "Partner",
    "PreconditionedDenoiser",
    "Probes",
    "Residual",
    "ResidualDenoiser",
    "TableDenoiser",
    "TableLayout",
    "Textbook",
    "answers",
    "build_denoiser",
    "check_answers",
    "choose_levels_start",
    "described",
    "embedding_probes",
    "may_be_partners",
    "network_probes",
]


def build_denoiser(
    architecture: Architecture,
    d: int,
    *,
    schedule: NoiseSchedule,
    floor: float,
    stream: Stream,
    layout: TableLayout | None = None,
    embedding: Embedding | None = None,
    data: DataColumns | None = None,
    predicts: Predicts = "F",
) -> EnsembleDenoiser:
    """Return an untrained denoiser of points in R^d, valid on the log-SNRs of a schedule.

    `floor` is the finest structure that the data can show, in encoded units; the textbook network ignores it. `stream`
    gives the initial weights; a user's module is copied with its own, and `predicts` says what it returns. With a
    `layout` the denoiser is a `TableDenoiser`, which with an `embedding` reads the columns of `data` through it. Raises
    InvalidInput for a module that cannot denoise such points, or embed such data.
    """
    log_snr_range = (float(schedule.log_snr[-1]), float(schedule.log_snr[1]))
    denoiser: EnsembleDenoiser
    match architecture:
        case Residual() if layout is not None:
            network = architecture.build(layout.n_inputs, stream=stream, n_outputs=layout.n_outputs)
            of_table = network, architecture.n_members, floor, log_snr_range, layout
            if embedding is not None and data is not None:
                module = build_embedding(embedding, data.m, stream=stream.child("embedding"))
                denoiser = EmbeddingDenoiser(*of_table, module, data, stream.child("features"))
            else:
                denoiser = TableDenoiser(*of_table)
        case _ if layout is not None:
            raise InvalidInput(
                "Tables with levels, gaps or conditions take a Residual network, but denoiser is "
                f"{described(architecture)}: leave it out, or fit columns of numbers with conditions=None."
            )
        case Textbook():
            denoiser = NoiseDenoiser(architecture.build(d, stream=stream), architecture.n_members, schedule)
        case Residual():
            network = architecture.build(d, stream=stream)
            denoiser = ResidualDenoiser(network, architecture.n_members, floor, log_snr_range)
        case nn.Module():
            own = checked_network(architecture, d, predicts)
            if predicts == "F":
                denoiser = NetworkDenoiser(own, floor, log_snr_range)
            else:
                denoiser = NetworkOnSchedule(own, schedule, predicts)
    return denoiser.eval()


def described(architecture: Architecture | Embedding) -> str:
    """Return an architecture in one line: its sizes, or the class of a user's module and its number of parameters."""
    if not isinstance(architecture, nn.Module):
        return repr(architecture)
    return f"{type(architecture).__name__} ({sum(p.numel() for p in architecture.parameters()):,} parameters)"
