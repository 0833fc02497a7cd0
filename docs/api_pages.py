"""The pages of the public interface, made from the list of names in reference/api.py before Sphinx looks for pages."""

import functools
import importlib
import inspect
import runpy
from collections.abc import Iterable
from pathlib import Path

REFERENCE = Path(__file__).parent / "reference"
PUBLIC = runpy.run_path(str(REFERENCE / "api.py"))["PUBLIC"]
# The file of a page, its title, its first words, and the packages, or topics of packages, that it holds.
PAGES = [
    (
        "estimators",
        "Estimators",
        "One class fits a model to rows, draws, scores, completes and reports.",
        ["backwalk: Estimators", "backwalk.model", "backwalk.estimator", "backwalk.fit", "backwalk.training"],
    ),
    (
        "tables",
        "Tables",
        "How columns and files are read, and the rules that rows obey.",
        ["backwalk: Columns and files", "backwalk.table", "backwalk.engines"],
    ),
    (
        "inference",
        "Inference",
        "Posteriors of a simulator's parameters, in the manner of sbi.",
        ["backwalk: Inference", "backwalk.inference"],
    ),
    (
        "choices",
        "Networks, training, sampling",
        "Settings of a fit and of its draws, and what to derive your own from.",
        ["backwalk: Choices", "backwalk.sampling"],
    ),
    (
        "mathematics",
        "Mathematics",
        "The paper as pure functions of tensors. {doc}`/reference/symbols` maps its symbols to these names.",
        ["backwalk.diffusion", "backwalk.streams"],
    ),
    (
        "assessment",
        "Assessment",
        "Figures of rows, each beside its null and with its standard error.",
        ["backwalk.assess", "backwalk.assess.statistics"],
    ),
    (
        "datasets",
        "Datasets",
        "Densities with a known log-density and entropy, and a real table.",
        ["backwalk.datasets"],
    ),
    ("course", "The course", "Lessons as notebooks, and checks of their exercises.", ["backwalk.course"]),
    (
        "errors",
        "Errors and warnings",
        "Each message says what is wrong, which value was given, and what to do. An error that backwalk raises on "
        "purpose is a `BackwalkError`, and most are one of Python's as well. "
        '`warnings.simplefilter("error", PriorMismatchWarning)` makes an error of a warning.',
        ["backwalk: Errors", "backwalk: Warnings"],
    ),
]
MANY = 8  # methods of a class that are listed before they are described


def api_page(title: str, words: str, parts: list[str]) -> str:
    """Return a page: a table of names for each topic, and below all of them what they do."""
    lines, details = [f"# {title}", "", words, ""], []
    for part in parts:
        package, _, topic = part.partition(": ")
        module = importlib.import_module(package)
        for heading in [topic] if topic else PUBLIC[package]:
            names = PUBLIC[package][heading]
            lines += [] if heading == title else [f"## {heading}", ""]
            lines += table(package, [name for name in names if callable(getattr(module, name))])
            for name in names:
                members = public_members(getattr(module, name))
                methods = [f"{name}.{member}" for kind, member in members if kind == "method"]
                if len(methods) >= MANY:
                    lines += [f"Methods of `{name}`:", "", *table(package, methods)]
                details += [f".. currentmodule:: {package}", "", *directive(name, getattr(module, name), members)]
    return "\n".join([*lines, "## In full", "", "```{eval-rst}", *details, "```", ""])


def table(package: str, names: list[str]) -> list[str]:
    """Return a table of names with the first sentence of each."""
    rows = [f"   {name}" for name in names]
    return [
        "```{eval-rst}",
        f".. currentmodule:: {package}",
        ".. autosummary::",
        "   :nosignatures:",
        "",
        *rows,
        "```",
        "",
    ]


def public_members(value: object) -> list[tuple[str, str]]:
    """Return the public methods and properties of a class that this package defines, as pairs of kind and name."""
    found = []
    for name, member in inspect.getmembers_static(value) if isinstance(value, type) else []:
        is_property = isinstance(member, property | functools.cached_property)
        function = getattr(member, "fget", None) or getattr(member, "func", None) or getattr(member, "__func__", member)
        ours = str(getattr(function, "__module__", "")).startswith("backwalk")
        if ours and not name.startswith("_") and (is_property or inspect.isroutine(function)):
            found.append(("property" if is_property else "method", name))
    return found


def directive(name: str, value: object, members: list[tuple[str, str]]) -> list[str]:
    """Return the directives for an object and its members; a collection has no docstring, so its names are listed."""
    if isinstance(value, Iterable):
        return [f".. py:data:: {name}", "", f"   {', '.join(f'`{each}`' for each in value)}", ""]
    if isinstance(value, type):
        kind = "exception" if issubclass(value, Exception) else "class"
    else:
        kind = "function"
    inner = [line for kind_, member in members for line in (f"   .. auto{kind_}:: {member}", "")]
    return [f".. auto{kind}:: {name}", "", *inner]


def write_pages(_app: object) -> None:
    """Write reference/api. Raises ValueError for a topic of the list that no page holds."""
    parts = {part for *_, held in PAGES for part in held}
    missing = [
        f"{package}: {topic}"
        for package, topics in PUBLIC.items()
        for topic in topics
        if not {package, f"{package}: {topic}"} & parts
    ]
    if missing:
        raise ValueError(f"docs/api_pages.py should have a page for {', '.join(missing)}.")
    folder = REFERENCE / "api"
    folder.mkdir(exist_ok=True)
    for file, title, words, held in PAGES:
        path, text = folder / f"{file}.md", api_page(title, words, held)
        if not path.exists() or path.read_text(encoding="utf-8") != text:  # an unchanged page is not read again
            path.write_text(text, encoding="utf-8")


def find_short_name(app: object, env: object, node: object, text: object) -> object:
    """Resolve a short name of See Also, such as `Diffusion.fit` in another package, as a name of backwalk."""
    name = node.get("reftarget", "")
    if node.get("refdomain") != "py" or name.startswith("backwalk."):
        return None
    python = env.domains.python_domain
    return python.resolve_xref(env, node["refdoc"], app.builder, "obj", f"backwalk.{name}", node, text)


def setup(app: object) -> None:
    """Make the pages when a build begins."""
    app.connect("builder-inited", write_pages)
    app.connect("missing-reference", find_short_name)
