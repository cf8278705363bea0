"""Docstrings on their way to the package reference: what is markup stays, what is mathematics is not taken for any."""

import pytest

from tools.api import as_text

CASES = [
    ("A *network* is not *x*, and **w = 0** is", "A *network* is not *x*, and **w = 0** is"),
    ("2 * a * b, sigma*_t, |x| and x_", r"2 \* a \* b, sigma\*\_t, \|x\| and x\_"),
    ("``a_b`` and :func:`x_y`", "``a_b`` and :func:`x_y`"),
    ("``one_literal\nover_two`` lines_", "``one_literal\nover_two`` lines\\_"),
    ("- a * b\n* c_d", "- a \\* b\n* c\\_d"),
    ("All say:\n\n    x = a * b_c\n\nAfter_it", "All say::\n\n    x = a * b_c\n\nAfter\\_it"),
    ("Shown::\n\n    a_b\n    *c*\nback_", "Shown::\n\n    a_b\n    *c*\nback\\_"),
]


@pytest.mark.parametrize(("written", "shown"), CASES)
def test_a_docstring_is_shown_as_it_was_written(written, shown):
    assert "\n".join(as_text(written.split("\n"))) == shown
