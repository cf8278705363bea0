"""What the package says when it refuses: read from its source, so that no message is forgotten.

Whether a message is true is tested where its error is; here, that it tells what was given and what to do.
"""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

import ddpm_edu
from ddpm_edu import errors

PACKAGE = Path(ddpm_edu.__file__).parent
FAMILY = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.DDPMError)}
FAMILY.add("DamagedCheckpointError")
HINT = re.compile(
    r"Fix: |Did you mean|Usual cause: |\bmust (be|lie)\b|\blies in\b|>= 1|or later|\bneeds\b|there are |such as "
)
"""The fix in so many words, or what is allowed, from which it follows."""

OWED = {
    "is damaged: ": "where it matters, in newest(), the one before is taken or the fix is said",
    "cannot be read (": "as above",
    "is no checkpoint of this program, and nothing in it was run": "whoever wrote it knows why",
    "betas are two numbers": "says what is allowed",
    "an average stands twice": "the fix is plain",
    "this is no training configuration": "the cause says what",
    "the checkpoint has the averages": "the caller says the fix: _go_on in state",
    "in the checkpoint is of another network": "as above",
    "a training has no setting": "lists all of them",
    "is of no training that this version knows": "the cause says what",
    "has no labels, and the network wants": "says both numbers",
    "label_dropout hides labels": "the value is in no doubt: any but 0",
}
"""Messages without a value or a hint, by a part of them, and why they may."""


class Message(NamedTuple):
    where: str
    text: str
    has_value: bool


def messages(source: str, where: str) -> list[Message]:
    """The messages of all errors of the family that a module raises."""
    tree = ast.parse(source)
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name = getattr(node.exc.func, "id", getattr(node.exc.func, "attr", ""))
            if name in FAMILY:
                text, has_value = told(node.exc.args[0], functions) if node.exc.args else ("", False)
                found.append(Message(f"{where}:{node.lineno}", text, has_value))
    return found


def told(node: ast.expr, functions: dict[str, ast.FunctionDef]) -> tuple[str, bool]:
    """The constant part of a message, and whether a value stands in it; of one made by a function, that function's."""
    if isinstance(node, ast.Constant):
        return str(node.value), False
    if isinstance(node, ast.JoinedStr):
        constants = [str(part.value) for part in node.values if isinstance(part, ast.Constant)]
        return "{}".join(constants), len(constants) < len(node.values)
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in functions:
        inside = ast.walk(functions[node.func.id])
        return " ".join(str(part.value) for part in inside if isinstance(part, ast.Constant)), True
    raise AssertionError(f"a message that this test cannot read: {ast.unparse(node)}")


def faults(found: list[Message], owed: dict[str, str]) -> list[str]:
    bad = [m for m in found if not m.has_value or not HINT.search(m.text)]
    return [f"{m.where}: {m.text}" for m in bad if not any(part in m.text for part in owed)]


TRAINING = [m for path in sorted((PACKAGE / "training").glob("*.py")) for m in messages(path.read_text(), path.name)]


def test_every_message_of_training_has_the_value_and_a_hint():
    assert len(TRAINING) > 50
    assert faults(TRAINING, OWED) == []


def test_no_excuse_is_left_over():
    without = faults(TRAINING, {})
    assert [part for part in OWED if not any(part in fault for fault in without)] == []


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ('raise ConfigError(f"{x} is wrong. Fix: y.")', False),
        ('raise ConfigError(f"x must be 1, got {x}.")', False),
        ('raise ConfigError(f"{x} is wrong.")', True),
        ('raise ConfigError("x is wrong. Fix: y.")', True),
        ("raise ConfigError()", True),
        ('raise errors.DataError(f"{x} is wrong.")', True),
        ('def why(x):\n    return f"{x} is wrong. Fix: y."\nraise DataError(why(x))', False),
        ('def why(x):\n    return f"{x} is wrong."\nraise DataError(why(x))', True),
        ('raise KeyError("x")', False),
    ],
)
def test_the_search_sees_what_it_looks_for(source, fault):
    assert bool(faults(messages(source, "here"), {})) is fault


def asserts(source: str) -> list[int]:
    """The lines with an assert that does not say why it may stand in a program that is also run with -O."""
    lines, tree = source.splitlines(), ast.parse(source)
    places = [(node.lineno, node.end_lineno) for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    return [a for a, b in places if not re.search(r"# noqa: S101 \(.+\)", "\n".join(lines[a - 1 : b]))]


def test_no_assert_stands_for_an_error():
    assert {p.name: found for p in PACKAGE.rglob("*.py") if (found := asserts(p.read_text()))} == {}


def test_an_assert_would_be_seen():
    assert asserts("x = 1\nassert x\nassert x  # noqa: S101 (for the type checker)\nassert x  # noqa: S101\n") == [2, 4]
