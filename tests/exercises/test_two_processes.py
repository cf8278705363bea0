"""What notebook 07 starts by torchrun: two processes that share a batch, and a network, agree with one."""

import sys

import pytest
import torch

from ddpm_edu.exercises import two_processes
from ddpm_edu.training.distributed import Team

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="torchrun and gloo need a POSIX system"),
]


def off_by(a, b, names):
    return max((a[one] - b[other]).abs().max().item() for one, other in names)


def test_two_processes_agree_with_one_and_with_each_other(tmp_path):
    first, second = two_processes.launch(tmp_path)
    alone = two_processes.shared_out(Team(0, 1, torch.device("cpu")), tmp_path / "alone")
    weights = [name for name in alone if name.startswith("weight.")]
    assert off_by(alone, first, [(name, f"DDP {name}") for name in alone]) < 1e-5
    assert off_by(alone, first, [(name, name.replace("weight.", "FSDP2 net.")) for name in weights]) < 1e-5
    assert all(torch.equal(first[name], second[name]) for name in first if "numbers held" not in name)
    (held, whole), (rest, again) = (each["FSDP2 numbers held, of all"].tolist() for each in (first, second))
    assert held + rest == whole == again and abs(held - rest) < 0.01 * whole
    start = dict(two_processes.run_of(Team(0, 1, torch.device("cpu")), tmp_path / "new").net.named_parameters())
    moved = max((alone[name] - start[name.removeprefix("weight.")]).abs().max().item() for name in weights)
    assert moved > 3e-4, "three steps of 2e-4: the control for the comparisons above"


def test_a_start_that_fails_says_what_was_said(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(RuntimeError, match=r"torchrun ended with"):
        two_processes.launch(tmp_path / "file", processes=1)
