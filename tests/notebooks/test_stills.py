"""What pages without a kernel show of a widget: its picture, and its numbers as the picture's alternative text."""

import nbformat

from ddpm_edu import widgets
from tools import kernels, site


def output_of(box):
    data, metadata = box._repr_mimebundle_()
    return nbformat.v4.new_output("execute_result", data=data, metadata=metadata | {"other": 1}, execution_count=1)


def test_the_numbers_stay_with_the_picture_and_nothing_else_does():
    cell = nbformat.v4.new_code_cell("dissolve()", outputs=[output_of(widgets.dissolve(t=500))])
    kernels.clean_outputs(cell)
    (output,) = cell.outputs
    assert set(output.metadata) == {"image/png"}
    assert output.metadata["image/png"]["alt"].startswith("t = 500: 0.")


def test_the_site_shows_numbers_and_says_what_is_missing(tmp_path):
    plain = nbformat.v4.new_output("display_data", data={"text/plain": "x < y"})
    cell = nbformat.v4.new_code_cell("dissolve()", outputs=[output_of(widgets.dissolve(t=500)), plain])
    path = tmp_path / "page.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    site.show_stills(path)
    still, other = nbformat.read(path, as_version=4).cells[0].outputs
    assert set(still["data"]) == {"text/html"} and other["data"] == {"text/plain": "x < y"}
    page = still["data"]["text/html"]
    assert 'alt="t = 500: 0.' in page and "need a running notebook" in page and "base64," in page
