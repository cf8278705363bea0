"""What pages without a kernel show of widgets and figures, and what they say of them to who cannot see them."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from ddpm_edu import widgets
from tools import kernels, outputs


def output_of(box):
    data, metadata = box._repr_mimebundle_()
    return new_output("execute_result", data=data, metadata=metadata | {"other": 1}, execution_count=1)


def prepared(path, *cells):
    nbformat.write(new_notebook(cells=list(cells)), path)
    outputs.prepare(path)
    return nbformat.read(path, as_version=4).cells


def test_the_numbers_stay_with_the_picture_and_nothing_else_does():
    cell = new_code_cell("schedule_explorer()", outputs=[output_of(widgets.schedule_explorer(t=500))])
    kernels.clean_outputs(cell)
    (output,) = cell.outputs
    assert set(output.metadata) == {"image/png"}
    assert output.metadata["image/png"]["alt"].startswith("at t = 500: alpha_bar")


def test_the_site_shows_numbers_and_says_what_is_missing(tmp_path):
    plain = new_output("display_data", data={"text/plain": "x < y"})
    cell = new_code_cell("schedule_explorer()", outputs=[output_of(widgets.schedule_explorer(t=500)), plain])
    (shown,) = prepared(tmp_path / "page.ipynb", cell)
    still, other = shown.outputs
    assert set(still.data) == {"text/html"} and other.data == {"text/plain": "x < y"}
    page = still.data["text/html"]
    assert 'alt="at t = 500: alpha_bar' in page and "need a running notebook" in page and "base64," in page
    assert "mystnb" not in shown.metadata


@pytest.mark.parametrize(
    ("below", "words"),
    [
        ("*What to see: it falls,\nto $x_0$.* And *more*.", "share 0.81 What to see: it falls, to x_0."),
        ("Nothing *in particular*.", "share 0.81"),
    ],
)
def test_a_figure_says_what_was_printed_and_what_is_to_be_seen(tmp_path, below, words):
    picture = new_output("display_data", data={"image/png": "AAAA"})
    cell = new_code_cell("f()", outputs=[new_output("stream", name="stdout", text="share 0.81\n"), picture])
    shown, _ = prepared(tmp_path / "page.ipynb", cell, new_markdown_cell(below))
    assert shown.metadata["mystnb"]["image"]["alt"] == words
