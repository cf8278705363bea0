"""Files that are killed, cut, flipped, foreign, or find no room: each is noticed, and the good ones before it live."""

from pathlib import Path
from unittest import mock

import pytest
import torch

from ddpm_edu.errors import CheckpointError, TrainingWarning
from ddpm_edu.training import checkpoint
from tests.training import faults, runs


def content(step, size=1000):
    return {"net": {"weight": torch.full((size,), float(step))}, "name": "x"}


def saved(folder, *steps, keep=3, **options):
    return [checkpoint.save(folder, step, content(step, **options), keep) for step in steps]


def named(folder, step, data):
    """``data`` under the name that its hash gives it: a whole file, of whatever kind."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}-{checkpoint.digest(data)}.pt"
    path.write_bytes(data)
    return path


def encoded(value, tmp_path):
    torch.save(value, tmp_path / "file")
    return (tmp_path / "file").read_bytes()


# ---------------------------------------------------------------- what is written is read


def test_round_trip():
    with runs.folder() as out:
        (path,) = saved(out, 7)
        state = checkpoint.load(path)
        assert torch.equal(state["net"]["weight"], torch.full((1000,), 7.0))
        assert state["step"] == 7 and state["format"] == checkpoint.FORMAT and state["name"] == "x"
        assert path.name == f"step-00000007-{checkpoint.digest(path.read_bytes())}.pt"
        assert checkpoint.newest(out).path == path


def test_only_tensors_and_plain_values_are_in_a_runs_file():
    with runs.folder() as out:
        runs.train(out)
        assert torch.serialization.get_unsafe_globals_in_checkpoint(str(runs.files(out)[0])) == []


def test_the_newest_is_the_largest_step_also_beyond_eight_digits(tmp_path):
    saved(tmp_path, 5, 123_456_789, 99_999_999)
    assert [checkpoint.step_of(path) for path in checkpoint.listed(tmp_path)] == [123_456_789, 99_999_999, 5]
    assert checkpoint.newest(tmp_path).state["step"] == 123_456_789


def test_nothing_there_is_none(tmp_path):
    assert checkpoint.newest(tmp_path) is None
    assert checkpoint.newest(tmp_path / "missing") is None
    (tmp_path / "notes.txt").touch()
    assert checkpoint.newest(tmp_path) is None


# ---------------------------------------------------------------- R3, R4: damage


def test_any_flipped_bit_is_noticed():
    with runs.folder() as out:
        (path,) = saved(out, 1)
        whole = path.read_bytes()
        for share in faults.places(0, 40, 0, 1):
            runs.flip_byte(path, int(share * len(whole)))
            with pytest.raises(checkpoint.DamagedCheckpointError, match="is damaged"):
                checkpoint.load(path)
            path.write_bytes(whole)
        checkpoint.load(path)


def test_the_one_before_a_damaged_one_counts():
    """And not the one before a whole one that this version cannot read: that would throw work away."""
    with runs.folder() as out:
        one, two = saved(out, 1, 2)
        runs.flip_byte(two, 500)
        with pytest.warns(TrainingWarning, match=rf"{two.name} is damaged.*Falling back to the one before"):
            assert checkpoint.newest(out).path == one
        named(out, 3, encoded({"format": 2}, out))
        with pytest.raises(CheckpointError, match="has format 2"):
            checkpoint.newest(out)


DAMAGE = {
    "empty": lambda whole: b"",
    "one byte": lambda whole: whole[:1],
    "a half": lambda whole: whole[: len(whole) // 2],
    "its last byte is missing": lambda whole: whole[:-1],
    "a page of zeros": lambda whole: whole[:1024] + bytes(1024) + whole[2048:],
    "text": lambda whole: b"this is no checkpoint\n",
    "another whole file": lambda whole: whole + b" ",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_are_one_kind_of_error_and_the_one_before_counts(damage, tmp_path):
    one, two = saved(tmp_path, 1, 2)
    two.write_bytes(DAMAGE[damage](two.read_bytes()))
    with pytest.raises(checkpoint.DamagedCheckpointError, match=r"step-00000002.*damaged"):
        checkpoint.load(two)
    with pytest.warns(TrainingWarning, match="Falling back to the one before"):
        assert checkpoint.newest(tmp_path).path == one


def test_a_folder_of_that_name_is_passed_over_too(tmp_path):
    (one,) = saved(tmp_path, 1)
    (tmp_path / "step-00000002-0123456789abcdef.pt").mkdir()
    with pytest.warns(TrainingWarning, match="cannot be read"):
        assert checkpoint.newest(tmp_path).path == one
    saved(tmp_path, 2, 3, 4, 5)
    good = [path for path in checkpoint.listed(tmp_path) if path.is_file()]
    assert [checkpoint.step_of(path) for path in good] == [5, 4, 3], "nor does it take the place of a file"


def test_where_all_are_damaged_no_run_begins_anew():
    with runs.folder() as out:
        for path in saved(out, 1, 2):
            runs.flip_byte(path, 500)
        with (
            pytest.warns(TrainingWarning),
            pytest.raises(CheckpointError, match=r"all 2 checkpoints in .* are damaged\. Fix"),
        ):
            checkpoint.newest(out)


WHOLE = {  # right by their hash: whoever wrote them meant it, and to go back behind them would throw work away
    "a newer format": ({"format": 2, "step": 9}, r"has format 2, and this version of ddpm_edu reads 1.*upgrade"),
    "no format": ({"step": 9}, "has format None"),
    "no step": ({"format": 1}, "is by its content of step None"),
    "another step": ({"format": 1, "step": 8}, "is by its content of step 8"),
    "a list": ([1, 2], "has format 'list'"),
    "a tensor": (torch.zeros(3), "has format 'Tensor'"),
    "a module": (torch.nn.Linear(2, 2), "no checkpoint of this program, and nothing in it was run"),
    "a path": ({"format": 1, "at": Path("x")}, "no checkpoint of this program, and nothing in it was run"),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_a_whole_file_of_another_kind_is_an_error_and_no_fallback(kind, tmp_path):
    value, words = WHOLE[kind]
    out = tmp_path / "out"
    saved(out, 1)
    path = named(out, 9, encoded(value, tmp_path))
    with pytest.raises(CheckpointError, match=words) as error:
        checkpoint.newest(out)
    assert not isinstance(error.value, checkpoint.DamagedCheckpointError)
    assert path.exists()


FOREIGN = {
    "text": b"this is no checkpoint\n",
    "nothing": b"",
    "a pickle that would run something": b"cos\nsystem\n(S'touch ran'\ntR.",
    "a pickle of another kind": b"\x80\x04K\x01.",
    "a zip": b"PK\x05\x06" + bytes(18),
    "numbers": bytes(range(256)) * 4,
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_bytes_under_a_right_hash_are_an_error_and_run_nothing(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "out", 1)
    named(tmp_path / "out", 9, FOREIGN[kind])
    with pytest.raises(CheckpointError, match="is no checkpoint of this program"):
        checkpoint.newest(tmp_path / "out")
    assert not Path("ran").exists()


@pytest.mark.parametrize("name", ["step-1.pt", "weights.pt", "step-00000001-0123456789abcdeg.pt"])
def test_other_names_are_no_checkpoints(name, tmp_path):
    (tmp_path / name).touch()
    assert checkpoint.listed(tmp_path) == []
    with pytest.raises(CheckpointError, match="is not the name of a checkpoint"):
        checkpoint.load(tmp_path / name)


def test_running_out_of_memory_while_reading_is_not_called_a_foreign_file(tmp_path):
    (path,) = saved(tmp_path, 1)
    for error in (MemoryError, torch.OutOfMemoryError):
        with mock.patch.object(torch, "load", side_effect=error), pytest.raises(error):
            checkpoint.load(path)
