"""Build the notebooks: notebooks/source/NN_name.py -> learner and solutions editions, executed, outputs kept.

python tools/build.py            both editions of every lesson
python tools/build.py 01_name    of these lessons only
python tools/build.py --check    execute nothing; exit 1 if a notebook does not come from its source
"""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as a script: modules come from the root, and tools/site.py must not stand for Python's own
    sys.path[0] = str(ROOT)

from tools import kernels, lessons  # noqa: E402


def target(root: Path, source: Path, edition: lessons.Edition) -> Path:
    """Where an edition of a lesson is written."""
    return root / edition.folder / f"{source.stem}.ipynb"


def build(root: Path, names: Iterable[str] = ()) -> Iterator[Path]:
    """Write both editions of the named lessons (all if none is named); yields each when done."""
    known = {source.stem: source for source in lessons.sources(root)}
    if unknown := set(names) - set(known):
        raise lessons.LessonError(f"no lesson {sorted(unknown)}; there are {sorted(known)}")
    for name in names or known:
        for edition in lessons.EDITIONS:
            path = target(root, known[name], edition)
            path.parent.mkdir(parents=True, exist_ok=True)
            notebook = kernels.execute(lessons.make(known[name], edition), path.parent)
            path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
            yield path


def identity(notebook: NotebookNode) -> list[tuple[str, str, str, list[str]]]:
    """What must come from the source: type, id, text and tags of each cell, in order."""
    return [(cell.cell_type, cell.id, cell.source, sorted(lessons.tags(cell))) for cell in notebook.cells]


def check(root: Path) -> list[str]:
    """One line for each notebook that is missing, without source, or not what its source gives."""
    problems, expected = [], set()
    for source in lessons.sources(root):
        for edition in lessons.EDITIONS:
            path = target(root, source, edition)
            expected.add(path)
            shown = path.relative_to(root)
            if not path.exists():
                problems.append(f"{shown} is missing: run python tools/build.py {source.stem}")
            elif identity(nbformat.read(path, 4)) != identity(lessons.make(source, edition)):
                problems.append(f"{shown} is not what its source gives: run python tools/build.py {source.stem}")
    present = {path for edition in lessons.EDITIONS for path in (root / edition.folder).glob("*.ipynb")}
    return problems + [f"{path.relative_to(root)} has no source" for path in sorted(present - expected)]


def main() -> int:
    """Read the command line, build or check, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="lessons, e.g. 01_forward_noising (default: all)")
    parser.add_argument("--check", action="store_true", help="compare only, execute nothing")
    given = parser.parse_args()
    try:
        if given.check:
            problems = check(ROOT)
            print(*problems, sep="\n", end="\n" if problems else "")
            return bool(problems)
        start = time.monotonic()
        for path in build(ROOT, given.names):
            print("wrote", path.relative_to(ROOT), flush=True)
        print(f"{time.monotonic() - start:.0f} s")
    except lessons.LessonError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
