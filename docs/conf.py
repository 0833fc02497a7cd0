"""The site's settings. `make docs` builds it into out/site; each warning is an error, and nothing is fetched."""

import functools
import importlib
import inspect
import os
import tomllib
from pathlib import Path

import backwalk

DOCS = Path(__file__).parent
os.environ["MATPLOTLIBRC"] = str(DOCS / "matplotlibrc")  # of the cells and of the gallery

project = "backwalk"
author = copyright = "The backwalk authors"
version = release = backwalk.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_nb",
    "sphinx_gallery.gen_gallery",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinx_click",
]
exclude_patterns = ["auto_gallery/*.ipynb"]
exclude_patterns += [
    "gallery",
    "pictures",
    "tables.md",
    "scale.md",
    "web.md",
    "rubin.md",
]
suppress_warnings = ["myst-nb.lexer"]  # cells that were not run do not say their language
default_role = "literal"  # as in docstrings; references are written with their role

# Markdown
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3

# Cells are run once for each state of the package and of the page.
nb_execution_mode = "cache"
nb_execution_cache_path = str(DOCS.parent / "out" / "site-cells")
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

# The interface: types stand in the sections of docstrings.
autodoc_typehints = "none"
autosummary_generate = False  # the pages below hold the objects themselves
numpydoc_show_class_members = False

# Pictures
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "doc_module": ("backwalk",),
    "backreferences_dir": None,
    "remove_config_comments": True,
    "show_memory": False,
    "reset_modules": (),  # which would reset the style of figures
    "show_signature": False,
    "abort_on_example_error": True,
    "download_all_examples": False,
    "write_computation_times": False,
}

# The theme; MathJax lies in _static, so that no page asks another host for anything.
html_theme = "pydata_sphinx_theme"
html_title = "backwalk"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
mathjax_path = "mathjax/tex-chtml.js"
html_theme_options = {
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": []}
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def api_page(page: dict) -> str:
    """Return a page of the interface: a list of each section's names, and below all of them what they do."""
    lines = [f"# {page['title']}", "", page["text"], ""]
    details = []
    for section in page["section"]:
        module = importlib.import_module(section["module"])
        names = section.get("names") or [name for name, value in vars(module).items() if isinstance(value, type)]
        if "title" in section:
            lines += [f"## {section['title']}", ""]
        lines += ["```{eval-rst}", f".. currentmodule:: {module.__name__}", ".. autosummary::", "   :nosignatures:", ""]
        lines += [f"   {name}" for name in names] + ["```", ""]
        details += [f".. currentmodule:: {module.__name__}", ""]
        for name in names:
            details += directive(name, getattr(module, name))
    return "\n".join([*lines, "## In full", "", "```{eval-rst}", *details, "```", ""])


def directive(name: str, value: object) -> list[str]:
    """Return the directives for an object: of a class also those of its public members that this package defines."""
    if not isinstance(value, type):
        return [f".. auto{'function' if inspect.isroutine(value) else 'data'}:: {name}", ""]
    lines = [f".. auto{'exception' if issubclass(value, Exception) else 'class'}:: {name}", ""]
    for member, found in inspect.getmembers_static(value):
        is_property = isinstance(found, property | functools.cached_property)
        function = getattr(found, "fget" if isinstance(found, property) else "func", None) or getattr(
            found, "__func__", found
        )
        of_ours = str(getattr(function, "__module__", "")).startswith("backwalk")
        if of_ours and not member.startswith("_") and (is_property or inspect.isroutine(function)):
            lines += [f"   .. auto{'property' if is_property else 'method'}:: {member}", ""]
    return lines


def write_api_pages(_app: object) -> None:
    """Write docs/reference/api from the list in api.toml."""
    folder = DOCS / "reference" / "api"
    folder.mkdir(exist_ok=True)
    for page in tomllib.loads((folder.parent / "api.toml").read_text(encoding="utf-8"))["page"]:
        path, text = folder / f"{page['file']}.md", api_page(page)
        if not path.exists() or path.read_text(encoding="utf-8") != text:  # an unchanged page is not read again
            path.write_text(text, encoding="utf-8")


def setup(app: object) -> None:
    """Let Sphinx make the pages of the interface before it looks for pages."""
    app.connect("builder-inited", write_api_pages)
