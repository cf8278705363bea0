"""Sphinx settings of the reading site. ``python tools/site.py`` lays out the sources and calls Sphinx."""

project = "Denoising diffusion, taught exactly"
html_title = project
author = "the ddpm_edu authors"
language = "en"
extensions = ["myst_nb"]
exclude_patterns = ["docs/index.md", "notebooks/source", "ddpm_edu", "tests", "tools"]

# The stored outputs are shown; nothing runs here.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_dmath_double_inline = True  # $$...$$ inside a paragraph, as JupyterLab has it
myst_heading_anchors = 4
myst_heading_slug_func = "tools.lessons.heading_anchor"

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
html_css_files = ["course.css"]
html_favicon = "_static/favicon.svg"
html_copy_source = True  # for the theme's "download the notebook"
