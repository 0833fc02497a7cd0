"""The tree of exceptions and warnings in the module's docstring."""

import inspect
import re

from backwalk import errors


def test_the_tree_names_every_exception_and_warning():
    classes = {name for name, each in inspect.getmembers(errors, inspect.isclass) if each.__module__ == errors.__name__}
    named = set(re.findall(r"[├└]── (\w+)", errors.__doc__))
    assert named == classes - {"BackwalkError"}
