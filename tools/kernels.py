"""Run a notebook in a fresh kernel and keep from its outputs only what is the same on every run."""

import asyncio
import base64
import contextlib
import copy
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode

from tools.lessons import METADATA, LessonError
from tools.pictures import strip_png

CELL_TIMEOUT = 300  # seconds; nbclient's own default is no limit
NOTEBOOK_TIMEOUT = 900  # seconds; nbclient was once seen to wait for ever on a notebook with widgets

# What a kernel sees, in the build and under nbval alike, whoever runs it.
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "OMP_NUM_THREADS": "2",  # sums are split in as many parts, so their last digits depend on it
    "MKL_NUM_THREADS": "2",
    "CUDA_VISIBLE_DEVICES": "",  # the stored pages are those of a CPU, on whichever machine they are built
    "DDPM_EDU_PROGRESS": "off",  # a check that runs here is no progress of the person at the keyboard
}
# A view without its kernel shows an error; the picture and the text beside it stay.
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


@contextlib.contextmanager
def environment(home: Path) -> Iterator[None]:
    """Kernels started in this block see ENVIRONMENT, and none of the user's own kernels or IPython settings.

    ``home`` is an empty folder of ours that lives as long as those kernels: they keep their history there.
    """
    values = {**ENVIRONMENT, **own_ipython(home), "JUPYTER_DATA_DIR": str(home / "jupyter")}
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def own_ipython(home: Path) -> dict[str, str]:
    """An IPython folder below ``home``, and the variable that makes kernels use it."""
    profile = home / "ipython/profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    # Each kernel would warn that its loopback connection is not encrypted.
    (profile / "ipython_kernel_config.py").write_text("c.IPKernelApp.log_level = 40\n")
    return {"IPYTHONDIR": str(home / "ipython")}


def warm_font_cache() -> None:
    """matplotlib builds its font list once per machine and says so on stderr: not in a notebook, please."""
    import matplotlib.font_manager  # noqa: F401


def execute(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """A copy of ``notebook`` with the outputs of a run in ``folder``. A kernel that dies is tried again."""
    warm_font_cache()
    try:
        done = _run(notebook, folder)
    except DeadKernelError:
        done = _run(notebook, folder)
    done.metadata = copy.deepcopy(METADATA)
    for cell in done.cells:
        clean_outputs(cell)
    return done


def _run(notebook: NotebookNode, folder: Path) -> NotebookNode:
    copied = copy.deepcopy(notebook)
    client = NotebookClient(
        copied,
        timeout=CELL_TIMEOUT,
        startup_timeout=120,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,  # 100 KB of random ids
        coalesce_streams=True,  # how print is cut into messages depends on timing
        resources={"metadata": {"path": str(folder)}},
    )

    async def run() -> None:
        try:
            async with asyncio.timeout(NOTEBOOK_TIMEOUT) as limit:
                await client.async_execute()
        except (TimeoutError, DeadKernelError) as error:  # nbclient calls a cancelled run a dead kernel
            if limit.expired():
                raise LessonError(f"a notebook did not end within {NOTEBOOK_TIMEOUT} s and was given up") from error
            raise

    with tempfile.TemporaryDirectory(prefix="ddpm-kernel-") as home, environment(Path(home)):
        asyncio.run(run())
    return copied


def clean_outputs(cell: NotebookNode) -> None:
    """Drop what changes from run to run: widget ids, and matplotlib's version inside pictures."""
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        if data.pop(WIDGET_VIEW, None) is not None and not {"image/png", "text/html"} & set(data):
            raise LessonError(
                f"a widget without a picture shows nothing where no kernel runs; cell {cell.source[:60]!r} "
                "must display one that carries image/png or text/html in its mime bundle"
            )
        if "image/png" in data:
            data["image/png"] = base64.b64encode(strip_png(base64.b64decode(data["image/png"]))).decode() + "\n"
        if output.get("output_type") in ("display_data", "execute_result"):
            alt = output["metadata"].get("image/png", {}).get("alt")
            output["metadata"] = {"image/png": {"alt": alt}} if alt else {}
