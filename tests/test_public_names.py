"""The public face: its names, and that it costs nothing to look at."""

import subprocess
import sys

import backwalk
from backwalk import errors
from tests.reference.test_docstrings import PUBLIC


def test_public_names_are_those_of_the_reference():
    names = {name for topic in PUBLIC["backwalk"].values() for name in topic}
    assert sorted(backwalk.__all__) == sorted(names)
    assert names <= set(dir(backwalk))
    for name in names:
        assert getattr(backwalk, name).__name__ == name


def test_packages_load_on_first_use():
    for package in PUBLIC:
        if "." in package:
            name = package.split(".")[1]
            assert backwalk.__getattr__(name).__name__ == f"backwalk.{name}"  # as for a name that is not yet there
            assert name in dir(backwalk)


def test_importing_needs_no_torch():
    code = "import sys, backwalk.cli; print([name for name in ('torch', 'sklearn', 'scipy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_error_and_warning_is_in_the_tree_that_their_module_shows():
    of_ours = {name: error for name, error in vars(errors).items() if isinstance(error, type)}
    assert all(issubclass(error, errors.BackwalkError | UserWarning) for error in of_ours.values())
    assert [name for name in of_ours if name not in errors.__doc__] == []
