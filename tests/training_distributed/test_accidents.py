"""What happens to runs of several processes, for real: one is killed, one sees NaN, all are told to go."""

import json
import os
import signal
import sys
import time

import pytest

from ddpm_edu import training
from ddpm_edu.training import checkpoint
from ddpm_edu.training.meter import read_log
from tests.training_distributed import setting
from tests.training_distributed.setting import CONFIG

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="torchrun and gloo need a POSIX system"),
]
JOB = "tests.training_distributed.job"


def steps_saved(out):
    return [int(path.name.split("-")[1]) for path in checkpoint.listed(out / "checkpoints")]


def left(out):
    """How each process has left, by its own account: (step, signal)."""
    return [json.loads((out / f"left-{rank}.json").read_text()) for rank in (0, 1)]


def finished(out, ended):
    """A run that has come to its end: one bar on stderr and not a word more, on stdout nothing, and only its files."""
    assert ended.code == 0, ended.err[-3000:]
    assert ended.out == ""
    lines = [line for line in ended.err.splitlines() if line]  # a bar is drawn over and over
    assert sum("?, ?step/s" in line for line in lines) == 1, "one bar has begun"
    assert all("/12 [" in line for line in lines)
    assert left(out) == [[12, None], [12, None]]
    names = sorted(path.name for path in out.iterdir())
    assert names == ["checkpoints", "left-0.json", "left-1.json", "log.jsonl", "weights.safetensors"]
    return True


def same(out, place):
    """Whether a run has ended as the undisturbed one by two did, in all its bits."""
    mine, theirs = setting.learnt(out), setting.learnt(place / "by two")
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (out, place / "by two")]
    return setting.fingerprint(mine) == setting.fingerprint(theirs) and weights[0] == weights[1]


def test_one_is_killed(tmp_path, place, found):
    """In the eighth step's wake; the other ends too, saves nothing, and the same command goes on from step 6."""
    begun = time.monotonic()
    ended = setting.end(setting.begin(JOB, tmp_path, "kill=1@8"), 60)
    assert time.monotonic() - begun < 60
    assert ended.code != 0
    assert steps_saved(tmp_path) == [6, 3, 0]
    assert not [*tmp_path.glob("left-*")] and not (tmp_path / "weights.safetensors").exists()
    assert "SIGKILL" in ended.err

    assert finished(tmp_path, setting.end(setting.begin(JOB, tmp_path), 60))
    assert same(tmp_path, place)
    assert [event["step"] for event in read_log(tmp_path / "log.jsonl")] == [*range(1, 13)]


def test_all_are_told_to_go(tmp_path, place, found):
    """SIGTERM to torchrun: all save the same step, that of one of the times they ask each other, and leave."""
    process = setting.begin(JOB, tmp_path, "slow=0.4")
    log = tmp_path / "log.jsonl"
    while process.poll() is None and not (log.exists() and len(read_log(log)) >= 2):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    ended = setting.end(process, 60)
    assert ended.code != 0
    first, second = left(tmp_path)
    assert first == second
    step, number = first
    assert number == signal.SIGTERM and step % CONFIG.poll_every == 0 and 2 <= step < 12
    assert steps_saved(tmp_path)[0] == step
    assert not (tmp_path / "weights.safetensors").exists()

    assert finished(tmp_path, setting.end(setting.begin(JOB, tmp_path), 60))
    assert same(tmp_path, place)


def test_one_sees_nan(tmp_path):
    """Both stop, with the step in their message; the last checkpoint is from before."""
    ended = setting.end(setting.begin(JOB, tmp_path, "nan=1@7"), 60)
    assert ended.code != 0
    assert ended.err.count("NonFiniteLossError: step 7: ") == 2
    assert steps_saved(tmp_path) == [6, 3, 0]
    assert not [*tmp_path.glob("left-*")]


def test_the_disk_of_the_one_that_writes_is_full(tmp_path):
    """Only the first sees it; nobody waits for it."""
    ended = setting.end(setting.begin(JOB, tmp_path, "full=5"), 60)
    assert ended.code != 0
    assert "CheckpointError" in ended.err and "the disk is full" in ended.err
    assert steps_saved(tmp_path) == [3, 0]


def test_the_same_script_without_torchrun(tmp_path):
    """One process, and nothing of it is different from a call of training.train."""
    ended = setting.end(setting.begin(JOB, tmp_path / "script", processes=1), 60)
    assert ended.code == 0, ended.err[-3000:]
    training.train(CONFIG, tmp_path / "call", progress=False)
    script, call = (setting.fingerprint(setting.learnt(tmp_path / name)) for name in ("script", "call"))
    assert script == call
    assert (tmp_path / "script" / "weights.safetensors").read_bytes() == (
        tmp_path / "call" / "weights.safetensors"
    ).read_bytes()
