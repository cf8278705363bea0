"""What the tests with many processes share: a small run, how two processes are started, fingerprints of results."""

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from torch.nn.parallel import DistributedDataParallel

from ddpm_edu import losses
from ddpm_edu.models import UNetConfig
from ddpm_edu.training import TrainConfig, checkpoint, draws, loop
from ddpm_edu.training.distributed import Team
from ddpm_edu.training.loop import one_step
from ddpm_edu.training.state import Run, start

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
NET = UNetConfig(
    channels=1, width=8, multipliers=(1, 2), blocks=1, groups=4, attention=(1,), dropout=0.0, classes=10, T=50
)
CONFIG = TrainConfig(
    data="digits",
    net=NET,
    label_dropout=0.1,
    flip=True,
    steps=12,
    batch=7,  # two processes get 4 and 3
    lr=1e-3,
    warmup=4,
    schedule="cosine",
    ema=(0.9,),
    precision="fp32",
    seed=3,
    save_every=3,
    keep=5,
    log_every=1,
    poll_every=4,
)
STEPS = {
    "uneven": CONFIG,
    "even": replace(CONFIG, batch=8),
    "in parts": replace(CONFIG, batch=11, accumulate=2),
    "computed twice": replace(CONFIG, checkpointing=True),
    "with dropout": replace(CONFIG, net=replace(NET, dropout=0.3)),
}
"""Configurations for one step whose gradients are looked at."""


def stirred(config: TrainConfig, folder: Path, team: Team) -> Run:
    """A run at step 0 whose weights have been moved: those of a new network give most weights no gradient."""
    run = start(replace(config, clip=None), folder, team)
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in run.net.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=g))
    return run


def gradients(run: Run) -> dict[str, torch.Tensor]:
    """Those of the run's next step, by name."""
    assert one_step(run, run.images.images)
    return {name: p.grad.clone() for name, p in run.net.named_parameters()}


def exact_gradients(run: Run) -> dict[str, torch.Tensor]:
    """The same, with all that a gradient passes through in float64. The loop knows float32 only: its loss is replaced,
    its division of the work, its scaling and the sharing of gradients are not.
    """
    run.net.double()
    if run.model is not run.net:
        run.model = DistributedDataParallel(run.net)

    def loss_of(run: Run, images: torch.Tensor, drawn: draws.Draws) -> torch.Tensor:
        x0, labels = loop._batch(run, images, drawn)
        net = partial(run.model, labels=labels)
        return losses.simple(net, run.s, x0.double(), drawn.t, drawn.noise.double(), weight=run.weight)

    with mock.patch.object(loop, "loss_of", loss_of):
        return gradients(run)


def shares(config: TrainConfig, folder: Path, world: int) -> list[dict[str, torch.Tensor]]:
    """The gradients of each of ``world`` processes before they are shared, all computed in this one."""
    found = []
    for rank in range(world):
        run = stirred(config, folder, Team(0, 1, CPU))
        run.team = Team(rank, world, CPU)
        found.append(gradients(run))
    return found


def learnt(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of the newest checkpoint of a run, by name."""
    return tensors(checkpoint.newest(folder / "checkpoints").state)


def tensors(state: object, name: str = "") -> dict[str, torch.Tensor]:
    """All tensors in nested dicts and lists, by the path to them."""
    if isinstance(state, torch.Tensor):
        return {name: state}
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list | tuple) else ()
    return {key: tensor for k, value in items for key, tensor in tensors(value, f"{name}/{k}").items()}


def fingerprint(found: dict[str, torch.Tensor]) -> str:
    """One hash of names and bits."""
    content = hashlib.sha256()
    for name in sorted(found):
        content.update(name.encode() + found[name].detach().contiguous().numpy().tobytes())
    return content.hexdigest()


def off_by(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """The largest difference, over all tensors."""
    assert a.keys() == b.keys()
    return max((a[key].double() - b[key].double()).abs().max().item() for key in a)


# ---------------------------------------------------------------- processes


@dataclass
class Ended:
    """What has become of a command."""

    code: int
    out: str
    err: str


def begin(*command: str | Path, processes: int = 2) -> subprocess.Popen[str]:
    """``command`` (a module and its arguments) in as many processes as asked for, by torchrun, on this machine."""
    by = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    loopback = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    return subprocess.Popen(
        [sys.executable, *by, "-m", *map(str, command)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **loopback},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str], seconds: float) -> Ended:
    """Waits. A command that hangs is ended, first so that torchrun takes its processes along, and the test fails."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            out, err = process.communicate(timeout=45)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
        raise AssertionError(f"still running after {seconds} s\n{out[-2000:]}\n{err[-4000:]}") from None
    return Ended(process.returncode, out, err)
