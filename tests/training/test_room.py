"""Writing checkpoints where there is no room, and deleting old ones: at no instant is there no good one."""

import errno
import hashlib
import os
import resource
import sys
import threading
from pathlib import Path
from unittest import mock

import pytest

from ddpm_edu.errors import CheckpointError, ConfigError
from ddpm_edu.training import checkpoint
from tests.training import faults, runs
from tests.training.test_checkpoint import content, saved

FULL = Path("/dev/full")

# ---------------------------------------------------------------- R5: no room


def on_full_disk(folder, step):
    """The part of the next checkpoint is a link to /dev/full, where every write finds no room."""
    data = checkpoint.encoded(content(step), step)
    part = folder / f".step-{step:08d}-{checkpoint.digest(data)}.pt.{os.getpid()}.part"
    part.symlink_to(FULL)


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_full_disk_leaves_the_old_ones_and_no_part():
    with runs.folder() as out:
        before = {path: path.read_bytes() for path in saved(out, 1, 2)}
        on_full_disk(out, 3)
        with pytest.raises(CheckpointError, match=r"could not be written.*the disk is full.*Fix: make room") as error:
            saved(out, 3, keep=2)
        assert isinstance(error.value.__cause__, OSError) and error.value.__cause__.errno == errno.ENOSPC
        assert {path: path.read_bytes() for path in out.iterdir()} == before, "also the one whose turn it was to go"
        saved(out, 3)
        assert checkpoint.newest(out).state["step"] == 3, "and with room again it goes on"


def test_a_limit_on_the_size_of_files_too():
    """In a child: what fits is written, and the rest of it is taken away again."""
    with runs.folder() as out:
        before = {path: path.read_bytes() for path in saved(out, 1, 2)}

        def work():
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
            with pytest.raises(CheckpointError, match=r"\(3\.8 MiB\) could not be written.*larger than this process"):
                saved(out, 3, size=1_000_000)

        ended = faults.forked(work)
        assert ended.well, ended.text
        assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_a_run_that_finds_no_room_says_so_and_goes_on_when_there_is():
    with runs.folder() as out:
        faults.forked(lambda: runs.train(out, watch=lambda run: run.step == 8 and faults.die()))

        def work():
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
            runs.train(out)

        ended = faults.forked(work)
        assert ended.code == 1 and "CheckpointError: step-00000012" in ended.text
        assert runs.steps(out) == [0, 6] and not list((out / "checkpoints").glob(".*"))
        runs.train(out)
        assert not runs.differing(runs.state(out), runs.through())


def test_a_folder_that_may_not_be_written_to():
    with runs.folder() as out:
        out.chmod(0o555)

        def work():
            if os.geteuid() == 0:
                os.setuid(65534)  # root may write anywhere, nobody may not
            with pytest.raises(CheckpointError, match="this folder may not be written to"):
                saved(out, 1)

        ended = faults.forked(work)
        assert ended.well, ended.text


def test_a_folder_that_is_a_file_shows_before_the_first_step(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(CheckpointError, match=r"out cannot be the folder of a run .*a file of that name.*Fix: "):
        runs.train(tmp_path / "out", watch=lambda run: pytest.fail("a step"))


def test_a_disk_that_loses_what_is_written_to_it_is_noticed(tmp_path):
    with (
        mock.patch.object(Path, "read_bytes", return_value=b"something else"),
        pytest.raises(CheckpointError, match="does not hold what was written to it"),
    ):
        checkpoint.write(tmp_path, "step-00000001", ".pt", b"content")


# ---------------------------------------------------------------- R6: how many are kept


@pytest.mark.parametrize("keep", [2, 3, 5])
def test_the_newest_are_kept(keep, tmp_path):
    for last in range(1, 9):
        saved(tmp_path, last, keep=keep)
        there = sorted(checkpoint.step_of(path) for path in checkpoint.listed(tmp_path))
        assert there == list(range(max(1, last - keep + 1), last + 1))


@pytest.mark.parametrize("keep", [1, 0, -1])
def test_fewer_than_two_are_refused(keep, tmp_path):
    with pytest.raises(ConfigError, match=rf"keep must be >= 2, got {keep}"):
        saved(tmp_path, 1, keep=keep)
    assert not list(tmp_path.iterdir())


def test_damaged_ones_do_not_count_as_kept():
    """After a fall back from 30 and 40 to 20: 20 lives until there are two newer ones that are good."""
    with runs.folder() as out:
        saved(out, 10, 20, 30, 40, keep=4)
        for path in checkpoint.listed(out)[:2]:
            runs.flip_byte(path, 500)
        good = []
        for step in (30, 40, 50):
            checkpoint.save(out, step, content(-step), 2)
            good.append([checkpoint.step_of(p) for p in checkpoint.listed(out) if checkpoint._is_good(p, 0)])
            checkpoint._is_good.cache_clear()
        assert good == [[30, 20], [40, 30], [50, 40]]


def test_at_no_instant_is_there_no_good_file():
    """Between any two calls within a save, in Python or into C, at least one file is whole."""
    with runs.folder() as out:
        saved(out, 1)
        looked, looking = [], False

        def look(*_):
            nonlocal looking
            if not looking:
                looking = True
                looked.append(sum(whole(path) for path in checkpoint.listed(out)))
                looking = False

        sys.setprofile(look)
        try:
            saved(out, 2, 3, 4, keep=2)
        finally:
            sys.setprofile(None)
        assert len(looked) > 500 and min(looked) >= 1
        assert min(looked[-100:]) == 2, "and where two are kept, two from then on"


def test_nor_does_another_thread_see_one(tmp_path):
    saved(tmp_path, 0)
    done, seen = threading.Event(), []

    def poll():
        while not done.is_set():
            looks = (any(whole(path) for path in checkpoint.listed(tmp_path)) for _ in range(3))
            seen.append(any(looks))  # a second one where all that were listed have gone in the meantime

    thread = threading.Thread(target=poll)
    thread.start()
    saved(tmp_path, *range(1, 60), keep=5)
    done.set()
    thread.join()
    assert len(seen) > 10 and all(seen)


def whole(path):
    """Whether the file is there and is what its name says: as a stranger would look, without this module's help."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16] == path.stem.split("-")[2]
    except OSError:
        return False


def test_an_old_file_that_cannot_be_deleted_stops_nothing(tmp_path):
    saved(tmp_path, 1, 2)
    with mock.patch.object(Path, "unlink", side_effect=PermissionError):
        saved(tmp_path, 3, 4, keep=2)
    assert len(checkpoint.listed(tmp_path)) == 4
    saved(tmp_path, 5, keep=2)
    assert [checkpoint.step_of(path) for path in checkpoint.listed(tmp_path)] == [5, 4]


def test_what_a_killed_process_left_goes_with_the_next_save(tmp_path):
    left = tmp_path / ".step-00000001-0123456789abcdef.pt.12345.part"
    left.touch()
    (tmp_path / ".other.part").touch()
    assert checkpoint.newest(tmp_path) is None
    saved(tmp_path, 1)
    assert not left.exists() and (tmp_path / ".other.part").exists()
