"""The site's list of the public interface names every public object once."""

import importlib
import tomllib
from collections import Counter
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
PAGES = tomllib.loads((DOCS / "reference" / "api.toml").read_text(encoding="utf-8"))["page"]
PUBLIC = (
    "backwalk",
    "backwalk.assess.statistics",
    "backwalk.course",
    "backwalk.datasets",
    "backwalk.diffusion",
    "backwalk.inference",
)


def listed():
    """The objects on the list, and where they stand."""
    for page in PAGES:
        for section in page["section"]:
            module = importlib.import_module(section["module"])
            for name in section.get("names") or [
                name for name, found in vars(module).items() if isinstance(found, type)
            ]:
                yield f"{module.__name__}.{name}", getattr(module, name)


def test_every_public_object_is_on_a_page_and_on_one():
    found = list(listed())
    counts = Counter(id(value) for _, value in found)
    assert [name for name, value in found if counts[id(value)] > 1] == []
    modules = [importlib.import_module(name) for name in PUBLIC]
    missing = [
        f"{module.__name__}.{name}"
        for module in modules
        for name in module.__all__
        if id(getattr(module, name)) not in counts
    ]
    assert missing == []


def test_the_policy_names_the_public_modules():
    policy = (DOCS / "about" / "versions.md").read_text(encoding="utf-8")
    assert [module for module in PUBLIC if f"`{module}`" not in policy] == []
