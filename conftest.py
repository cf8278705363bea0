"""How pytest treats GPUs (it sees none) and notebooks: nbval runs them as the build did, and pictures are compared too.

What is promised bit for bit is promised of a CPU, and what is killed here is a forked child, which cannot use a GPU
that its parent has used. So a machine with a GPU runs the tests of any other machine; those of the GPU are run by
``make gpu``.

nbval never compares pictures. Here their thumbnails are, with a tolerance (tools/pictures.py).
"""

import base64
import os
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tools import kernels
from tools.pictures import same_picture

_HOME = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    if "DDPM_EDU_GPU_TESTS" not in os.environ:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # for child processes, too
    os.environ["DDPM_EDU_PROGRESS"] = "off"  # checks that are tested are no progress of the person at the keyboard
    home = tempfile.TemporaryDirectory(prefix="ddpm-nbval-", ignore_cleanup_errors=True)
    config.stash[_HOME] = Path(home.name)
    config.add_cleanup(home.cleanup)


def is_notebook_cell(item: pytest.Item) -> bool:
    return type(item).__name__ == "IPyNbCell"


def pytest_collection_finish(session: pytest.Session) -> None:
    if any(is_notebook_cell(item) for item in session.items):
        kernels.warm_font_cache()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """The set-up of a notebook's first cell starts its kernel."""
    if not is_notebook_cell(item):
        return (yield)
    with kernels.environment(item.config.stash[_HOME]):
        return (yield)


def pytest_itemcollected(item: Any) -> None:
    if not is_notebook_cell(item):
        return
    text_agrees = item.compare_outputs

    def compare_outputs(now: list[Any], stored: list[Any], skip_compare: Any = None) -> bool:
        # The HTML of a widget holds its pictures, whose bytes differ between machines. Its text and thumbnail count.
        if not text_agrees(now, stored, (*(skip_compare or item.parent.skip_compare), "text/html")):
            return False
        item.comparison_traceback += picture_faults(now, stored)
        return not item.comparison_traceback

    item.compare_outputs = compare_outputs


def picture_faults(now: list[Any], stored: list[Any]) -> list[str]:
    """One line for each picture that is not, to the eye, the one that is stored."""
    new, old = pictures(now), pictures(stored)
    if len(new) != len(old):
        return [f"{len(old)} pictures are stored, the run made {len(new)}"]
    pairs = enumerate(zip(new, old, strict=True), start=1)
    return [f"picture {n}: {fault}" for n, (a, b) in pairs if (fault := same_picture(a, b))]


def pictures(outputs: list[Any]) -> list[bytes]:
    found = [output.get("data", {}).get("image/png") for output in outputs]
    return [base64.b64decode(png) for png in found if png]
