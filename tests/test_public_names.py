"""The public face: its names, and that it costs nothing to look at."""

import importlib
import subprocess
import sys

import pytest

import backwalk
from backwalk import errors

NAMES = [
    "BackwalkError",
    "CNNEmbedding",
    "CheckpointError",
    "ColumnsSetAsideWarning",
    "DegenerateRowsWarning",
    "Diffusion",
    "DiffusionImputer",
    "DoubtfulCellsWarning",
    "FCEmbedding",
    "FewEffectiveDrawsWarning",
    "ImpossibleRowsWarning",
    "InvalidInput",
    "Levels",
    "ModelFileError",
    "NoiseSchedule",
    "Number",
    "PriorMismatchWarning",
    "RepeatedValueWarning",
    "Residual",
    "Sampler",
    "SamplingDiverged",
    "ShortTrainingWarning",
    "TableFileError",
    "TextPath",
    "Textbook",
    "Training",
    "TrainingDiverged",
    "UnseenValuesWarning",
    "multiple_imputations",
    "pooled",
    "posterior",
]


def test_public_names_are_these():
    assert sorted(backwalk.__all__) == NAMES
    assert set(NAMES) <= set(dir(backwalk))
    for name in NAMES:
        assert getattr(backwalk, name).__name__ == name


def test_packages_load_on_first_use():
    for name in ("datasets", "diffusion", "inference", "sampling", "table"):
        assert backwalk.__getattr__(name).__name__ == f"backwalk.{name}"  # as of a name that is not yet there
        assert name in dir(backwalk)


@pytest.mark.parametrize(
    ("home", "names"),
    {
        "assess": ["Calibration", "Fidelity"],
        "diffusion": ["BoundTerms", "LogDensity"],
        "estimator": ["Pooled"],
        "fit": ["FitProgress"],
        "inference": ["ObservationCheck", "Posterior", "TruncatedPrior", "WeightedDraws"],
        "model": ["Conditional", "DiffusionModel", "WalkState"],
        "training": ["History"],
    }.items(),
)
def test_what_public_methods_return_has_a_home(home, names):
    package = importlib.import_module(f"backwalk.{home}")
    assert all(isinstance(getattr(package, name), type) and name in package.__all__ for name in names)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'backwalk' has no attribute 'GAN'"):
        _ = backwalk.GAN


def test_importing_needs_no_torch():
    code = "import sys, backwalk.cli; print([name for name in ('torch', 'sklearn', 'scipy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_errors_are_what_their_tree_says():
    of_ours = {name: error for name, error in vars(errors).items() if isinstance(error, type)}
    tree = {
        "BackwalkError": (Exception,),
        "NotANumber": (errors.InvalidInput, TypeError),
        "IncompatibleArguments": (errors.InvalidInput,),
        **dict.fromkeys(
            ("CheckpointError", "InvalidInput", "ModelFileError", "TableFileError"), (errors.BackwalkError, ValueError)
        ),
        **dict.fromkeys(("SamplingDiverged", "TrainingDiverged"), (errors.BackwalkError, RuntimeError)),
        **dict.fromkeys(
            (
                "ColumnsSetAsideWarning",
                "DegenerateRowsWarning",
                "DoubtfulCellsWarning",
                "FewEffectiveDrawsWarning",
                "ImpossibleRowsWarning",
                "PriorMismatchWarning",
                "RepeatedValueWarning",
                "ShortTrainingWarning",
                "UnseenValuesWarning",
            ),
            (UserWarning,),
        ),
    }
    assert {name: error.__bases__ for name, error in of_ours.items()} == tree
