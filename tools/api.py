"""Pages of the reading site that say what the package offers, from its docstrings: one a module, or a package."""

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

# Who learns or builds on the package does not call these: the command line says itself what it does, and the checks
# of single exercises are called by their pages.
LEFT_OUT = ("__main__", "cli", "commands")
OF_EXERCISES = ("derivation", "fingerprints", "frame", "progress", "quiz")
GROUPS = {
    "The mathematics": ("schedules", "forward", "reverse", "parameterization", "losses", "elbo"),
    "Known in closed form": ("closed_form", "oracles"),
    "Networks, training, sampling": ("models", "training", "sampling", "metrics", "cpu"),
    "Data, pictures, widgets": ("data", "plots", "diagram", "widgets"),
}
OTHERS = "Around the course"
INDEX = """\
Package reference
=================

Every public module, from its docstrings. Time is the paper's, t = 1..T, and tables begin with an entry for t = 0, the
clean image; images are float, (N, C, H, W), in [-1, 1]; randomness comes in through a generator. An input that does not
fit raises a :class:`ddpm_edu.errors.DDPMError`.
"""


def write(package: Path, folder: Path) -> None:
    """Write ``folder``/index.rst and a page for each module and each package right below ``package``."""
    folder.mkdir(parents=True)
    summaries = {}
    for path in sorted(package.iterdir()):
        modules = list(_modules(path, package.name))
        if not modules:
            continue
        (folder / f"{path.stem}.rst").write_text(_page(modules), encoding="utf-8")
        summaries[path.stem] = _summary(path)
    (folder / "index.rst").write_text(INDEX + _index(summaries), encoding="utf-8")


def _index(summaries: dict[str, str]) -> str:
    """A table a group, what each page is about, and the pages for the side bar in the same order."""
    grouped = {name for names in GROUPS.values() for name in names}
    groups = GROUPS | {OTHERS: tuple(name for name in summaries if name not in grouped)}
    parts = []
    for title, names in groups.items():
        rows = "".join(f"   * - :doc:`{name}`\n     - {summaries[name]}\n" for name in names)
        parts.append(f"\n{title}\n{'-' * len(title)}\n\n.. list-table::\n   :widths: 25 75\n\n{rows}")
    pages = "".join(f"   {name}\n" for names in groups.values() for name in names)
    return "".join(parts) + f"\n.. toctree::\n   :hidden:\n\n{pages}"


def _summary(path: Path) -> str:
    """The first sentence of a module's or package's docstring."""
    source = path if path.suffix == ".py" else path / "__init__.py"
    said = (ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
    sentence = re.split(r"(?<!Eq)\.\s(?=[A-Z])", " ".join(said.split()))[0].rstrip(".:")
    return " ".join(as_text([sentence]))


def _modules(path: Path, package: str) -> Iterator[tuple[str, bool]]:
    """(dotted name, whether it is a package) of what belongs on the page of a module or package."""
    name = f"{package}.{path.stem}"
    if path.stem.startswith("_") or path.stem in LEFT_OUT:
        return
    if path.suffix == ".py":
        yield name, False
    elif (path / "__init__.py").exists():
        yield name, True
        for module in sorted(path.glob("[!_]*.py")):
            if path.stem != "exercises" or module.stem in OF_EXERCISES:
                yield f"{name}.{module.stem}", False


def _page(modules: list[tuple[str, bool]]) -> str:
    parts = []
    for i, (name, is_package) in enumerate(modules):
        title, line = name.partition(".")[2], "=" if i == 0 else "-"
        # Of a package what it defines itself; what it hands on stands with the module that has it.
        own = "\n   :ignore-module-all:" if is_package else ""
        parts.append(f"{title}\n{line * len(title)}\n\n.. automodule:: {name}\n   :members:{own}\n")
    return "\n".join(parts)


# Literals and references, which may go on in the next line, and emphasis: stars that touch a word on the inside only.
MARKUP = re.compile(r"(``[^`]+``|:\w+:`[^`]+`|\*\*[^\s*][^*\n]*\*\*|(?<![\w*])\*[^\s*](?:[^*\n]*[^\s*])?\*(?![\w*]))")
BULLET = re.compile(r"^\s*[-*] ", re.MULTILINE)


def as_text(lines: list[str]) -> list[str]:
    """A docstring as reStructuredText that shows it as it was written.

    Ours are plain text with ASCII maths, where |x|, x_t and * mean what they say; literals, references to functions,
    emphasis, lists and indented blocks are marked up as usual, and an indented block after a colon keeps its lines.
    """
    shown: list[str] = []
    for literal, part in itertools.groupby(_with_blocks(lines), key=_Inside()):
        text = "\n".join(part)
        shown += (text if literal else "".join(map(_escaped, MARKUP.split(text)))).split("\n")
    return shown


class _Inside:
    """Asked line by line: whether it stands in a literal block, which is what is indented after two colons."""

    def __init__(self) -> None:
        self.opened = False

    def __call__(self, line: str) -> bool:
        if self.opened and line.strip() and not line.startswith(" "):
            self.opened = False
        before, self.opened = self.opened, self.opened or line.rstrip().endswith("::")
        return before


def _with_blocks(lines: list[str]) -> list[str]:
    """A colon before an indented block becomes two, which is how a literal block begins."""
    found = list(lines)
    for i, (line, after, block) in enumerate(zip(lines, lines[1:], lines[2:], strict=False)):
        opens = line.rstrip().endswith(":") and not line.rstrip().endswith("::") and not line.startswith(" ")
        if opens and not after.strip() and block.startswith("    "):
            found[i] = line.rstrip() + ":"
    return found


def _escaped(part: str) -> str:
    """What is no markup, so that none of it is taken for any."""
    if MARKUP.fullmatch(part):
        return part
    bullets = BULLET.findall(part)
    rest = [re.sub(r"([\\*|_`])", r"\\\1", text) for text in BULLET.split(part)]
    return "".join(itertools.chain(*itertools.zip_longest(rest, bullets, fillvalue="")))
