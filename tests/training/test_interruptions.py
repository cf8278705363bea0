"""SIGTERM and Ctrl-C, for real: the step is finished, a checkpoint written, and the process leaves by itself."""

import os
import signal
import threading
import time
from dataclasses import replace

import pytest

from ddpm_edu.training.interruptions import StopRequest
from tests.training import faults, runs
from tests.training.runs import TINY, differing

ENDLESS = replace(TINY, steps=1_000_000, decay="constant", save_every=1_000_000)
BOTH = (signal.SIGTERM, signal.SIGINT)


def asked_to_stop(number, out):
    """How a child ends that trains for ever and is sent this signal, and how long after."""
    mark, sent = out / "step 3", []

    def watch(run):
        if run.step == 3:
            mark.touch()

    def due():
        if mark.exists():
            sent.append(time.monotonic())
        return bool(sent)

    ended = faults.forked(lambda: print(tuple(runs.train(out, ENDLESS, watch=watch))), due, number)
    return ended, time.monotonic() - sent[0]


@pytest.mark.parametrize("number", BOTH)
def test_it_finishes_the_step_saves_and_leaves(number, tmp_path):
    ended, seconds = asked_to_stop(number, tmp_path)
    assert ended.well and seconds < 60, ended
    step, weights, by = ended.text.strip("()\n").split(", ")
    assert int(step) >= 3 and weights == "None" and int(by) == number
    assert runs.steps(tmp_path) == [0, int(step)], "and nothing was to be saved otherwise"
    further = replace(ENDLESS, steps=int(step) + 3)
    runs.train(tmp_path, further)
    assert not differing(runs.state(tmp_path), runs.through(further))


def test_within_a_step_it_waits_for_its_end(tmp_path):
    """Here in this process: the signal comes while the gradient is computed; the step counts all the same."""

    def watch(run):
        if run.step == 5:
            next(run.net.parameters()).register_hook(lambda g: os.kill(os.getpid(), signal.SIGTERM))

    report = runs.train(tmp_path, watch=watch)
    assert report == (6, None, signal.SIGTERM)
    assert runs.steps(tmp_path) == [0, 6]
    runs.train(tmp_path)
    assert not differing(runs.state(tmp_path), runs.through())


def test_a_signal_in_the_last_step_is_no_loss(tmp_path):
    def watch(run):
        if run.step == 24:
            os.kill(os.getpid(), signal.SIGINT)

    report = runs.train(tmp_path, watch=watch)
    assert report == (24, tmp_path / "weights.safetensors", None), "it was done anyway, and its weights are there"
    assert report.weights.exists()


def twice(first, second):
    def watch(run):
        if run.step == 7:
            os.kill(os.getpid(), first)
            os.kill(os.getpid(), second)
            time.sleep(1)  # Python hears of them between two of its instructions

    return watch


def test_a_second_ctrl_c_interrupts_at_once(tmp_path):
    for number, first in enumerate(BOTH):
        out = tmp_path / str(number)
        with pytest.raises(KeyboardInterrupt):
            runs.train(out, watch=twice(first, signal.SIGINT))
        assert runs.steps(out) == [0, 6]
        runs.train(out)
    assert not differing(runs.state(out), runs.through())


def test_a_second_sigterm_is_patient(tmp_path):
    report = runs.train(tmp_path, watch=twice(signal.SIGINT, signal.SIGTERM))
    assert report.step == 7 and report.signal == signal.SIGTERM


def test_what_was_there_before_is_put_back(tmp_path):
    """After a run, after one that fails, and after one that was interrupted."""

    def mine(number, frame):
        heard.append(number)

    heard = []
    before = {number: signal.signal(number, mine) for number in BOTH}
    try:
        runs.train(tmp_path, replace(TINY, steps=4))
        assert [signal.getsignal(number) for number in BOTH] == [mine, mine]
        with pytest.raises(ZeroDivisionError):
            runs.train(tmp_path, replace(TINY, steps=5), allow=("steps",), watch=lambda run: 1 / 0)
        assert [signal.getsignal(number) for number in BOTH] == [mine, mine]
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [signal.SIGTERM]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_in_another_thread_nothing_is_installed(tmp_path):
    before, during, reports = [signal.getsignal(number) for number in BOTH], [], []

    def watch(run):
        during.append([signal.getsignal(number) for number in BOTH])

    def work():
        reports.append(runs.train(tmp_path, replace(TINY, steps=4), watch=watch))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert reports[0].step == 4 and during == [before] * 4


def test_the_request_is_false_until_it_is_heard():
    with StopRequest() as stop:
        assert not stop and stop.signal is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop and stop.signal == signal.SIGTERM


# ---------------------------------------------------------------- asked by another thread


def test_another_thread_asks_and_it_goes_on_bit_for_bit():
    """As at SIGTERM: the step is finished, a checkpoint written; the report names no signal."""
    with runs.folder() as out:
        stop, begun = StopRequest(), threading.Event()

        def ask():
            begun.wait(faults.LIMIT)
            stop.ask()

        thread = threading.Thread(target=ask)
        thread.start()
        step, weights, by = runs.train(out, ENDLESS, stop=stop, watch=lambda run: run.step == 3 and begun.set())
        thread.join()
        assert step >= 3 and weights is None and by is None
        assert runs.steps(out) == [0, step]
        further = replace(ENDLESS, steps=step + 3)
        runs.train(out, further)
        assert not differing(runs.state(out), runs.through(further))


def test_asked_within_a_step_it_waits_for_its_end():
    with runs.folder() as out:
        stop = StopRequest()

        def watch(run):
            if run.step == 5:
                next(run.net.parameters()).register_hook(lambda g: stop.ask())

        assert runs.train(out, stop=stop, watch=watch) == (6, None, None)
        assert runs.steps(out) == [0, 6]


def test_asked_in_the_last_step_it_is_no_loss(tmp_path):
    stop = StopRequest()
    report = runs.train(tmp_path, stop=stop, watch=lambda run: run.step == 24 and stop.ask())
    assert report == (24, tmp_path / "weights.safetensors", None)


def test_signals_are_heard_by_a_request_of_ones_own_too(tmp_path):
    """And a first Ctrl-C after ``ask`` is no second one."""
    stop = StopRequest()

    def watch(run):
        if run.step == 7:
            stop.ask()
            os.kill(os.getpid(), signal.SIGINT)

    before = [signal.getsignal(number) for number in BOTH]
    assert runs.train(tmp_path, stop=stop, watch=watch) == (7, None, signal.SIGINT)
    assert [signal.getsignal(number) for number in BOTH] == before


def test_a_request_that_nobody_makes_changes_nothing(tmp_path):
    stop = StopRequest()
    assert runs.train(tmp_path, replace(TINY, steps=4), stop=stop).step == 4 and not stop
