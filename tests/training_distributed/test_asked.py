"""One of several processes is asked to stop by a thread of its own: all leave, after the same step."""

import json
import sys

import pytest

from ddpm_edu.training import checkpoint
from tests.training_distributed import setting
from tests.training_distributed.setting import CONFIG

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="torchrun and gloo need a POSIX system"),
]


def test_one_is_asked_and_all_leave_after_the_same_step(tmp_path, place, found):
    """At step 5: they ask each other at every fourth, so both leave after step 8, and the run goes on bit for bit."""
    assert CONFIG.poll_every == 4
    ended = setting.end(setting.begin("tests.training_distributed.asked", tmp_path, "5"), 120)
    assert ended.code == 0, ended.err[-3000:]
    assert [json.loads((tmp_path / f"left-{rank}.json").read_text()) for rank in (0, 1)] == [[8, True, None]] * 2
    assert checkpoint.step_of(checkpoint.listed(tmp_path / "checkpoints")[0]) == 8
    ended = setting.end(setting.begin("tests.training_distributed.job", tmp_path), 120)
    assert ended.code == 0, ended.err[-3000:]
    assert setting.fingerprint(setting.learnt(tmp_path)) == setting.fingerprint(setting.learnt(place / "by two"))
