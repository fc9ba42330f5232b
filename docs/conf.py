"""How Sphinx builds the documentation: `make docs`. Nothing in the built site is loaded from elsewhere."""

import importlib.metadata
import sys
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))
from reference_directive import CALLED, ContractRules, PublicNames
from side_by_side import SideBySide

project = "mainbus"
author = "The mainbus authors"
version = release = importlib.metadata.version("mainbus")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.svgbob"]
exclude_patterns = ["examples"]

# Pages are written for a reader on a code host as well: GitHub's anchors, and links that end in .md.
myst_heading_anchors = 4

# Docstrings are Google's; a `name` in them links to what it names, if that is in the reference.
default_role = "py:obj"
add_module_names = False
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"mainbus {version}"
html_static_path = ["static"]
html_css_files = ["mainbus.css"]
html_copy_source = False


def signature(app: Sphinx, what: str, name: str, *_: object) -> tuple[str, str] | None:
    """Show the signature of a class only if its users call it."""
    return ("", "") if what in ("class", "exception") and name not in CALLED else None


def setup(app: Sphinx) -> None:
    """Register what is ours."""
    app.add_directive("public-names", PublicNames)
    app.add_directive("contract-rules", ContractRules)
    app.connect("autodoc-process-signature", signature)
    app.add_transform(SideBySide)
    app.add_lexer("cddl", TextLexer)
