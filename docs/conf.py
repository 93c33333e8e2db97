"""How Sphinx builds the site: sphinx-build -W -b html docs docs/_build/html."""

import importlib.util
import os
import shutil
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1].resolve()))
sys.path.insert(0, str(Path(__file__).parent.resolve() / "_ext"))
# Notebooks run in processes of their own.
os.environ["PYTHONPATH"] = os.pathsep.join([sys.path[1], os.environ.get("PYTHONPATH", "")])
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from docstrings import groups, is_at_home

from keras_focal import __version__

project = html_title = "keras_focal"
author = copyright = "the keras_focal developers"
release = version = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "docstrings",
    "mathml",
    "sources",
]
exclude_patterns = ["_build", "calculator"]
templates_path = ["_templates"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"

# Docstrings are Google's style; a single backtick is code in them, as in Markdown.
default_role = "code"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [
    ("Call arguments", "params_style"),
    "Input and output shape",
    "Numerics",
    "Source",
]
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_mock_imports = [] if importlib.util.find_spec("apache_beam") else ["apache_beam"]
# The pages of the API follow `__all__`, so that no name can be forgotten.
autosummary_ignore_module_all = False
suppress_warnings = ["config.cache"]  # the context holds functions
autosummary_context = {"groups": groups, "is_at_home": is_at_home}

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "auto"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_output_stderr = "remove"  # the log of TensorFlow
copybutton_prompt_text = "$ "


def copy_calculator(app, error):
    """Put the calculator, a page of its own without Sphinx, beside the pages."""
    if error is None and app.builder.name == "html":
        shutil.copytree(
            Path(app.srcdir) / "calculator", Path(app.outdir) / "calculator", dirs_exist_ok=True
        )


def collapse_navigation(app, page, template, context, doctree):
    """Unfold the sidebar at the page alone: all names of the API on all pages take half the time."""
    if "toctree" in context:
        context["toctree"] = partial(_collapsed, context["toctree"])


def _collapsed(toctree, **options):
    return toctree(**{**options, "collapse": True})


def setup(app):
    # Before the theme, whose priority is 500, asks for the tree.
    app.connect("html-page-context", collapse_navigation, priority=400)
    app.connect("build-finished", copy_calculator)
