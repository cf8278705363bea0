"""Files that are there whole or not at all: killed at every place, no room, and in which order it is done."""

import os
import resource
from pathlib import Path
from unittest import mock

import pytest

from ddpm_edu import whole
from tests.training import faults, runs

OLD, NEW = b"old" * 1000, b"new" * 2000
FULL = Path("/dev/full")


def there(folder):
    """All that is in it, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_written_is_there_and_nothing_else():
    with runs.folder() as out:
        for content in (OLD, NEW, b""):
            whole.write(out / "x", content)
            assert there(out) == {"x": content}


def test_killed_between_any_two_calls_it_is_the_old_file_or_the_new_one():
    """At every fifth call in Python and into C: a stranger finds one of the two under the name, never a half."""
    with runs.folder() as out:
        path, found = out / "x", []
        path.write_bytes(OLD)
        for event in range(1, faults.events(lambda: whole.write(path, OLD)), 5):
            ended = faults.forked(faults.dies_at(event, lambda: whole.write(path, NEW)))
            assert ended.killed or ended.well, ended
            found.append(path.read_bytes())
            path.write_bytes(OLD)
        assert set(found) == {OLD, NEW}, "and the kills came before and after the rename"
        assert [*there(out)] != ["x"], "some left their part,"
        whole.remove_parts(out, "x")
        assert there(out) == {"x": OLD}, "which is found again by its name"


def test_it_is_on_the_disk_before_it_takes_the_name():
    """The order of the system's calls, by handle: all is written, flushed, closed; renamed; and the folder flushed."""
    done, open_, fsync, replace = [], os.open, os.fsync, Path.replace

    def opened(path, *rest):
        handle = open_(path, *rest)
        names[handle] = Path(path)
        return handle

    def flushed(handle):
        done.append(("flush", names[handle].name, names[handle].is_file() and names[handle].read_bytes()))
        fsync(handle)

    def replaced(self, target):
        done.append(("rename", self.name, self.read_bytes()))
        return replace(self, target)

    with runs.folder() as out:
        names, part = {}, f".x.{os.getpid()}.part"
        with (
            mock.patch.object(os, "open", opened),
            mock.patch.object(os, "fsync", flushed),
            mock.patch.object(Path, "replace", replaced),
        ):
            whole.write(out / "x", NEW)
        assert done == [("flush", part, NEW), ("rename", part, NEW), ("flush", out.name, False)]


def test_where_there_is_no_room_the_old_file_stays_and_no_part():
    """In a child: a file may not grow beyond a thousand bytes. And where the flush or the rename is what fails."""
    with runs.folder() as out:
        (out / "x").write_bytes(OLD)

        def work():
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
            with pytest.raises(OSError, match="File too large"):
                whole.write(out / "x", NEW)

        ended = faults.forked(work)
        assert ended.well, ended.text
        assert there(out) == {"x": OLD}
        for where, what in ((os, "fsync"), (Path, "replace")):
            with (
                mock.patch.object(where, what, side_effect=OSError(28, "No space left on device")),
                pytest.raises(OSError, match="No space left"),
            ):
                whole.write(out / "x", NEW)
            assert there(out) == {"x": OLD}


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_full_disk():
    with runs.folder() as out:
        (out / "x").write_bytes(OLD)
        (out / f".x.{os.getpid()}.part").symlink_to(FULL)
        with pytest.raises(OSError, match="No space left"):
            whole.write(out / "x", NEW)
        assert there(out) == {"x": OLD}


def test_a_block_that_fails_leaves_the_old_file_and_its_error(tmp_path):
    (tmp_path / "x").write_bytes(OLD)
    with pytest.raises(ZeroDivisionError), whole.replacing(tmp_path / "x") as part:
        part.write_bytes(NEW[: 1 // 0])
    assert there(tmp_path) == {"x": OLD}


def test_a_folder_that_cannot_be_flushed_is_no_failure(tmp_path):
    """As on Windows, and on some disks."""
    flush = whole._flush

    def files_only(path, how):
        if path.is_dir():
            raise PermissionError
        flush(path, how)

    with mock.patch.object(whole, "_flush", files_only):
        whole.write(tmp_path / "x", NEW)
    assert there(tmp_path) == {"x": NEW}


def test_only_parts_of_that_name_are_removed(tmp_path):
    names = [".x.npz.1.part", ".x.npz.23.part", ".y.npz.1.part", "x.npz", "x.npz.1.part", ".x.npz"]
    for name in names:
        (tmp_path / name).touch()
    whole.remove_parts(tmp_path, "x.npz")
    assert sorted(there(tmp_path)) == sorted(names[2:])
