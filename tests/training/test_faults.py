"""The helper that forks and kills: what it says of a child's end is so, and no child stays behind."""

import os
import signal
import time

import pytest

from tests.training import faults


def no_children():
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_how_a_child_has_ended():
    assert faults.forked(lambda: print("said")) == (0, None, "said\n")
    failed = faults.forked(lambda: 1 / 0)
    assert failed.code == 1 and "ZeroDivisionError" in failed.text
    assert faults.forked(faults.die).signal == signal.SIGKILL
    no_children()


def test_a_child_is_sent_a_signal_when_its_time_has_come(tmp_path):
    mark = tmp_path / "mark"

    def work():
        mark.touch()
        time.sleep(30)

    assert faults.forked(work, mark.exists, signal.SIGTERM).signal == signal.SIGTERM
    no_children()


def test_a_child_that_hangs_is_ended_at_its_limit():
    with pytest.raises(TimeoutError, match=r"not done within 1 s:\nsaid"):
        faults.forked(lambda: (print("said"), time.sleep(30)), limit=1)
    no_children()


def test_a_child_dies_in_the_place_that_was_chosen():
    def work(after):
        step = faults.dying(lambda n: print(n), 3, after)
        for n in range(1, 5):
            step(n)

    assert faults.forked(lambda: work(after=False)).text == "1\n2\n"
    assert faults.forked(lambda: work(after=True)).text == "1\n2\n3\n"


def test_events_are_counted_and_die_at_any_of_them():
    def work():
        return [print(n) for n in range(10)]

    number = faults.events(lambda: None)
    assert faults.events(lambda: [abs(n) for n in range(10)]) >= number + 20, "a call and a return each"
    ended = faults.forked(faults.dies_at(number + 2 * 10**6, work))
    assert ended.well and ended.text.split() == list("0123456789")
    assert faults.forked(faults.dies_at(3, work)).killed
