"""One training in a folder at a time: a second one is refused, for real, and a killed one locks nothing."""

import contextlib
import errno
import fcntl
import os
import re
import signal
import threading
from dataclasses import replace
from unittest import mock

import pytest

from ddpm_edu.errors import CheckpointError, ConfigError, TrainingWarning
from ddpm_edu.training import alone, checkpoint
from ddpm_edu.training.distributed import Team
from tests.training import faults, runs
from tests.training.runs import CPU, TINY
from tests.training.test_interruptions import ENDLESS

SHORT = replace(ENDLESS, steps=5)  # it may go on where the endless one was
TAKEN = r"another training runs in .* \(process (\d+) on .*\)\. Usual cause: .* Fix: "


def refused(work):
    """The words with which ``work()`` is refused, or "" where it is not."""
    try:
        work()
    except CheckpointError as error:
        return str(error)
    return ""


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_process_is_refused_and_a_killed_first_locks_nothing():
    """Two real processes. The first is killed by SIGKILL, leaves its file, and the same command goes on."""
    with runs.folder() as out:
        words = []

        def has_begun():
            if (out / "log.jsonl").exists():
                words.append(refused(lambda: runs.train(out, SHORT)))
            return bool(words)

        ended = faults.forked(lambda: runs.train(out, ENDLESS), has_begun)
        assert ended.killed, ended
        found = re.search(TAKEN, words[0])
        assert found and int(found[1]) != os.getpid(), words
        assert (out / ".lock").exists()
        assert runs.train(out, SHORT, resume="must").step == 5
        assert not (out / ".lock").exists()
        assert not runs.differing(runs.state(out), runs.through(SHORT))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_is_asked_to_leave_gives_it_back(number, tmp_path):
    ended = faults.forked(lambda: runs.train(tmp_path, ENDLESS), (tmp_path / "log.jsonl").exists, number)
    assert ended.well, ended
    assert not (tmp_path / ".lock").exists()
    assert runs.train(tmp_path, replace(ENDLESS, steps=runs.steps(tmp_path)[-1] + 1)).weights is not None


def test_a_second_in_this_process_too_and_it_touches_nothing():
    """Within a step of the first, in the same thread and in another: a notebook with two cells that train."""
    with runs.folder() as out:
        words = []

        def watch(run):
            if run.step == 3:
                before = content(out)
                words.append(refused(lambda: runs.train(out, SHORT)))
                thread = threading.Thread(target=lambda: words.append(refused(lambda: runs.train(out, SHORT))))
                thread.start()
                thread.join()
                assert content(out) == before

        assert runs.train(out, SHORT, watch=watch).step == 5
        assert len(words) == 2 and all(re.search(TAKEN, each) for each in words)
        assert int(re.search(TAKEN, words[0])[1]) == os.getpid()


def test_two_folders_do_not_mind_each_other(tmp_path):
    def watch(run):
        if run.step == 1:
            assert runs.train(tmp_path / "b", SHORT).step == 5

    assert runs.train(tmp_path / "a", SHORT, watch=watch).step == 5


def test_it_is_held_before_anybody_looks_for_checkpoints():
    """Or two would find the same one, and both go on from it."""
    held, look = [], checkpoint.newest

    def newest(folder, device):
        with (folder.parent / ".lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(True)
        return look(folder, device)

    with runs.folder() as out, mock.patch.object(checkpoint, "newest", newest):
        runs.train(out, SHORT)
        assert held == [True]


# ---------------------------------------------------------------- its file


def test_the_file_of_one_who_has_just_left_is_no_lock():
    """We open the file; its holder ends and deletes it; a third makes and locks a new one. Ours has no name."""
    lock, third = alone._locked, contextlib.ExitStack()

    def overtaken(file, folder):
        if not calls:
            (folder / ".lock").unlink()
            fcntl.flock(third.enter_context((folder / ".lock").open("a+")), fcntl.LOCK_EX)
        calls.append(file)
        return lock(file, folder)

    with runs.folder() as out, mock.patch.object(alone, "_locked", overtaken):
        calls = []
        (out / ".lock").touch()
        with (
            third,
            pytest.raises(CheckpointError, match="another training runs in"),
            alone.alone_in(out, Team(0, 1, CPU)),
        ):
            pass
        assert len(calls) == 2
        with alone.alone_in(out, Team(0, 1, CPU)):
            assert len(calls) == 3


def in_turn(out, times):
    """Takes the lock ``times`` times, each time after some refusals; within it nobody else may be."""
    done = 0
    while done < times:
        try:
            with alone.alone_in(out, Team(0, 1, CPU)):
                handle = os.open(out / "inside", os.O_CREAT | os.O_EXCL)  # fails where another is inside
                os.close(handle)
                (out / "inside").unlink()
                done += 1
        except CheckpointError:
            continue


def test_two_processes_in_turn():
    """Each some hundred times, as fast as they can, while the file comes and goes: never both at once."""
    with runs.folder() as out:
        (out / "kept").touch()
        mine = []

        def meanwhile():
            if not mine:
                in_turn(out, 300)
                mine.append(True)
            return False

        ended = faults.forked(lambda: in_turn(out, 300), meanwhile)
        assert ended.well and mine, ended
        assert [path.name for path in out.iterdir()] == ["kept"]


def test_a_folder_that_was_made_for_nothing_is_gone(tmp_path):
    (tmp_path / "there").mkdir()
    for name in ("new", "there"):
        with pytest.raises(ConfigError, match="resume must be one of"):
            runs.train(tmp_path / name, TINY, resume="perhaps")
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_folder_that_may_not_be_written_to_or_looked_into(mode):
    with runs.folder() as out:
        out.chmod(mode)

        def work():
            if os.geteuid() == 0:
                os.setuid(65534)  # root may write anywhere, nobody may not
            for path in (out, out / "new"):
                with pytest.raises(CheckpointError, match=r"cannot be the folder of a run \(.*denied.*Fix: another"):
                    runs.train(path, SHORT)

        ended = faults.forked(work)
        out.chmod(0o700)
        assert ended.well, ended.text


# ---------------------------------------------------------------- where there are no locks, and many processes


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_without_locks_it_goes_on_and_says_so(code, tmp_path):
    with (
        mock.patch.object(fcntl, "flock", side_effect=OSError(code, os.strerror(code))),
        pytest.warns(TrainingWarning, match=r"has no locks .*a second training.*Fix: begin one at a time") as said,
    ):
        assert runs.train(tmp_path, SHORT).step == 5
    assert len(said) == 1


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EACCES])
def test_a_network_disk_may_refuse_in_two_ways(code, tmp_path):
    with (
        mock.patch.object(fcntl, "flock", side_effect=OSError(code, os.strerror(code))),
        pytest.raises(CheckpointError, match=r"another training runs in .*it has just begun"),
    ):
        runs.train(tmp_path, SHORT)


def test_windows_refuses_nobody(tmp_path):
    with mock.patch("sys.platform", "win32"), alone.alone_in(tmp_path, Team(0, 1, CPU)):
        assert not list(tmp_path.iterdir())


def test_only_the_main_process_takes_it_and_all_are_told():
    """The others ask it: they touch no file, and leave where it may not."""
    with runs.folder() as out:
        with mock.patch.object(Team, "any", lambda team, flag: flag), alone.alone_in(out / "x", Team(1, 2, CPU)):
            assert not (out / "x").exists()
        with (
            mock.patch.object(Team, "any", return_value=True),
            pytest.raises(CheckpointError, match=r"the main process may not train in .*says why"),
            alone.alone_in(out / "x", Team(1, 2, CPU)),
        ):
            pytest.fail("inside")
