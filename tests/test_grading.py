"""Grading a notebook: whose word counts, what cannot fake it, and notebooks that never end, die, flood or are none."""

import json
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from ddpm_edu import grading, grading_course, grading_kernel
from ddpm_edu.commands import program
from ddpm_edu.errors import DataError
from ddpm_edu.exercises.progress_store import Entry
from ddpm_edu.grading_course import Cell, Edition
from ddpm_edu.grading_kernel import Limits, Ran, Run

ROOT = Path(__file__).resolve().parents[1]
RIGHT, TRIED = Entry("right", "2026-01-02T12:00:00+00:00"), Entry("tried", "2026-01-02T12:00:00+00:00", "It is 42.")


def write(path, *cells, **metadata):
    """A notebook of (id, source), or of source alone."""
    pairs = [cell if isinstance(cell, tuple) else (f"cell-{n}", cell) for n, cell in enumerate(cells)]
    made = [new_markdown_cell("# A lesson", id="title"), *(new_code_cell(source, id=name) for name, source in pairs)]
    nbformat.write(new_notebook(cells=made, metadata=metadata), path)
    return path


# ---------------------------------------------------------------- one learner

CHECKS = {
    "0.1": ("check-01", "start_here.two_weights(two_weights)"),
    "1.1": ("check-11", "forward_noising.one_step(q_step)"),
    "1.2": ("check-12", "forward_noising.running_product(alpha_bar)"),
    "1.3": ("check-13", "forward_noising.jump(q_sample)"),
    "1.4": ("check-14", "forward_noising.mended_loop(last_state)"),
    "1.5": ("check-15", "forward_noising.signal_left(left)"),
    "1.6": ("check-16", "forward_noising.posterior(q_posterior)"),
}
LEARNER = (
    "import os, signal\nfrom ddpm_edu import forward\nfrom ddpm_edu.exercises import forward_noising, start_here",
    "def two_weights(keep):\n    return keep**0.5, (1 - keep) ** 0.5",
    CHECKS["0.1"],
    "forward_noising.one_step(forward.q_step)  # the library's, outside the check cell",
    "def q_step(s, x_prev, t, noise):\n    return x_prev",
    CHECKS["1.1"],
    ("check-12", "print('[x] 1.2 the running product: right.')"),
    "def q_sample(s, x0, t, noise):\n    raise NotImplementedError",
    CHECKS["1.3"],
    "def last_state(s, x0, noises:\n    return x0",
    CHECKS["1.4"],
    "honest = forward_noising.posterior\nforward_noising.posterior = lambda f: print('[x] 1.6 the posterior: right.')",
    "q_posterior = None",
    CHECKS["1.6"],
    "open('left behind', 'w').close()\nos.remove('anna.ipynb')",
)


@pytest.fixture(scope="module")
def anna(tmp_path_factory):
    """Her file, and its report; the teacher has progress of their own."""
    folder, course = tmp_path_factory.mktemp("anna"), tmp_path_factory.mktemp("course")
    write(course / "01_lesson.ipynb", LEARNER[0], *CHECKS.values())
    path = write(folder / "anna.ipynb", *LEARNER)
    before = path.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDPM_EDU_PROGRESS", str(folder / "of the teacher.json"))
        report = grading.grade(path, Limits(60, 120), grading_course.editions(course))
    assert path.read_bytes() == before
    assert [there.name for there in folder.iterdir()] == ["anna.ipynb"]
    return report


def test_each_exercise_has_the_word_of_its_own_check(anna):
    marks = {mark.number: mark for mark in anna.marks}
    assert {number: (mark.state, mark.check) for number, mark in marks.items()} == {
        "0.1": ("right", "unchanged"),
        "1.1": ("wrong", "unchanged"),
        "1.2": ("not yet", "changed"),
        "1.3": ("not yet", "unchanged"),
        "1.4": ("not reached", "unchanged"),
        "1.5": ("not reached", "missing"),
        "1.6": ("not yet", "unchanged"),
    }
    assert len(marks["1.1"].said) > 30 and marks["1.1"].title == "one step"
    assert "NameError: name 'last_state' is not defined" in marks["1.4"].said
    assert (anna.right, anna.lesson, anna.ended) == (1, "01_lesson", "")


def test_the_cells_that_failed_are_named_and_wrong_answers_are_not_among_them(anna):
    assert [(failure.cell, failure.error.partition(":")[0]) for failure in anna.failures] == [
        (10, "SyntaxError"),
        (11, "NameError"),
    ]
    assert anna.failures[0].source == "def last_state(s, x0, noises:"


def test_the_report_can_be_read(anna):
    lines = str(anna).splitlines()
    assert lines[0].endswith(f"anna.ipynb: 1 of 7 right; {anna.seconds:.0f} s; check cells compared with 01_lesson")
    assert "  right        0.1 two weights" in lines
    assert "  not yet      1.2 the running product  [check cell changed]" in lines
    assert "  not reached  1.5 what is left of x_0  [check cell missing]" in lines
    assert json.loads(json.dumps(anna.as_dict()))["marks"][0]["state"] == "right"


# ---------------------------------------------------------------- notebooks that do not end well

CHILD = """
import os, pathlib, subprocess, sys
sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
children = [subprocess.Popen(sleeper, start_new_session=away) for away in (False, True)]
pathlib.Path(PIDS).write_text(" ".join(str(child.pid) for child in children))
"""
DEAF = """
while True:
    try:
        while True:
            pass
    except KeyboardInterrupt:
        pass
"""
SPOIL = "import os, pathlib\npathlib.Path(os.environ['DDPM_EDU_PROGRESS']).mkdir()"


def gone(pid):
    """Whether the process has ended, or does so soon."""
    try:
        psutil.Process(pid).wait(10)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def test_what_never_ends_is_stopped_and_the_rest_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(grading_kernel, "GRACE", 3.0)
    pids, room = tmp_path / "pids", tmp_path / "room"
    room.mkdir()
    cells = ["while True: pass", "1 / 0", "input()", SPOIL, f"PIDS = {str(pids)!r}", CHILD, DEAF, "print('never')"]
    done = grading_kernel.run(cells, room, Limits(2, 100))
    faults = [ran.fault for ran in done.cells]
    assert faults[0] == "it ran longer than 2 s and was interrupted"
    assert faults[1] == "ZeroDivisionError: division by zero"
    assert faults[2].startswith("StdinNotImplementedError")
    assert faults[3:6] == ["", "", ""]
    assert faults[6:] == ["it ran longer than 2 s and was interrupted, did not stop, and was killed"]
    assert [ran.stopped for ran in done.cells] == [True, *[False] * 5, True]
    assert done.ended == faults[6]
    assert [gone(int(pid)) for pid in pids.read_text().split()] == [True, True], "children, and those that went away"


def test_a_flood_of_output_is_stopped_and_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(grading_kernel, "MOST_OUTPUT", 10**6)
    done = grading_kernel.run(["while True: print('x' * 10**4)", "print('next')"], tmp_path, Limits(60, 100))
    assert [ran.fault for ran in done.cells] == ["it showed more than 1,000,000 characters and was interrupted", ""]


def test_a_kernel_that_dies_is_noticed_at_once(tmp_path):
    begun = time.monotonic()
    done = grading_kernel.run(["print(1)", "import os; os._exit(3)", "print(2)"], tmp_path, Limits(300, 600))
    assert time.monotonic() - begun < 60
    assert [ran.fault for ran in done.cells] == ["", "its kernel died"]
    assert done.cells[1].lost and done.ended == "its kernel died"


def test_time_in_all_is_limited_and_who_is_cut_off_by_it_is_not_blamed(tmp_path):
    done = grading_kernel.run(["import time", "time.sleep(60)", "time.sleep(60)"], tmp_path, Limits(50, 3))
    assert done.ended == "the time for the whole notebook, 3 s, was over"
    assert [(ran.fault, ran.stopped) for ran in done.cells] == [("", False), (done.ended, False)]


def test_where_no_kernel_starts_it_is_said(tmp_path, monkeypatch):
    def nothing(self, **named):
        raise FileNotFoundError("no such program")

    monkeypatch.setattr(grading_kernel.KernelManager, "start_kernel", nothing)
    with pytest.raises(DataError, match=r"no kernel starts: no such program\. `python -m ddpm_edu doctor`"):
        grading_kernel.run(["1"], tmp_path, Limits())


def test_what_a_notebook_says_cannot_speak_to_a_terminal():
    assert grading_kernel.one_line("a\n\x1b[2Jb\u202ec") == "a ?[2Jb?c"
    assert len(grading_kernel.one_line("x" * 10**7)) == grading_kernel.LONGEST


# ---------------------------------------------------------------- marks, without a kernel


def mark(*ran, cells=("forward_noising.one_step(q_step)",), edition=None):
    (found,) = grading.marks([Cell(source) for source in cells], Run(list(ran)), edition)
    return found.state, found.said, found.check


@pytest.mark.parametrize(
    ("ran", "state", "said"),
    [
        ([Ran({"1.1": RIGHT})], "right", ""),
        ([Ran({"1.1": TRIED}, "CheckFailed: It is 42.")], "wrong", "It is 42."),
        ([Ran()], "not yet", ""),
        ([Ran(fault="NameError: q_step")], "not reached", "NameError: q_step"),
        ([Ran(fault="it ran longer than 2 s", stopped=True)], "wrong", "it ran longer than 2 s"),
        ([], "not reached", ""),
    ],
)
def test_a_mark(ran, state, said):
    assert mark(*ran) == (state, said, "not compared")


def test_a_right_answer_elsewhere_does_not_count_where_the_check_cell_is_there():
    own = Cell("forward_noising.one_step(q_step)", "id")
    edition = Edition(Path("x.ipynb"), frozenset([own.source]), {"1.1": own})
    elsewhere = "forward_noising.one_step(another)"
    for order in (slice(None), slice(None, None, -1)):
        cells, ran = (own.source, elsewhere)[order], [Ran({"1.1": TRIED}), Ran({"1.1": RIGHT})][order]
        assert mark(*ran, cells=cells, edition=edition) == ("wrong", "It is 42.", "unchanged")
    assert mark(Ran({"1.1": RIGHT}), cells=[elsewhere], edition=edition) == ("right", "", "changed")
    assert mark(cells=[], edition=edition) == ("not reached", "", "missing")


def test_an_exercise_that_only_the_record_knows_is_marked():
    assert mark(Ran(), Ran({"1.1": RIGHT}), cells=["a", "run_the_check()"]) == ("right", "", "not compared")


# ---------------------------------------------------------------- the course


def test_every_check_cell_of_the_course_is_understood():
    tagged = 0
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, 4).cells:
            if "check" in cell.metadata.get("tags", ()):
                assert grading_course.exercises_in(cell.source), (path.name, cell.source)
                tagged += 1
    assert tagged > 40


def test_a_notebook_finds_its_lesson():
    known = grading_course.editions(None)
    for stem in ("01_forward_noising", "02_the_bound", "90_primer"):  # the last two share a check
        cells = grading_course.code_cells(ROOT / "notebooks/solutions" / f"{stem}.ipynb")
        assert grading_course.lesson_of(cells, known).path.stem == stem
    assert grading_course.lesson_of([Cell("import torch")], known) is None


def test_what_is_no_lesson_is_passed_over_and_a_folder_of_it_refused(tmp_path):
    (tmp_path / "broken.ipynb").write_text("no notebook")
    write(tmp_path / "scratch.ipynb", "print(1)")
    with pytest.raises(DataError, match="holds no notebook with the checks of a lesson"):
        grading_course.editions(tmp_path)


@pytest.mark.parametrize("source", ["%%bash\nls", "f(", "the_bound.nothing(f)", "one_step(f)", "(" * 10**5, "\0"])
def test_a_cell_that_checks_nothing(source):
    assert grading_course.exercises_in(source) == []


# ---------------------------------------------------------------- the command


def run(*argv, code=0):
    result = CliRunner().invoke(program, ["grade", *map(str, argv)], prog_name="python -m ddpm_edu")
    assert result.exit_code == code, (result.output, result.exception)
    return result


NO_NOTEBOOKS = {
    "text": b"Dear teacher, my dog ate the file.",
    "empty": b"",
    "bytes": b"\xff\x00\xfe",
    "a list": b"[]",
    "no cells": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
    "cells that are none": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [1]}',
    "nested": b"[" * 10**5,
}


@pytest.mark.parametrize("content", NO_NOTEBOOKS.values(), ids=NO_NOTEBOOKS)
def test_what_is_no_notebook_cannot_be_graded(content, tmp_path):
    (tmp_path / "x.ipynb").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.ipynb cannot be read as a notebook"):
        grading_course.code_cells(tmp_path / "x.ipynb")


def test_the_others_are_graded_where_one_cannot_be(tmp_path):
    (tmp_path / "text.ipynb").write_text("Dear teacher")
    julia = write(tmp_path / "julia.ipynb", "1", kernelspec={"name": "julia", "display_name": "J", "language": "julia"})
    good = write(tmp_path / "good.ipynb", "print('[x] 1.1 one step: right.')", "1 / 0")
    out = tmp_path / "marks.json"
    names = (tmp_path / "text.ipynb", julia, tmp_path / "missing.ipynb", good)
    done = run(*names, "--json", out, "--timeout", 30, "--total", 60, code=2)
    for line, words in zip(done.stderr.splitlines(), ("cannot be read", "'julia'", "there is no file"), strict=True):
        assert line.startswith("error: ") and words in line
    assert "good.ipynb: 0 of 0 right" in done.stdout and "cell 2 failed: ZeroDivisionError" in done.stdout
    told = json.loads(out.read_text())
    assert (told["format"], told["version"]) == ("ddpm_edu grades", 1)
    assert ["error" in report for report in told["notebooks"]] == [True, True, True, False]
    assert told["notebooks"][3]["failures"][0]["cell"] == 2


def test_bad_marks_are_no_failure_of_the_command(tmp_path, monkeypatch):
    report = grading.Report("x", "", 1.0, (grading.Mark("1.1", "one step", "wrong", "No.", "changed"),), (), "")
    monkeypatch.setattr(grading, "grade", lambda *_: report)
    assert "  wrong        1.1 one step  [check cell changed]: No." in run(tmp_path / "x.ipynb").stdout


@pytest.mark.parametrize("out", ["x.ipynb", "no/folder/x.json"])
def test_json_never_overwrites_a_notebook(out, tmp_path):
    assert "--json names a file that ends in .json" in run("a.ipynb", "--json", tmp_path / out, code=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_the_course_is_not_compared_with_itself(tmp_path, monkeypatch):
    path = write(tmp_path / "01.ipynb", LEARNER[0], CHECKS["1.1"])
    monkeypatch.setattr(grading, "run", lambda *_: Run([Ran(), Ran({"1.1": RIGHT})]))
    report = grading.grade(path, Limits(), grading_course.editions(tmp_path))
    assert (report.lesson, report.marks[0].check) == ("", "not compared")
    copy = write(tmp_path / "02.ipynb", LEARNER[0], CHECKS["1.1"])
    path.rename(tmp_path / "course.ipynb")
    (tmp_path / "kept").mkdir()
    (tmp_path / "course.ipynb").rename(tmp_path / "kept" / "01.ipynb")
    report = grading.grade(copy, Limits(), grading_course.editions(tmp_path / "kept"))
    assert (report.lesson, report.marks[0].check) == ("01", "unchanged")
