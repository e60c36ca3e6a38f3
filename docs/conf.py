"""How the pages of this folder become a site: `make docs` in the folder above."""

import importlib
from types import ModuleType

import sphinx.application
import sphinx.environment
from sphinx.util import logging

import inox

project = "Inox"
copyright = "the Inox authors, under the MIT licence"
version = release = inox.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
]
html_theme = "furo"
html_title = f"Inox {version}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
exclude_patterns = ["build"]

# Pages are CommonMark with formulas in dollars, as they stand on a code host.
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3

# Cells run when the site is built; one that raises, or takes minutes, ends the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_show_tb = True
nb_merge_streams = True
nb_render_markdown_format = "myst"

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature in words stands under Args
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# A reference that leads nowhere ends the build.
nitpicky = True
# What others document is on their sites, which a build does not ask.
nitpick_ignore_regex = [(r"py:.*", r"(equinox|flax|haiku|jax|keras|numpy|torch)\..*")]

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# The packages whose names are public.
PUBLIC = ("nn", "functional", "calibration", "streaming", "folding")


def public_names_are_documented(
    app: sphinx.application.Sphinx, environment: sphinx.environment.BuildEnvironment
) -> None:
    """A warning, which ends the build, for each public name that is on no page."""
    documented = environment.domains.python_domain.objects
    for package in PUBLIC:
        module = importlib.import_module(f"inox.{package}")
        for name in module.__all__:
            known = f"inox.{package}.{name}"
            if known not in documented and not isinstance(getattr(module, name), ModuleType):
                logging.getLogger(__name__).warning("%s is on no page", known)


def setup(app: sphinx.application.Sphinx) -> None:
    """Sphinx calls this."""
    app.connect("env-check-consistency", public_names_are_documented)
