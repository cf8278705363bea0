"""Progress: what checks record, that nothing on the way can break a check, and what a learner sees of it."""

import ast
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

import ddpm_edu
from ddpm_edu.commands import program
from ddpm_edu.exercises import CheckFailed, frame, progress, progress_page, progress_store
from ddpm_edu.exercises.frame import call, check
from ddpm_edu.exercises.progress_store import Entry
from tools import kernels

RIGHT = Entry("right", "2026-01-02T12:00:00+00:00")
TRIED = Entry("tried", "2026-03-04T12:00:00+00:00", "It is 42.")


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Where progress goes in this test; in a folder that is not there yet."""
    path = tmp_path / "new" / "p.json"
    monkeypatch.setenv(progress_store.VARIABLE, str(path))
    monkeypatch.setattr(progress_store, "_said", set())
    return path


@pytest.fixture
def the_answer(monkeypatch):
    """A check of an exercise that is not in the course."""
    monkeypatch.setattr(frame, "EXERCISES", {})

    @check("9.9 the <answer>")
    def the_answer(f):
        if call(f) != 42:
            raise CheckFailed("It is 42.")

    return the_answer


def right():
    return 42


def wrong():
    return 41


def blank():
    raise NotImplementedError


def refused(the_check):
    with pytest.raises(CheckFailed, match=r"^It is 42\.$"):
        the_check(wrong)


# ---------------------------------------------------------------- what is recorded


def test_a_blank_records_nothing_a_wrong_answer_that_it_was_tried_a_right_one_that_it_is_right(file, the_answer):
    the_answer(blank)
    assert not file.exists()
    refused(the_answer)
    assert progress_store.read()["9.9"].state == "tried"
    assert progress_store.read()["9.9"].said == "It is 42."
    the_answer(right)
    assert progress_store.read()["9.9"].state == "right"
    assert progress_store.read()["9.9"].said == ""


def test_the_first_right_answer_has_the_date(file, the_answer):
    file.parent.mkdir()
    file.write_text(progress_store._text({"9.9": RIGHT}))
    the_answer(right)
    refused(the_answer)
    assert progress_store.read() == {"9.9": RIGHT}
    file.write_text(progress_store._text({"9.9": TRIED}))
    the_answer(right)
    assert progress_store.read()["9.9"].when > TRIED.when


def test_the_librarys_function_is_no_answer(file, the_answer):
    frame.or_library(blank, right)
    the_answer(right)
    frame._handed_out.remove(right)
    assert not file.exists()


def test_what_a_check_prints_is_what_it_always_was(file, the_answer, capfd):
    the_answer(blank)
    refused(the_answer)
    the_answer(right)
    out, err = capfd.readouterr()
    assert out.splitlines() == [
        "[ ] 9.9 the <answer>: not yet. Fill in the blank above, run it, then run this cell again.",
        "[x] 9.9 the <answer>: right.",
    ]
    assert err == ""


def test_off_stores_nothing(file, the_answer, monkeypatch):
    monkeypatch.setenv(progress_store.VARIABLE, "OFF")
    the_answer(right)
    assert not file.parent.exists() and progress_store.file() is None
    assert "DDPM_EDU_PROGRESS is off" in repr(progress())


def test_tests_and_builds_do_not_write_a_persons_file():
    assert os.environ[progress_store.VARIABLE] == "off", "conftest.py"
    assert kernels.ENVIRONMENT[progress_store.VARIABLE] == "off"


@pytest.mark.parametrize(
    ("platform", "variables", "where"),
    [
        ("linux", {}, "HOME/.local/share/ddpm_edu/progress.json"),
        ("linux", {"XDG_DATA_HOME": "HOME/xdg"}, "HOME/xdg/ddpm_edu/progress.json"),
        ("linux", {"XDG_DATA_HOME": "relative"}, "HOME/.local/share/ddpm_edu/progress.json"),
        ("darwin", {"XDG_DATA_HOME": "HOME/xdg"}, "HOME/Library/Application Support/ddpm_edu/progress.json"),
        ("win32", {"LOCALAPPDATA": "HOME/local"}, "HOME/local/ddpm_edu/progress.json"),
        ("win32", {}, "HOME/AppData/Local/ddpm_edu/progress.json"),
        ("linux", {"DDPM_EDU_PROGRESS": "~/mine.json"}, "HOME/mine.json"),
        ("linux", {"DDPM_EDU_PROGRESS": " "}, "HOME/.local/share/ddpm_edu/progress.json"),
    ],
)
def test_where_it_is_stored(platform, variables, where, monkeypatch, tmp_path):
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", progress_store.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**variables, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}.items():
        monkeypatch.setenv(name, value.replace("HOME", str(tmp_path)))
    monkeypatch.setattr(progress_store.sys, "platform", platform)
    assert progress_store.file() == Path(where.replace("HOME", str(tmp_path)))


# ---------------------------------------------------------------- two kernels


WRITES = """
import sys
from ddpm_edu.exercises import progress_store
input()
for n in range(40):
    progress_store.record(f"{sys.argv[1]}.{n}", "right")
"""


def test_two_kernels_do_not_lose_each_others_entries(file):
    command = [sys.executable, "-c", WRITES]
    both = [subprocess.Popen([*command, name], stdin=subprocess.PIPE, stderr=subprocess.PIPE) for name in "ab"]
    for one in both:
        one.stdin.write(b"go\n")
        one.stdin.flush()
    assert [one.communicate(timeout=60)[1] for one in both] == [b"", b""]
    assert set(progress_store.read()) == {f"{name}.{n}" for name in "ab" for n in range(40)}
    assert {path.name for path in file.parent.iterdir()} == {file.name, f".{file.name}.lock"}


def test_a_lock_that_nobody_gives_back_does_not_hold_a_check(file, the_answer, monkeypatch):
    monkeypatch.setattr(progress_store, "PATIENCE", 0.1)
    file.parent.mkdir()
    with progress_store._locked(file):
        the_answer(right)
    assert progress_store.read()["9.9"].state == "right"


# ---------------------------------------------------------------- what is wrong with the file

GOOD = json.loads(progress_store._text({"1.1": RIGHT}))
BAD = {
    "empty": b"",
    "cut": progress_store._text({"1.1": RIGHT}).encode()[:-20],
    "bytes": b"\xff\xfe\x00",
    "a list": b"[]",
    "another program's": b'{"format": "something", "version": 1, "exercises": {}}',
    "no version": json.dumps({**GOOD, "version": "1"}).encode(),
    "no exercises": json.dumps({**GOOD, "exercises": []}).encode(),
    "another state": json.dumps({**GOOD, "exercises": {"1.1": {"state": "perfect", "when": RIGHT.when}}}).encode(),
    "no date": json.dumps({**GOOD, "exercises": {"1.1": {"state": "right", "when": "yesterday"}}}).encode(),
    "no entry": json.dumps({**GOOD, "exercises": {"1.1": None}}).encode(),
    "nested": b"[" * 100_000,
    "too long": b" " * (progress_store.MOST_BYTES + 1),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_a_file_that_cannot_be_ours_is_moved_aside(content, file, the_answer, capfd):
    file.parent.mkdir()
    for n in (1, 2):
        file.write_bytes(content)
        the_answer(right)
        assert set(progress_store.read()) == {"9.9"}
        assert file.with_name(f"p.json.corrupt-{n}").read_bytes() == content
    _, err = capfd.readouterr()
    assert [n for n, line in enumerate(err.splitlines(), 1) if f"It is now p.json.corrupt-{n}" in line] == [1, 2]


def test_a_file_of_a_later_version_is_left_alone(file, the_answer, capfd):
    file.parent.mkdir()
    file.write_text(json.dumps({**GOOD, "version": 2}))
    before = file.read_bytes()
    the_answer(right)
    assert file.read_bytes() == before and "later version" in capfd.readouterr().err
    assert progress_store.read() == {}


def unwritable(file):
    file.parent.write_text("a file where the folder should be")


def a_folder(file):
    file.mkdir(parents=True)


def a_pipe(file):
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    file.parent.mkdir()
    os.mkfifo(file)


def homeless(file):
    os.environ[progress_store.VARIABLE] = "~nobody-of-this-name/p.json"  # the fixture puts it back


@pytest.mark.parametrize("spoil", [unwritable, a_folder, a_pipe, homeless])
def test_where_nothing_can_be_written_a_check_goes_on(spoil, file, the_answer, capfd):
    spoil(file)
    for _ in range(3):
        the_answer(right)
        refused(the_answer)
    out, err = capfd.readouterr()
    assert out.count("[x]") == 3
    (line,) = err.splitlines()
    assert "your progress is not kept" in line and "DDPM_EDU_PROGRESS=off" in line
    assert "0 of 1 right" in repr(progress())


def test_a_disk_that_is_full_keeps_the_old_file(file, the_answer, monkeypatch, capfd):
    progress_store.record("1.1", "right")
    before = file.read_bytes()
    monkeypatch.setattr(progress_store.whole, "write", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    the_answer(right)
    assert file.read_bytes() == before
    assert "no space left" in capfd.readouterr().err


# ---------------------------------------------------------------- which exercises there are


def titles_in_sources():
    """The titles given to @check in the files, read without importing them."""
    found = []
    for path in Path(ddpm_edu.__file__).parent.glob("exercises/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                calls = [d for d in node.decorator_list if isinstance(d, ast.Call)]
                found += [d.args[0].value for d in calls if isinstance(d.func, ast.Name) and d.func.id == "check"]
    return found


def test_every_check_of_the_course_is_an_exercise_with_a_number_of_its_own():
    titles = titles_in_sources()
    known = progress_page.all_exercises()
    assert len(titles) > 40
    for title in titles:
        number, _, name = title.partition(" ")
        assert known[number].title == name
    assert len({title.partition(" ")[0] for title in titles}) == len(titles)


def test_a_title_without_a_number_is_taken_as_it_is(monkeypatch):
    monkeypatch.setattr(frame, "EXERCISES", {})
    check("the answer")(right)
    assert [(e.number, e.title, e.lesson) for e in frame.EXERCISES.values()] == [("the answer",) * 3]


# ---------------------------------------------------------------- what is shown


def exercises(*titles):
    named = [title.split(" ", 1) for title in titles]
    return {number: frame.Exercise(number, title, lambda f: None) for number, title in named}


@pytest.fixture
def page():
    stored = {"1.2": RIGHT, "2.1": TRIED, "7.7": RIGHT}
    known = exercises("1.10 ten", "1.2 two <b>", "2.1 one", "A.1 a lab", "1.3 three")
    return progress_page.Progress(tuple(progress_page.rows(known, stored)), "Stored here & there")


def test_in_a_terminal_it_is_text(page):
    assert repr(page).splitlines() == [
        f"Your progress: [####{'-' * 16}]  1 of 5 right",
        "",
        f"Lesson 1  [######{'-' * 14}]  1 of 3 right",
        "  right    2026-01-02  1.2 two <b>",
        "  not yet              1.3 three",
        "  not yet              1.10 ten",
        "",
        f"Lesson 2  [{'-' * 20}]  0 of 1 right",
        "  tried    2026-03-04  2.1 one",
        "",
        f"Lesson A  [{'-' * 20}]  0 of 1 right",
        "  not yet              A.1 a lab",
        "",
        "Stored here & there",
    ]


def elements(page):
    return ET.fromstring(page._repr_html_())  # noqa: S314 (ours; that it parses shows that all is escaped)


def test_in_a_notebook_it_is_a_table(page):
    root = elements(page)
    heads = [(th.get("scope"), "".join(th.itertext())) for th in root.iter("th")]
    assert heads[:5] == [
        ("col", "Exercise"), ("col", "State"), ("col", "When"), ("rowgroup", "Lesson 1"), ("row", "1.2 two <b>"),
    ]  # fmt: skip
    rows = [["".join(cell.itertext()) for cell in tr] for tr in root.iter("tr")]
    assert ["1.2 two <b>", "right", "2026-01-02"] in rows and ["2.1 one", "tried", "2026-03-04"] in rows
    assert ["1.3 three", "not yet", ""] in rows
    assert "".join(root.find("table/caption").itertext()) == "Exercises by lesson"


def test_its_bars_speak(page):
    bars = [e for e in elements(page).iter() if e.get("role") == "progressbar"]
    said = [[bar.get(f"aria-{name}") for name in ("label", "valuemin", "valuenow", "valuemax")] for bar in bars]
    assert said == [
        ["all lessons", "0", "1", "5"], ["Lesson 1", "0", "1", "3"], ["Lesson 2", "0", "0", "1"],
        ["Lesson A", "0", "0", "1"],
    ]  # fmt: skip
    assert bars[1].get("aria-valuetext") == "1 of 3 right" and "width: 33%" in bars[1][0].get("style")


class Styles(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name == "style"]
        assert tag not in ("style", "script", "font")


def test_it_takes_its_colours_from_the_page(page):
    styles = Styles()
    styles.feed(page._repr_html_())
    rules = [rule.strip() for style in styles.found for rule in style.split(";")]
    colours = {rule for rule in rules if rule.startswith(("color", "background", "border"))}
    assert colours == {"color: inherit", "background: currentColor", "border: 1px solid currentColor"}


def test_no_exercises_at_all_is_no_error():
    empty = progress_page.Progress((), "")
    assert "0 of 0 right" in repr(empty) and "0 of 0 right" in empty._repr_html_()


# ---------------------------------------------------------------- the command


def run(*argv, answer=None, code=0):
    result = CliRunner().invoke(program, ["progress", *argv], input=answer, prog_name="python -m ddpm_edu")
    assert result.exit_code == code, result.output
    return result.output


def test_the_command_prints_the_table(file):
    progress_store.record("1.1", "right")
    printed = run()
    assert "Lesson 1  [###" in printed and "1.1 one step" in printed and str(file) in printed


def test_reset_asks_and_keeps_the_old_file_beside(file):
    progress_store.record("1.1", "right")
    before = file.read_bytes()
    assert "Nothing was changed" in run("--reset", answer="n\n")
    assert "--yes says that you mean it" in run("--reset", answer="", code=2)
    assert file.read_bytes() == before
    assert "p.json.reset-1" in run("--reset", answer="y\n")
    assert progress_store.read() == {}
    assert file.with_name("p.json.reset-1").read_bytes() == before
    progress_store.record("1.1", "tried")
    assert "p.json.reset-2" in run("--reset", "--yes")
    assert "nothing to reset" in run("--reset", "--yes")
