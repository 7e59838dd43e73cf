"""How the pages in this directory become a site: `sphinx-build docs docs/_build/html`, or `tox -e docs`.

Everything is built from this repository and the installed packages; nothing is fetched.
"""

import logging
import shutil
import sys
from importlib.metadata import version as version_of
from pathlib import Path

_HERE = Path(__file__).parent
sys.path.insert(0, str(_HERE / "extensions"))

project = "ASLA"
author = "the ASLA developers"
copyright = "the ASLA developers"
version = release = version_of("asla")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "api_names",
    "drawn_figures",
    "from_the_code",
]
exclude_patterns = ["_build", "extensions", "templates", "examples"]
templates_path = ["templates"]

# Pages are Markdown that GitHub shows too.
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3

# Notebooks lie beside this directory; Sphinx reads what lies inside it. They are shown as they are, not run.
nb_execution_mode = "off"
if (_notebooks := _HERE.parent / "notebooks").is_dir():
    shutil.rmtree(_HERE / "notebooks", ignore_errors=True)
    shutil.copytree(_notebooks, _HERE / "notebooks", ignore=shutil.ignore_patterns(".*", "__pycache__"))

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autosummary_generate = True
napoleon_google_docstring = False
napoleon_use_ivar = True

# `name` in a docstring is a name of this project if there is one, else an argument or a piece of code.
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!asla_).*"),  # what is not ours, words and arguments
    ("py:class", r".*\._\w+"),  # bases and type variables that are private
]
suppress_warnings = ["ref.python"]  # `atoms` is an attribute of several classes, where it is a mere word

# A glob of the table of contents may find nothing, as where the notebooks are not there: a warning that has no name.
logging.getLogger("sphinx.sphinx.directives.other").addFilter(lambda record: "toctree glob" not in str(record.msg))

html_theme = "furo"
html_title = "ASLA"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
