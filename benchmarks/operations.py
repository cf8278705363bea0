"""What a learner and a developer wait for: every notebook, every move of a widget, every folder of tests.

Usage: ``python benchmarks/operations.py PART [PART ..]`` on Linux or macOS, with nothing else running. Parts:

- ``notebooks``: each edition of each lesson, executed from its source as tools/build.py does it (about 10 minutes)
- ``widgets``: each control of each widget that a kernel draws, moved through its values (about a minute)
- ``widgets_in_lab``: the sliders of these by keyboard in JupyterLab, until the screen shows it (in_lab.py; two minutes)
- ``widgets_in_browser``: the controls of those that need no kernel, in Chromium (in_browser.py; seconds)
- ``tests``: pytest on each folder of tests/, on the files beside them, and on the notebooks (forty minutes)

Each part prints its lines and writes benchmarks/results/PART.json, so that one can be measured anew without the others.

Seconds are wall time of a process of its own, its start included. Memory is the largest resident set that any process
of it reached (cost.py): for a notebook, that of its kernel. The time of a move of ``widgets`` is that
of the kernel's work, from the control's new value to the picture's bytes; drawing it in the browser comes on top.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ipywidgets as W

ROOT = Path(__file__).resolve().parents[1]
if not __package__:
    sys.path[0] = str(ROOT)

from benchmarks import cost, in_browser, in_lab, peers  # noqa: E402
from tools import kernels, lessons  # noqa: E402

RESULTS = Path(__file__).parent / "results"
MOVES = 8  # of each control, at most: spread over its values
Row = dict[str, Any]


# ---------------------------------------------------------------- notebooks


def notebooks() -> Iterator[Row]:
    """Both editions of each lesson."""
    for source in lessons.sources(ROOT):
        for edition in lessons.EDITIONS:
            took = cost.measured([sys.executable, __file__, "--execute", str(source), edition.name])
            if took.status:
                raise SystemExit(f"{source.stem}, {edition.name}, did not run:\n{took.output}")
            yield {"name": source.stem, "edition": edition.name, **_rounded(took)}


def execute(source: str, edition: str) -> None:
    """The life of a process that runs one notebook; what comes out is not kept."""
    found = next(one for one in lessons.EDITIONS if one.name == edition)
    kernels.execute(lessons.make(Path(source), found), ROOT / found.folder)


def _rounded(took: cost.Cost) -> Row:
    return {"seconds": round(took.seconds, 1), "MiB": round(took.mebibytes)}


# ---------------------------------------------------------------- widgets


def explorers() -> dict[str, Callable[[], Any]]:
    """The widgets that a kernel draws, by name, each made when it is called."""
    from ddpm_edu import widgets

    names = [name for name in widgets.__all__ if name.endswith(("_explorer", "_planner"))]
    return {name: getattr(widgets, name) for name in names if name not in in_browser.MAKERS}


def moved() -> Iterator[Row]:
    """A row a widget: how long it takes to appear, and milliseconds of a move over all its controls."""
    for name, make in explorers().items():
        begun = time.perf_counter()
        box = make()
        appears = time.perf_counter() - begun
        times = {control: move(box, control) for control in box.controls}
        every = [one for found in times.values() for one in found]
        yield {
            "name": name,
            "appears": round(appears, 2),
            "median": round(statistics.median(every), 1),
            "slowest": round(max(every), 1),
            "by control": {control: round(statistics.median(found), 1) for control, found in times.items() if found},
        }


def move(box: Any, name: str) -> list[float]:
    """Milliseconds of each move of one control through its values, and back to where it was."""
    control, times = box.controls[name], list[float]()
    at_first = control.value
    for value in [*values(control), at_first]:
        if value != control.value:
            begun = time.perf_counter()
            control.value = value
            times.append(1000 * (time.perf_counter() - begun))
    return times


def values(control: W.Widget) -> list[Any]:
    """Up to MOVES values of a control, from end to end."""
    if isinstance(control, W.IntSlider):
        every: list[Any] = list(range(control.min, control.max + 1, control.step))
    else:
        every = [option[1] if isinstance(option, tuple) else option for option in control.options]
    count = min(MOVES, len(every))
    return [every[round(i * (len(every) - 1) / max(count - 1, 1))] for i in range(count)]


# ---------------------------------------------------------------- tests


def suites(root: Path = ROOT) -> dict[str, list[str]]:
    """What pytest is given, by name: each folder of tests/, the files beside them, the notebooks."""
    inside = [path.relative_to(root).as_posix() for path in sorted((root / "tests").iterdir())]
    folders = {name: [name] for name in inside if any((root / name).glob("test_*.py"))}
    files = [name for name in inside if Path(name).match("test_*.py")]
    return {**folders, "tests/test_*.py": files, "notebooks": ["notebooks"]}


def tested() -> Iterator[Row]:
    """A row a suite; a test that fails is part of the row, not an end to it."""
    for name, paths in suites().items():
        took = cost.measured([sys.executable, "-m", "pytest", "-q", "--no-header", "--tb=no", *paths], str(ROOT))
        last = took.output.strip().splitlines()[-1:] or [""]
        yield {"name": name, **_rounded(took), "outcome": outcome(last[0])}


def outcome(summary: str) -> str:
    """pytest's last line without its time: "12 passed, 1 skipped"."""
    return summary.strip("= ").rpartition(" in ")[0] or summary


PARTS: dict[str, Callable[[], Iterator[Row]]] = {
    "notebooks": notebooks,
    "widgets": moved,
    "widgets_in_lab": lambda: in_lab.moved(explorers()),
    "widgets_in_browser": in_browser.moved,
    "tests": tested,
}


def main(parts: list[str]) -> None:
    """Measure the parts, print, write."""
    if not parts or set(parts) - set(PARTS):
        raise SystemExit(f"parts are {', '.join(PARTS)}; got {' '.join(parts) or 'none'}")
    for part in parts:
        begun, rows = time.perf_counter(), []
        for row in PARTS[part]():
            rows.append(row)
            print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        about = peers.about(f"operations.py {part}", begun)
        (RESULTS / f"{part}.json").write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--execute"]:
        execute(*sys.argv[2:])
    else:
        main(sys.argv[1:])
