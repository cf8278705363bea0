"""Sphinx settings of the reading site. ``python tools/site.py`` lays out the sources and calls Sphinx."""

import re
from typing import Any

from docutils import nodes
from sphinx import addnodes

from tools import api

project = "Denoising diffusion, taught exactly"
html_title = project
author = "the ddpm_edu authors"
language = "en"
extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["docs/index.md", "notebooks/source", "ddpm_edu", "tests", "tools"]

# The stored outputs are shown; nothing runs here.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_dmath_double_inline = True  # $$...$$ inside a paragraph, as JupyterLab has it
myst_heading_anchors = 4
myst_heading_slug_func = "tools.lessons.heading_anchor"

# The package reference: tools/api.py writes its pages.
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80  # beyond it, a parameter a line
add_module_names = False

# MathJax 2.7 comes from the Python package jupyter-server-mathjax, so that the site needs neither a CDN nor npm
# (docs/decisions/ says more). Sphinx and MyST have marked what is maths; MathJax looks nowhere else.
mathjax_path = "mathjax/MathJax.js"
myst_update_mathjax = False  # MyST would write settings for MathJax 3 and 4
# In place of a font at about:blank, which browsers refuse, and of fonts for hidden text that the package leaves out:
NO_FONT = {"font-family": "MathJax_Blank", "src": "local('no such font')"}
mathjax2_config = {
    "config": ["TeX-AMS-MML_HTMLorMML-full.js"],
    "jax": ["input/TeX", "output/HTML-CSS"],
    "tex2jax": {
        "inlineMath": [["\\(", "\\)"]],
        "displayMath": [["\\[", "\\]"]],
        "ignoreClass": "tex2jax_ignore|document",
        "processClass": "tex2jax_process|math",
        "processEnvironments": False,
        "processRefs": False,
    },
    "HTML-CSS": {
        "availableFonts": [],  # never the reader's own: a page looks the same everywhere
        "imageFont": None,
        "webFont": "STIX-Web",  # the one that the package carries
        "styles": {"@font-face": NO_FONT},
    },
    "NativeMML": {"styles": {f"@font-face /*{number}*/": NO_FONT for number in range(1, 7)}},  # for screen readers
    "fast-preview": {"disabled": True},  # it wants fonts that the package does not carry
    "showMathMenu": False,  # so does the menu with its files
    "messageStyle": "none",
}

html_theme = "sphinx_book_theme"
html_theme_options = {
    "show_toc_level": 2,
    "use_fullscreen_button": False,
    # Without these there is a second search field above the page.
    "navbar_start": [],
    "navbar_center": [],
    "navbar_end": [],
    "navbar_persistent": [],
}
html_context = {"default_mode": "auto"}  # the theme complains where it is not said
html_static_path = ["_static"]
html_css_files = ["course.css", "live/browser.css"]
html_js_files = [
    ("course.js", {"defer": "defer"}),
    ("live/widgets.js", {"defer": "defer"}),  # the widgets that need no kernel: docs/decisions says more
]
html_favicon = "_static/favicon.svg"
html_use_index = False  # search finds more
html_copy_source = True  # for the theme's "download the notebook"


def _docstring(_app: Any, _what: str, _name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
    lines[:] = api.as_text(lines)


LONGEST_VALUE = 60  # characters: some constants are as long as a page


def _short_types(_app: Any, page: Any, _name: str) -> None:
    """Sphinx shortens the types that it can parse to links, and leaves its mark, ~, before the others: not there. Nor
    the values of long constants.
    """
    for signature in page.findall(addnodes.desc_signature):
        for text in list(signature.findall(nodes.Text)):
            if "~" in text:
                text.parent.replace(text, nodes.Text(re.sub(r"~(?:\w+\.)+", "", text)))
        for value in list(signature.findall(addnodes.desc_annotation)):
            if value.astext().lstrip().startswith("=") and len(value.astext()) > LONGEST_VALUE:
                value.parent.remove(value)


def _skipped(_app: Any, _what: str, name: str, thing: Any, _skip: bool, _options: Any) -> bool | None:
    """What Python and matplotlib write into classes by themselves: fields of tuples (they stand in the signature), and
    a method ``set`` with markup of its own.
    """
    if str(getattr(thing, "__doc__", "")).startswith("Alias for field number"):
        return True
    return True if getattr(thing, "__module__", "").startswith("matplotlib") and name == "set" else None


def _signature(_app: Any, what: str, _name: str, thing: Any, _options: Any, signature: str | None, returns: str) -> Any:
    """A class without an ``__init__`` of its own is not called by the reader: a protocol, a widget, a figure."""
    if signature is None:  # a module, a constant
        return None
    signature = re.sub(r"<[^<>]+>", "...", signature)  # a default that cannot be written as code
    makes = {"__init__", "__new__"} & set(vars(thing)) if what == "class" else {"itself"}
    anything = re.fullmatch(r"\(\*args(: [\w.]+)?, \*\*kwargs(: [\w.]+)?\)", signature)
    return (signature, returns) if makes and not anything else ("", None)


def setup(app: Any) -> None:
    """What Sphinx asks for."""
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("autodoc-skip-member", _skipped)
    app.connect("autodoc-process-signature", _signature)
    app.connect("doctree-resolved", _short_types)
