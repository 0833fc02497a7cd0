"""The public names: where each is found, and that its docstring says what a reader needs."""

import functools
import importlib
import inspect
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PUBLIC = runpy.run_path(str(ROOT / "docs" / "reference" / "api.py"))["PUBLIC"]
NAMES = [f"{package}.{name}" for package, topics in PUBLIC.items() for names in topics.values() for name in names]

# What numpydoc asks and this project, like scikit-learn, does not: a summary on the line after the quotes, the closing
# quotes on a line below, and no name for what is returned.
NOT_ASKED = {"GL01", "GL02", "RT02"}
# Asked of classes alone: more than a summary, a section See Also, examples.
OF_CLASSES = {"ES01", "SA01", "EX01"}
# Not asked of a method that overrides a documented one: its arguments and what it returns.
OF_THE_FIRST = {"PR01", "RT01"}


def load(name: str) -> object:
    package, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(package), attribute)


def documented(name: str) -> Iterator[str]:
    """Yield the name of a function or a class, and of the class's public methods and properties."""
    thing = load(name)
    if callable(thing):
        yield name
    if inspect.isclass(thing):
        for member in dir(thing):
            owner = next(one for one in thing.__mro__ if member in vars(one))
            found = vars(owner)[member]
            is_method = inspect.isroutine(found) or isinstance(found, property | functools.cached_property)
            if owner.__module__.startswith("backwalk") and not member.startswith("_") and is_method:
                yield f"{name}.{member}"


def overrides(name: str) -> bool:
    owner, _, method = name.rpartition(".")
    package, _, cls = owner.rpartition(".")
    thing = getattr(importlib.import_module(package), cls, None) if package.startswith("backwalk") else None
    return (
        inspect.isclass(thing) and sum(bool(getattr(vars(one).get(method), "__doc__", "")) for one in thing.__mro__) > 1
    )


def is_asked(name: str, code: str, text: str) -> bool:
    of_class = inspect.isclass(load(name)) if name in NAMES else False
    if "'*args'" in text and "'**kwargs'" in text:  # the constructor of a protocol or an error, which has no arguments
        return False
    if code in OF_THE_FIRST and overrides(name):
        return False
    return code not in NOT_ASKED and (of_class or code not in OF_CLASSES)


@pytest.mark.parametrize("package", PUBLIC)
def test_public_names_are_exported_by_their_package(package):
    names = [name for topic in PUBLIC[package].values() for name in topic]
    module = importlib.import_module(package)
    assert len(set(names)) == len(names)
    assert set(names) <= set(getattr(module, "__all__", vars(module)))


def test_each_public_object_has_one_home_and_a_page_of_its_own():
    named = [load(name) for name in NAMES]
    assert len({id(thing) for thing in named}) == len(named)
    assert len({name.lower() for name in NAMES}) == len(NAMES)  # pages are files, also on disks that ignore case


@pytest.mark.parametrize("name", NAMES)
def test_docstring_has_what_numpydoc_asks(name):
    from numpydoc.validate import validate  # here, as it takes a second to import

    faults = [
        f"{each}: {code} {text}"
        for each in documented(name)
        for code, text in validate(each)["errors"]
        if is_asked(each, code, text)
    ]
    assert not faults, "\n".join(faults)


def test_functions_have_siblings_and_examples():
    from numpydoc.docscrape import FunctionDoc

    functions = {name: load(name) for name in NAMES if inspect.isroutine(load(name))}
    sections = {name: FunctionDoc(function) for name, function in functions.items()}
    assert [name for name in functions if not (sections[name]["See Also"] and sections[name]["Examples"])] == []
