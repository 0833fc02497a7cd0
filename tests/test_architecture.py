"""The layers: modules import downwards only, and siblings never import each other."""

import ast
from pathlib import Path

import pytest

import backwalk

SOURCE = Path(backwalk.__file__).parent
LAYERS = [
    {"errors", "formatting", "limits", "torch_state"},
    {"checksummed", "files", "signals", "threads"},
    {"streams"},
    {"diffusion", "estimates", "table"},
    {"datasets", "denoiser"},
    {"training", "sampling"},
    {"model"},
    {"model_file", "progress", "inference"},
    {"fit"},
    {"assess"},
    {"report"},
    {"estimator"},
    {"pieces"},
    {"web"},
    {"cli"},
    {"__main__"},
]
HEIGHT = {module: height for height, layer in enumerate(LAYERS) for module in layer}
LAZY = {"__init__"}  # the public names, which load on first use


def imported_modules(code):
    """Yield the first name after `backwalk` of every import in a piece of code, wherever it stands."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("backwalk."))
        elif isinstance(node, ast.ImportFrom) and node.module == "backwalk":
            yield from (alias.name for alias in node.names if alias.name != "__version__")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("backwalk."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"


def bad_edges(module, code):
    return {other for other in imported_modules(code) if other != module and HEIGHT[other] >= HEIGHT[module]}


def home(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_downwards(path):
    if home(path) not in LAZY:
        assert bad_edges(home(path), path.read_text()) == set()


def test_every_module_has_its_layer():
    assert {home(path) for path in SOURCE.rglob("*.py")} - LAZY == set(HEIGHT)


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("diffusion", "import backwalk.model"),
        ("diffusion", "from backwalk.table import Codec"),
        ("training", "def f():\n    from backwalk.sampling.solvers import Ddim"),
        ("sampling", "from backwalk import estimator"),
        ("errors", "from backwalk.streams import Stream"),
    ],
)
def test_a_bad_edge_is_found(module, code):
    assert len(bad_edges(module, code)) == 1


def test_a_good_edge_passes():
    code = "import backwalk\nfrom backwalk import __version__\nfrom backwalk.errors import InvalidInput\nimport torch"
    assert bad_edges("diffusion", code) == set()
