"""The site's settings. `make docs` builds it into out/site; each warning is an error, and nothing is fetched."""

from pathlib import Path

import backwalk

DOCS = Path(__file__).parent

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
    "inference.md",
    "from_sbi.md",
]
exclude_patterns += ["posterior_checks.md", "own_network.md", "course.md"]
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
autosummary_generate = True
numpydoc_show_class_members = False

# Pictures
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "doc_module": ("backwalk",),
    "backreferences_dir": None,
    "remove_config_comments": True,
    "show_memory": False,
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
