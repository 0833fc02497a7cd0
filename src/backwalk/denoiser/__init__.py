"""Learned weights: networks, and the adapters that make denoisers of them.

`Textbook` and `Residual` are records of sizes; `build_denoiser` makes an untrained denoiser of one.
"""

from backwalk.denoiser.network import Residual, Textbook, is_low
from backwalk.denoiser.preconditioning import EnsembleDenoiser, NoiseDenoiser, ResidualDenoiser
from backwalk.diffusion import NoiseSchedule
from backwalk.streams import Stream

Architecture = Textbook | Residual

__all__ = [
    "Architecture",
    "EnsembleDenoiser",
    "NoiseDenoiser",
    "Residual",
    "ResidualDenoiser",
    "Textbook",
    "build_denoiser",
    "is_low",
]


def build_denoiser(
    architecture: Architecture, d: int, *, schedule: NoiseSchedule, floor: float, stream: Stream
) -> EnsembleDenoiser:
    """Return an untrained denoiser of points in R^d, valid on the log-SNRs of a schedule.

    `floor` is the finest structure that the data can show, in encoded units; the textbook network ignores it.
    """
    denoiser: EnsembleDenoiser
    if isinstance(architecture, Textbook):
        denoiser = NoiseDenoiser(architecture.build(d, stream=stream), architecture.n_members, schedule)
    else:
        log_snr_range = (float(schedule.log_snr[-1]), float(schedule.log_snr[1]))
        network = architecture.build(d, stream=stream)
        denoiser = ResidualDenoiser(network, architecture.n_members, floor, log_snr_range)
    return denoiser.eval()  # no layer of these behaves otherwise in training
