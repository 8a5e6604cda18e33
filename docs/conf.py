"""Sphinx configuration."""

import re
import sys
from importlib.resources import files
from pathlib import Path

from sphinx import addnodes
from sphinx.ext import autosummary

import kfgn_graph

sys.path.insert(0, str(Path(__file__).parent))

project = "kfgn_graph"
author = "kfgn_graph developers"
copyright = "2026, kfgn_graph developers"
version = release = kfgn_graph.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "offline",
]
exclude_patterns = ["_build"]
html_extra_path = ["../experiments/figure1/surfaces.html"]  # shown by explanation/piecewise-linear
templates_path = ["_templates"]
default_role = "literal"

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Else "Eq. (26)" would end the summary of a docstring.
autosummary.WELL_KNOWN_ABBREVIATIONS += ("Eq.",)
# A public name is documented once, as kfgn_graph.NAME; the page of its module points there.
autosummary_context = {"public": kfgn_graph.__all__}
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "furo"
html_math_renderer = "mathml"
html_title = f"kfgn_graph {version}"
# The font of the formulas, which MathML needs for brackets and roots that stretch.
html_static_path = ["_static", str(files("ziamath.fonts") / "STIXTwoMath-Regular.ttf")]
html_css_files = ["custom.css"]
pygments_style = "friendly"


def keep_stars(app, what, name, obj, options, lines):
    """Escape the star of a shape such as (N, *event), which marks no emphasis."""
    for k, line in enumerate(lines):
        parts = re.split(r"(``.*?``)", line)
        parts[::2] = [
            re.sub(r"(?<=\(|\s)\*(?=[\w(\[])(?!\w[^*]*\w\*)", r"\\*", text) for text in parts[::2]
        ]
        lines[k] = "".join(parts)


def unlink_types(app, doctree):
    """Leave the types of parameters as text: several classes may have the name, as Step."""
    for link in list(doctree.findall(addnodes.pending_xref)):
        if link.get("refspecific"):
            link.replace_self(link.children)


def setup(app):
    """Connect the hooks; the stars are escaped after the sections of a docstring are read."""
    app.connect("doctree-read", unlink_types)
    app.connect("autodoc-process-docstring", keep_stars, priority=600)
