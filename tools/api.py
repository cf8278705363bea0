"""Pages of the reading site that say what the package offers, from its docstrings: one a module, or a package."""

import re
from collections.abc import Iterator
from pathlib import Path

# Who learns or builds on the package does not call these: the command line says itself what it does, and the checks
# of single exercises are called by their pages.
LEFT_OUT = ("__main__", "cli", "commands")
OF_EXERCISES = ("derivation", "fingerprints", "frame", "progress", "quiz")
INDEX = """\
Package reference
=================

Every public module, from its docstrings. Time is the paper's, t = 1..T, and tables begin with an entry for t = 0, the
clean image; images are float, (N, C, H, W), in [-1, 1]; randomness comes in through a generator. An input that does not
fit raises a :class:`ddpm_edu.errors.DDPMError`.

.. toctree::
   :maxdepth: 1

"""


def write(package: Path, folder: Path) -> None:
    """Write ``folder``/index.rst and a page for each module and each package right below ``package``."""
    folder.mkdir(parents=True)
    entries = []
    for path in sorted(package.iterdir()):
        modules = list(_modules(path, package.name))
        if not modules:
            continue
        (folder / f"{path.stem}.rst").write_text(_page(modules), encoding="utf-8")
        entries.append(f"   {path.stem}\n")
    (folder / "index.rst").write_text(INDEX + "".join(entries), encoding="utf-8")


def _modules(path: Path, package: str) -> Iterator[tuple[str, bool]]:
    """(dotted name, whether its members are listed) of what belongs on the page of a module or package."""
    name = f"{package}.{path.stem}"
    if path.stem.startswith("_") or path.stem in LEFT_OUT:
        return
    if path.suffix == ".py":
        yield name, True
    elif (path / "__init__.py").exists():
        yield name, False  # it only hands on what its modules have
        for module in sorted(path.glob("[!_]*.py")):
            if path.stem != "exercises" or module.stem in OF_EXERCISES:
                yield f"{name}.{module.stem}", True


def _page(modules: list[tuple[str, bool]]) -> str:
    parts = []
    for i, (name, members) in enumerate(modules):
        line = "=" if i == 0 else "-"
        listed = "\n   :members:" if members else ""
        parts.append(f"{name}\n{line * len(name)}\n\n.. automodule:: {name}{listed}\n")
    return "\n".join(parts)


MARKUP = re.compile(r"(``[^`]+``|:\w+:`[^`]+`)")


def as_text(lines: list[str]) -> list[str]:
    """A docstring as reStructuredText that shows it as it was written.

    Ours are plain text with ASCII maths, where |x|, x_t and * mean what they say; literals, references to functions,
    lists and indented blocks are marked up as usual.
    """
    shown, literal = [], False
    for line in lines:
        if literal and line.strip() and not line.startswith(" "):
            literal = False
        shown.append(line if literal else "".join(_escaped(part) for part in MARKUP.split(line)))
        literal = literal or line.rstrip().endswith("::")
    return shown


def _escaped(part: str) -> str:
    if MARKUP.fullmatch(part):
        return part
    bullet, rest = re.fullmatch(r"(\s*(?:[-*] )?)(.*)", part, re.DOTALL).groups()  # type: ignore[union-attr]
    return bullet + re.sub(r"([\\*|_`])", r"\\\1", rest)
