"""The training dashboard without a front end: buttons pressed by hand, a real training, and cells beside it."""

import base64
import contextlib
import errno
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import IPython
import pytest
import torch
from IPython.core.events import EventManager, available_events

from ddpm_edu import plots, widgets
from ddpm_edu.errors import ConfigError
from ddpm_edu.exercises import fingerprint
from ddpm_edu.training import alone, live
from ddpm_edu.training.distributed import Team
from ddpm_edu.training.meter import read_log
from ddpm_edu.training.plan_text import duration
from ddpm_edu.widgets import turns
from ddpm_edu.widgets.training_dashboard import NO_KERNEL, Dashboard
from tests.training import runs
from tests.training.runs import TINY, differing

ENDLESS = replace(TINY, steps=1_000_000, decay="constant", save_every=1_000_000)
BLANK = plots.picture(1, 1)[0]
PATIENCE = 60  # seconds, for what takes none


@pytest.fixture(autouse=True)
def quick(request, monkeypatch):
    """Half a second for each picture is saved where nobody looks at them."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(live, "plot", lambda folder: BLANK)


@pytest.fixture
def drawn():
    """For tests that look at pictures."""


@pytest.fixture(scope="module")
def undisturbed():
    """The end of the run that nobody touches."""
    return runs.through()


@pytest.fixture
def notebook(monkeypatch):
    """A notebook's events, IPython's own; calling it runs a cell."""
    shell = SimpleNamespace(events=EventManager(None, available_events))
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)

    def cell(work):
        shell.events.trigger("pre_execute")
        try:
            return work()
        finally:
            shell.events.trigger("post_execute")

    return cell


@contextlib.contextmanager
def dashboard(folder, config=TINY, **options):
    box = widgets.training_dashboard(config, folder, device="cpu", **options)
    try:
        yield box
    finally:
        box.close()
        assert not [thread for thread in threading.enumerate() if thread.name == "training"]


def press(box, *names):
    for name in names:
        box.buttons[name].click()


def said(box):
    return re.sub(r"<[^>]+>", " ", box.readout.value).strip()


def numbers(box):
    return re.sub(r"<[^>]+>", "", box.numbers.value)


def until(true):
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.002)


def at(actions):
    """A watch that does something after certain steps, in the thread that trains."""
    return lambda run: actions.pop(run.step, lambda: None)()


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------- the training


def test_paused_stopped_and_continued_it_is_the_undisturbed_run(tmp_path, undisturbed):
    actions = {5: lambda: press(box, "pause"), 11: lambda: press(box, "stop"), 14: lambda: press(box, "stop")}
    with dashboard(tmp_path, watch=at(actions)) as box:
        assert said(box) == "Nothing is trained yet."
        press(box, "start")
        until(lambda: said(box).startswith("Paused"))
        assert said(box) == "Paused at step 5. Nothing is written: Continue goes on, Stop saves it."
        assert box.buttons["start"].description == "Continue" and numbers(box).startswith("step 5 of 24")
        before = files(tmp_path)
        time.sleep(0.3)
        assert files(tmp_path) == before and box.bar.value == 5, "it stands still, and writes nothing"
        press(box, "start")
        box.wait()
        assert said(box) == "Stopped at step 11; its checkpoint is written." and runs.steps(tmp_path) == [0, 6, 11]
        assert not (tmp_path / "weights.safetensors").exists() and not (tmp_path / ".lock").exists()
        press(box, "start")
        box.wait()
        assert said(box) == "Stopped at step 14; its checkpoint is written.", "the next time it is asked anew"
    with dashboard(tmp_path) as box:  # another day
        assert said(box) == "Step 14 is saved; Continue goes on from there." and box.bar.value == 14
        assert box.buttons["start"].description == "Continue"
        press(box, "start")
        box.wait()
        assert said(box) == "Done: 24 steps; the weights are in weights.safetensors." and box.bar.value == 24
    assert not differing(runs.state(tmp_path), undisturbed)
    assert fingerprint(runs.state(tmp_path)["net"]) == fingerprint(undisturbed["net"])


def test_what_is_stopped_here_goes_on_anywhere(tmp_path, undisturbed):
    with dashboard(tmp_path, watch=at({7: lambda: press(box, "stop")})) as box:
        press(box, "start")
        box.wait()
    assert runs.train(tmp_path).step == 24
    assert not differing(runs.state(tmp_path), undisturbed)


def test_out_of_a_pause_it_can_be_stopped(tmp_path):
    with dashboard(tmp_path, watch=at({5: lambda: press(box, "pause")})) as box:
        press(box, "start")
        until(lambda: said(box).startswith("Paused"))
        press(box, "pause", "stop")
        box.wait()
        assert said(box).startswith("Stopped at step 5;") and runs.steps(tmp_path) == [0, 5]


def test_the_cell_returns_at_once(tmp_path):
    with dashboard(tmp_path, ENDLESS, watch=lambda run: time.sleep(2)) as box:
        begun = time.monotonic()
        press(box, "start")
        assert time.monotonic() - begun < 1  # and a step takes two seconds
        until(lambda: box.bar.value >= 2)
        press(box, "start")  # once more does nothing
        assert sum(thread.name == "training" for thread in threading.enumerate()) == 1


def test_a_pause_does_not_slow_the_images_a_second(tmp_path):
    """The log's next line counts from a time that the pause has moved."""
    since = {}
    with dashboard(
        tmp_path, replace(TINY, log_every=20), watch=lambda run: since.update({run.step: run.meter.since})
    ) as box:
        watch = box._run.watch
        box._run.watch = lambda run: (watch(run), run.step == 6 and press(box, "pause"))
        press(box, "start")
        until(lambda: said(box).startswith("Paused"))
        time.sleep(0.3)
        press(box, "start")
        box.wait()
    assert since[5] == since[6] and since[7] == since[8], "nothing else moves it"
    assert 0.3 < since[7] - since[6] < PATIENCE


def test_buttons_that_have_nothing_to_do_say_so(tmp_path):
    with dashboard(tmp_path) as box:
        press(box, "pause")
        assert said(box) == "Nothing runs that could be paused."
        press(box, "stop")
        assert said(box) == "Nothing runs that could be stopped."


# ---------------------------------------------------------------- cells beside it


def seeded():
    torch.manual_seed(3)
    return torch.randn(3).tolist()


def test_cells_that_draw_change_nothing_and_draw_their_own(tmp_path, notebook, undisturbed):
    """Dropout draws from torch's own generator, as they do: without turns both would come out otherwise."""
    torch.manual_seed(8)
    wanted = [torch.randn(2).tolist() for _ in range(40)]
    drawn, right = [], seeded()
    torch.manual_seed(8)
    with dashboard(tmp_path, watch=lambda run: time.sleep(0.003)) as box:
        press(box, "start")
        while box._run.running and len(drawn) < 39:
            drawn.append(notebook(lambda: torch.randn(2).tolist()))
            time.sleep(0.005)
        assert len(drawn) > 5
        notebook(box.wait)
        drawn.append(torch.randn(2).tolist())
        assert drawn == wanted[: len(drawn)]
    assert not differing(runs.state(tmp_path), undisturbed)
    with dashboard(tmp_path / "seeded", watch=lambda run: time.sleep(0.003)) as box:
        press(box, "start")
        while box._run.running:
            assert notebook(seeded) == right
            time.sleep(0.005)
    assert not differing(runs.state(tmp_path / "seeded"), undisturbed)


def test_while_a_cell_runs_no_step_is_taken(tmp_path, notebook):
    with dashboard(tmp_path, ENDLESS) as box:

        def cell():
            seen = len(taken)
            time.sleep(0.2)
            return len(taken) - seen

        taken = []
        box._run.watch = lambda run: taken.append(run.step)
        press(box, "start")
        until(lambda: len(taken) > 3)
        for _ in range(3):
            assert notebook(cell) == 0
            assert notebook(lambda: notebook(cell)) == 0, "a cell in a cell"
            seen = len(taken)
            until(lambda seen=seen: len(taken) > seen + 2)


def test_a_cell_may_wait_for_it_or_close_it(tmp_path, notebook):
    with dashboard(tmp_path) as box:
        press(box, "start")
        notebook(box.wait)
        assert said(box).startswith("Done")
    with dashboard(tmp_path / "endless", ENDLESS) as box:
        press(box, "start")
        until(lambda: box.bar.value)
        notebook(box.close)
    assert runs.steps(tmp_path / "endless")[-1] > 0


def test_torch_is_in_a_cell_as_it_was_left(tmp_path, notebook):
    """A run that must be repeatable asks torch for it; a cell asks for float64, and for another number of threads."""

    def told():
        return torch.are_deterministic_algorithms_enabled(), torch.get_default_dtype(), torch.get_num_threads()

    before, during = told(), []
    config = replace(ENDLESS, deterministic=True)
    try:
        with dashboard(tmp_path, config, watch=lambda run: during.append(told())) as box:
            press(box, "start")
            until(lambda: len(during) > 2)
            assert notebook(told) == before
            notebook(lambda: (torch.set_default_dtype(torch.float64), torch.set_num_threads(before[2] + 1)))
            seen = len(during)
            until(lambda: len(during) > seen + 2)
            assert notebook(told) == (False, torch.float64, before[2] + 1)
        assert set(during) == {(True, *before[1:])}
        assert told() == (False, torch.float64, before[2] + 1)
    finally:
        torch.set_default_dtype(before[1])
        torch.set_num_threads(before[2])
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def test_two_trainings_at_once_are_each_the_undisturbed_one(tmp_path, undisturbed):
    order = []
    with (
        dashboard(tmp_path / "a", watch=lambda run: order.append("a")) as one,
        dashboard(tmp_path / "b", watch=lambda run: order.append("b")) as other,
    ):
        press(one, "start")
        press(other, "start")
        one.wait()
        other.wait()
    assert "".join(order).count("ab") > 10, "in turn"
    for name in ("a", "b"):
        assert not differing(runs.state(tmp_path / name), undisturbed)


def test_without_a_notebook_there_are_no_cells(monkeypatch):
    monkeypatch.setattr(IPython, "get_ipython", lambda: None)
    turns.follow_cells(turns.Turns())
    monkeypatch.setitem(sys.modules, "IPython", None)
    turns.follow_cells(turns.Turns())


def test_the_end_of_a_cell_whose_beginning_nobody_saw(tmp_path):
    own = turns.Turns()
    own.end_cell()  # the cell that made the widget
    own.take()
    own.give()
    own.begin_cell()
    assert own.wanted
    own.end_cell()
    assert not own.wanted


# ---------------------------------------------------------------- what goes wrong


def test_a_second_training_in_the_folder_is_refused_in_words(tmp_path):
    with dashboard(tmp_path) as box:
        with alone.alone_in(tmp_path, Team(0, 1, runs.CPU)):
            press(box, "start")
            box.wait()
        assert re.match(r"CheckpointError: another training runs in .* Fix: wait until it ends", said(box))
        press(box, "start")
        box.wait()
        assert said(box).startswith("Done") and box.error is None


def test_nan_is_said_with_its_step(tmp_path):
    def spoil():
        next(box.seen.net.parameters()).register_hook(lambda g: g * torch.nan)

    with dashboard(tmp_path, watch=lambda run: setattr(box, "seen", run) or (run.step == 8 and spoil())) as box:
        press(box, "start")
        box.wait()
        assert said(box).startswith("NonFiniteLossError: step 8: the gradient is NaN") and "Fix: lr / 2" in said(box)
        assert box.bar.value == 6 and box.buttons["start"].description == "Continue", "where its checkpoint stands"


def test_a_full_disk_is_said_and_with_room_it_goes_on(tmp_path, undisturbed):
    with dashboard(tmp_path) as box:
        full = mock.patch("os.fsync", side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        box._run.watch = at({8: full.start})
        press(box, "start")
        try:
            box.wait()
        finally:
            full.stop()
        assert said(box).startswith("CheckpointError: ") and "the disk is full" in said(box)
        assert runs.steps(tmp_path) == [0, 6]
        press(box, "start")
        box.wait()
        assert said(box).startswith("Done")
    assert not differing(runs.state(tmp_path), undisturbed)


def test_any_other_error_is_kept_for_who_wants_its_traceback(tmp_path, capsys):
    with dashboard(tmp_path, watch=lambda run: 1 / 0) as box:
        press(box, "start")
        box.wait()
        assert "ZeroDivisionError: division by zero" in said(box) and "raise dashboard.error" in said(box)
        with pytest.raises(ZeroDivisionError):
            raise box.error
    assert capsys.readouterr().err == ""


def test_what_an_error_says_is_text_and_no_html(tmp_path):
    def watch(run):
        raise ValueError("<b>bold</b>")

    with dashboard(tmp_path, watch=watch) as box:
        press(box, "start")
        box.wait()
        assert "&lt;b&gt;bold" in box.readout.value


def test_wrong_arguments_are_refused_at_once(tmp_path):
    with pytest.raises(ConfigError, match=r"must be a TrainConfig, got 'digits-cpu'. Fix: training.presets.by_name"):
        widgets.training_dashboard("digits-cpu", tmp_path)
    with pytest.raises(ConfigError, match=r"no option 'devise'; it has .* Did you mean device\?"):
        widgets.training_dashboard(TINY, tmp_path, devise="cpu")
    with pytest.raises(ConfigError, match="no option 'stop'"):
        widgets.training_dashboard(TINY, tmp_path, stop=None)


# ---------------------------------------------------------------- its end


@pytest.mark.parametrize("paused", [False, True])
def test_closing_it_stops_the_training_with_a_checkpoint(tmp_path, paused):
    with dashboard(tmp_path, ENDLESS) as box:
        press(box, "start")
        until(lambda: box.bar.value > 3)
        if paused:
            press(box, "pause")
            until(lambda: said(box).startswith("Paused"))
        box.close()
        assert not [thread for thread in threading.enumerate() if thread.name == "training"]
        assert len(runs.steps(tmp_path)) == 2 and said(box).startswith("Stopped")


SCRIPT = """
import sys, time
from ddpm_edu import widgets
from tests.widgets.test_training_dashboard import ENDLESS

box = widgets.training_dashboard(ENDLESS, sys.argv[1], device="cpu")
box.start()
while box.bar.value < 3:
    time.sleep(0.01)
"""


def test_a_process_that_ends_takes_its_training_along_with_a_checkpoint(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and done.stderr == ""
    assert runs.steps(tmp_path)[-1] >= 3 and not (tmp_path / ".lock").exists()


# ---------------------------------------------------------------- what is shown


class Clock:
    """A clock that is moved by hand."""

    now = 0.0

    def __call__(self):
        return self.now


def test_numbers_and_picture_are_renewed_now_and_then(tmp_path, drawn):
    clock, shown = Clock(), []
    box = Dashboard(TINY, tmp_path, 5.0, {"device": "cpu"}, clock)

    def watch(run):
        clock.now += 0.25
        shown.append((run.step, box.bar.value, box.image.value))

    box._run.watch = watch
    press(box, "start")
    box.wait()
    steps = [value for _, value, _ in shown]
    assert steps[:8] == [0, 0, 2, 2, 4, 4, 6, 6], "every half second, seen at the step after"
    pictures = [picture for _, _, picture in shown]
    changes = [step for step, one, other in zip(range(2, 25), pictures, pictures[1:], strict=False) if one != other]
    assert changes == [21], "after five seconds, which is step 20"
    assert box.image.value == live.plot(tmp_path).png(), "and at the end"
    box.close()


def test_the_numbers_are_those_of_the_log(tmp_path):
    with dashboard(tmp_path, watch=at({18: lambda: press(box, "pause")})) as box:
        assert numbers(box) == "step 0 of 24; loss and speed follow at step 4"
        press(box, "start")
        until(lambda: said(box).startswith("Paused"))
        line = read_log(tmp_path / "log.jsonl")[-1]
        assert line["step"] == 16
        left = 6 * TINY.batch / line["images_per_second"]
        speed = f"{line['images_per_second']:,.0f} images/s"
        assert numbers(box) == f"step 18 of 24, loss {line['loss']:.4f}, {speed}, {duration(left)} left"
        assert box.bar.max == 24 and box.bar.value == 18


def test_the_newest_sheet_of_samples_is_shown_where_there_is_one(tmp_path):
    with dashboard(tmp_path, replace(TINY, sample_every=10)) as box:
        assert box.sheet.layout.display == "none"
        press(box, "start")
        box.wait()
        assert box.sheet.layout.display == ""
        assert box.sheet.value == (tmp_path / "samples/step-00000020.png").read_bytes()
    with dashboard(tmp_path) as box:
        assert box.sheet.value == (tmp_path / "samples/step-00000020.png").read_bytes(), "also on another day"


def test_the_stored_output_is_a_picture_of_the_log_or_says_that_there_is_none(tmp_path, drawn):
    for _ in range(2):
        with dashboard(tmp_path / "run") as box:
            data, _ = box._repr_mimebundle_()
            assert data["text/plain"] == NO_KERNEL
            assert base64.b64decode(data["image/png"]) == live.plot(tmp_path / "run").png()
            assert not (tmp_path / "run").exists() or (tmp_path / "run/log.jsonl").exists(), "looking makes nothing"
            box.start()
            box.wait()


def test_all_of_it_has_names_and_is_said_aloud(tmp_path):
    with dashboard(tmp_path) as box:
        assert [button.description for button in box.buttons.values()] == ["Start", "Pause", "Stop"]
        assert all(button.tooltip and not button.disabled for button in box.buttons.values())
        assert box.bar.description == "steps"
        assert 'role="status" aria-live="polite"' in box.readout.value
        assert "role" not in box.numbers.value, "what changes all the time is not read out"
