from collections.abc import Callable
from pathlib import Path

import pytest

from tools.lessons import HEADER

WriteLesson = Callable[..., Path]


@pytest.fixture
def write_lesson(tmp_path: Path) -> WriteLesson:
    """write_lesson(body, name="00_toy") puts a source below tmp_path/notebooks/source and returns its path."""

    def write(body: str, name: str = "00_toy", header: str = HEADER) -> Path:
        path = tmp_path / "notebooks/source" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(header + body, encoding="utf-8")
        return path

    return write
