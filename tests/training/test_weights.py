"""What a training hands over: a file that is whole whatever happens, and any of its averages by name."""

import json
import os
import re
import resource
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch

from ddpm_edu import models
from ddpm_edu.errors import CheckpointError, ConfigError
from ddpm_edu.training import checkpoint, posthoc, weights
from tests.training import faults, runs
from tests.training.runs import TINY

FEW = replace(TINY, steps=8, decay="constant", ema=(0.2, 0.9), ema_widths=(0.05, 0.1), snapshot_every=2)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A run of eight steps that is done, with four averages and four snapshots."""
    folder = tmp_path_factory.mktemp("done")
    runs.train(folder, FEW)
    return folder


# ---------------------------------------------------------------- the file


def test_the_file_is_what_the_checkpoint_gives(out):
    by_file, about = models.load(out / weights.FILE)
    net, other, source = weights.of_checkpoint(out)
    assert about == as_json(other) and source == runs.files(out)[0].name
    assert about["training"]["step"] == 8 and about["training"]["average"] == "0.2"
    for key, value in by_file.state_dict().items():
        assert torch.equal(value, net.state_dict()[key]), key
    assert not net.training


def killed(out, where, what, call):
    """A run of four steps more that dies at this call of this function, behind its last checkpoint."""

    def work():
        with mock.patch.object(where, what, faults.dying(getattr(where, what), call)):
            runs.train(out, replace(FEW, steps=12, snapshot_every=0, save_every=100))

    ended = faults.forked(work)
    assert ended.killed and runs.steps(out)[-1] == 12, ended


AT = {  # the first two flushes and the first rename are those of the checkpoint of step 12
    "before a byte": (models, "save", 1),
    "before the flush": (os, "fsync", 3),
    "before the rename": (Path, "replace", 2),
}


def test_killed_while_it_is_written_the_old_one_is_whole():
    """And the same command again writes the new one, and takes away what was left."""
    for place in AT:
        with runs.folder() as out:
            runs.train(out, FEW)
            before = (out / weights.FILE).read_bytes()
            killed(out, *AT[place])
            assert (out / weights.FILE).read_bytes() == before, place
            assert bool([*out.glob(".weights*.part")]) == (place != "before a byte"), place
            runs.train(out, replace(FEW, steps=12, snapshot_every=0, save_every=100))
            assert models.load(out / weights.FILE)[1]["training"]["step"] == 12, place
            assert not [*out.glob(".*")], place


@pytest.mark.parametrize(("where", "what"), [(models, "save"), (os, "fsync"), (Path, "replace")])
def test_weights_that_find_no_room_leave_the_old_ones(where, what, out):
    before, run = files_in(out), runs.begun(out, FEW)
    full = mock.patch.object(where, what, side_effect=OSError(28, "No space left on device"))
    with full, pytest.raises(CheckpointError, match=r"weights\.safetensors could not be written.*No space left"):
        run.export()
    assert files_in(out) == before


def test_a_limit_on_the_size_of_files_too(out):
    """In a child, by the system itself; what fits is written, and taken away again."""
    before, run = files_in(out), runs.begun(out, FEW)

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        with pytest.raises(CheckpointError, match=r"weights\.safetensors could not be written.*Fix: make room"):
            run.export()

    ended = faults.forked(work)
    assert ended.well, ended.text
    assert files_in(out) == before


def as_json(about):
    return json.loads(json.dumps(about))


def files_in(out):
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


# ---------------------------------------------------------------- averages by name


def test_each_average_by_its_name(out):
    """Decay or width, as a checkpoint has it; the width also by its number. All four differ."""
    kept, found = runs.state(out)["averages"]["weights"], []
    assert list(kept) == ["0.2", "0.9", "power 0.05", "power 0.1"]
    for name, full in (*((name, name) for name in kept), ("0.05", "power 0.05"), ("0.1", "power 0.1")):
        net, about, _ = weights.of_checkpoint(out, name)
        assert about["training"]["average"] == full and about["training"]["step"] == 8
        assert all(torch.equal(net.get_parameter(key), value) for key, value in kept[full].items()), name
        found.append(torch.nn.utils.parameters_to_vector(net.parameters()).sum().item())
    assert len(set(found)) == 4


def test_a_width_that_was_not_kept_is_put_together_from_snapshots():
    """Against the average itself, of a run that kept it. The nearest that was kept is farther away."""
    with runs.folder() as out, runs.folder() as direct:
        config = replace(FEW, steps=24, snapshot_every=2, lr=3e-3)
        runs.train(out, config)
        runs.train(direct, replace(config, ema_widths=(0.08,), snapshot_every=0))
        net, about, source = weights.of_checkpoint(out, "0.08")
        assert source == "snapshots" and about["training"]["average"] == "power 0.08"
        wanted, kept = runs.state(direct)["averages"]["weights"]["power 0.08"], runs.state(out)["averages"]["weights"]
        off = sum((net.get_parameter(key) - value).square().sum().item() for key, value in wanted.items()) ** 0.5
        nearest = sum((kept["power 0.1"][key] - value).square().sum().item() for key, value in wanted.items()) ** 0.5
        assert off < nearest / 5, (off, nearest)
        other = weights.of_checkpoint(out, "power 0.08").net
        assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_the_step_of_an_average_from_snapshots_is_that_of_the_last(tmp_path):
    runs.train(tmp_path, replace(FEW, steps=9, snapshot_every=4))
    assert posthoc.steps(tmp_path) == [4, 8]
    assert weights.of_checkpoint(tmp_path, "0.07").about["training"]["step"] == 8
    assert weights.of_checkpoint(tmp_path).about["training"]["step"] == 9


@pytest.mark.parametrize("name", ["0.99", "0.28", "nan", "power", "power x", "first", ""])
def test_an_average_that_there_is_not_is_told_those_there_are(name, out, tmp_path):
    there = r"there are 0\.2, 0\.9, power 0\.05, power 0\.1"
    words = rf"there is no average {name!r} in .*; {there}, and from its snapshots all widths in .*Fix: one of these"
    with pytest.raises(ConfigError, match=words):
        weights.of_checkpoint(out, name)
    for path in runs.files(out)[:1]:
        checkpoint.save(tmp_path / "checkpoints", 8, checkpoint.load(path))
    with pytest.raises(ConfigError, match=re.escape(repr(name)) + rf".*; {there}\. Usual cause: .*without snapshots"):
        weights.of_checkpoint(tmp_path, name)
    with pytest.raises(ConfigError, match=r"no average '0\.07'"):
        weights.of_checkpoint(tmp_path, "0.07")


def test_no_checkpoint_and_one_of_no_training(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint in"):
        weights.of_checkpoint(tmp_path)
    checkpoint.save(tmp_path / "checkpoints", 3, {"config": FEW.to_json()})
    with pytest.raises(CheckpointError, match=r"step-00000003-.* is of no training that this version knows"):
        weights.of_checkpoint(tmp_path)


def test_of_ones_own_images_the_checkpoint_knows_name_and_size(tmp_path):
    """And where it is from before it did, those of the data that the settings name."""
    config = replace(FEW, data="cifar10", steps=2)
    runs.train(tmp_path, config, images=runs.images(20))
    about = weights.of_checkpoint(tmp_path).about
    assert about["data"] == "noise" and about["size"] == [1, 8, 8]
    assert as_json(about) == models.load(tmp_path / weights.FILE)[1]
    state = runs.state(tmp_path)
    del state["images"]
    checkpoint.save(tmp_path / "older" / "checkpoints", 2, state)
    about = weights.of_checkpoint(tmp_path / "older").about
    assert about["data"] == "cifar10" and about["size"] == [1, 32, 32]
