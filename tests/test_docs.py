"""Pages of docs/ that hold numbers or code: the code runs, and the numbers are those that it prints."""

import contextlib
import io
import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_glossarys_code_prints_the_glossarys_numbers():
    page = (DOCS / "glossary.md").read_text(encoding="utf-8")
    before, code = re.split(r"```python\n", page)[:2]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code.split("```")[0], {})  # noqa: S102  (a page of this repository)
    claimed = re.findall(r"-?\d\.\d{4}", before.split("## One model")[1])
    assert printed.getvalue().split() == [n for n in claimed if n != "2.4617"]  # gamma is minus the line above
    assert "2.4617" in claimed and "-2.4617" in claimed
