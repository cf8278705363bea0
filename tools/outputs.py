"""What the reading site makes of a notebook's outputs: stills that say what they are, figures with words for who cannot
see them.
"""

import html
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

STILL = """<figure class="ddpm-still">
<figcaption><em>A still picture: its controls need a running notebook.</em> {numbers}</figcaption>
<img src="data:image/png;base64,{picture}" alt="{numbers}">
</figure>"""
LONGEST = 600  # characters of an alternative text


def prepare(path: Path) -> None:
    """Rewrites the notebook at ``path``, a copy that is made for the site."""
    notebook = nbformat.read(path, as_version=4)
    cells = notebook.cells
    for cell, after in zip(cells, [*cells[1:], None], strict=True):
        if cell.cell_type == "code":
            _show_stills(cell)
            _describe(cell, after)
    nbformat.write(notebook, path)


def _show_stills(cell: NotebookNode) -> None:
    """A widget that needs a kernel says so, above its still picture and the numbers of its readout."""
    for output in cell.outputs:
        numbers = output.get("metadata", {}).get("image/png", {}).get("alt")
        if numbers:
            picture = output.data["image/png"].strip()
            output.data = {"text/html": STILL.format(numbers=html.escape(numbers), picture=picture)}


def _describe(cell: NotebookNode, after: NotebookNode | None) -> None:
    """A figure's alternative text: what its cell has printed, and what the text below says is to be seen."""
    if any("image/png" in output.get("data", {}) for output in cell.outputs):
        printed = " ".join(output.text for output in cell.outputs if output.output_type == "stream")
        words = " ".join(f"{printed} {seen(after)}".split()) or "a figure, described in the text"
        cell.metadata["mystnb"] = {"image": {"alt": words[:LONGEST]}}


def seen(cell: NotebookNode | None) -> str:
    """The sentences in italics that begin with "What to see", as plain text; empty where there are none."""
    found = re.match(r"\*(What to see: .*?)\*(?=\s|$)", cell.source, re.DOTALL) if cell is not None else None
    return re.sub(r"[*`$]", "", found[1]) if found else ""
