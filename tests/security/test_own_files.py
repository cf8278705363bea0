"""What the package itself writes: nothing in it can be anything but numbers, texts and their order."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from torch.serialization import get_unsafe_globals_in_checkpoint

from ddpm_edu import training
from tests.security import corpus
from tests.training_distributed.setting import CONFIG


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with everything that a run writes."""
    out = tmp_path_factory.mktemp("run")
    config = replace(CONFIG, steps=2, save_every=1, ema_widths=(0.1, 0.05), snapshot_every=1, sample_every=2)
    training.train(config, out, progress=False)
    return out


def test_nothing_in_a_checkpoint_needs_to_be_trusted(run):
    written = sorted(run.rglob("*.pt"))
    assert {path.parent.name for path in written} == {"checkpoints", "snapshots"} and len(written) == 5
    for path in written:
        assert get_unsafe_globals_in_checkpoint(path) == [], path.name


def test_something_would_be_seen(tmp_path):
    """The control."""
    torch.save({"net": corpus.Runs(tmp_path / "ran")}, tmp_path / "a.pt")
    (name,) = get_unsafe_globals_in_checkpoint(tmp_path / "a.pt")
    assert name.endswith(".mkdir")
    assert not (tmp_path / "ran").exists()


def test_weights_hold_numbers_and_json(run):
    with safe_open(run / "weights.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["config"])["network"] == "UNet"
        assert [*file.metadata()] == ["config"]


def test_nothing_else_is_written(run):
    kinds = {path.suffix for path in run.rglob("*") if path.is_file()}
    assert kinds == {".pt", ".safetensors", ".jsonl", ".png"}
