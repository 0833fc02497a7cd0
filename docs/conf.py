"""The site's settings. `make docs` builds it into out/site; each warning is an error, and nothing is fetched."""

import hashlib
import os
import sys
from pathlib import Path

import backwalk

DOCS = Path(__file__).parent
digest = hashlib.sha256()
for path in sorted(Path(backwalk.__file__).parent.rglob("*.py")):
    digest.update(path.read_bytes())
sys.path.insert(0, str(DOCS))  # for api_pages
kernel = DOCS.parent / "out" / "ipython" / "profile_default"
kernel.mkdir(parents=True, exist_ok=True)
(kernel / "ipython_kernel_config.py").write_text('c.IPKernelApp.log_level = "ERROR"\n')  # not of TCP on this machine
os.environ.update(
    IPYTHONDIR=str(kernel.parent),
    MATPLOTLIBRC=str(DOCS / "matplotlibrc"),  # of the cells and of the gallery
    TQDM_DISABLE="1",  # no bars among the outputs
    PYTHONWARNINGS="ignore:IProgress not found",
)

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
    "api_pages",
]
exclude_patterns = ["auto_gallery/*.ipynb", "gallery", "pictures"]
suppress_warnings = ["myst-nb.lexer"]  # cells that were not run do not say their language
default_role = "literal"  # as in docstrings; references are written with their role

# Markdown
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3

# Cells are run again where their page or the package has changed.
nb_execution_mode = "cache"
nb_execution_cache_path = str(DOCS.parent / "out" / "site-cells" / digest.hexdigest()[:16])
nb_execution_in_temp = True  # cells may write files
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

# The interface: types stand in the sections of docstrings.
autodoc_typehints = "none"
autosummary_generate = False  # the pages of `api_pages` hold the objects themselves
numpydoc_show_class_members = False

# Pictures
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "doc_module": ("backwalk",),
    "backreferences_dir": None,
    "remove_config_comments": True,
    "reset_modules": (),  # which would reset the style of figures
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
html_extra_path = ["llms.txt"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
mathjax_path = "mathjax/tex-chtml.js"
html_theme_options = {
    "header_links_before_dropdown": 8,
    "navbar_align": "left",
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": {"index": [], "**": ["page-toc"]},
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": []}
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def write_playground(app, exception):
    """Write the playground beside the pages, once they are there."""
    if exception is None and app.builder.format == "html":
        from backwalk.playground import Page

        Page().save(Path(app.outdir, "playground.html"), overwrite=True)


def setup(app):
    """Register what is done at the end of a build."""
    app.connect("build-finished", write_playground)
