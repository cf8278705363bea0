"""What notebook 07 has two processes do, started once by torchrun: a batch shared out, and a network cut in two.

``python -m torch.distributed.run --standalone --nproc-per-node 2 -m ddpm_edu.exercises.two_processes FOLDER``

Each leaves process-RANK.safetensors in the folder. The data are coloured shapes of 32 x 32 pixels, in the place of
CIFAR-10's pictures, and the network is CIFAR-10's, a quarter as wide: the code is that of the large run.
"""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from ddpm_edu import data, models
from ddpm_edu.training import draws, presets, sharded
from ddpm_edu.training.distributed import Team, together
from ddpm_edu.training.loop import loss_of, one_step
from ddpm_edu.training.state import Run, start

STEPS = 3
NET = replace(models.CIFAR10, width=32, blocks=1, groups=8, dropout=0.0)  # dropout is drawn by each process for itself
CONFIG = replace(presets.CIFAR10, net=NET, steps=STEPS, batch=6, warmup=0, clip=None, precision="fp32")
State = dict[str, Tensor]


def images() -> data.ImageSet:
    """Shapes in the place of CIFAR-10."""
    return data.shapes(64, seed=0)


def run_of(team: Team, folder: Path) -> Run:
    """The training at its first step, in one process of ``team``."""
    return start(CONFIG, folder, team, images=images())


def shared_out(team: Team, folder: Path) -> State:
    """DDP: each process works on its rows of every batch. Weights after three steps, and the last gradient."""
    run = run_of(team, folder)
    pixels = run.images.images
    for _ in range(STEPS):
        one_step(run, pixels)
        run.step += 1
    found = {f"weight.{name}": p.detach().clone() for name, p in run.net.named_parameters()}
    return found | {f"gradient.{name}": p.grad.clone() for name, p in run.net.named_parameters() if p.grad is not None}


def cut_in_pieces(team: Team, folder: Path) -> State:
    """FSDP2: each process also holds only its piece of every tensor. Put together again, after three steps."""
    run = run_of(Team(0, 1, team.device), folder)  # as it is alone; now it is cut
    net = sharded.shard(run.net, team)  # type: ignore[arg-type]
    optimiser, average = torch.optim.Adam(net.parameters(), CONFIG.lr, CONFIG.betas), sharded.average(net)
    for step in range(STEPS):
        optimiser.zero_grad()
        _loss(run, step, team).backward()
        optimiser.step()
        sharded.follow(average, net, CONFIG.ema[0])
    state = sharded.state(net, optimiser, average)
    pieces = [t for t in state.values() if isinstance(t, DTensor)]
    held = sum(t.to_local().numel() for t in pieces), sum(t.numel() for t in pieces)
    return sharded.whole(state) | {"numbers held, of all": torch.tensor(held)}


def _loss(run: Run, step: int, team: Team) -> Tensor:
    """This process's share of the mean loss, times the number of processes: gradients are averaged over them."""
    shape, n = tuple(run.images.images.shape[1:]), len(run.images)
    drawn = draws.draw(CONFIG.seed, step, CONFIG.batch, n, run.s.T, shape, 0.0, team.device)
    (rows,) = draws.rows(CONFIG.batch, team.rank, team.world, 1)
    loss = loss_of(run, run.images.images, draws.Draws(*(values[rows] for values in drawn)))
    return loss.sum() * (team.world / CONFIG.batch)


def launch(folder: Path, processes: int = 2) -> list[State]:
    """Starts them, waits, and returns what each has found. Raises RuntimeError with what they said where one failed."""
    by = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    loopback = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    done = subprocess.run(
        [*by, "-m", __name__, str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **loopback},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"torchrun ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return [load_file(folder / f"process-{rank}.safetensors") for rank in range(processes)]


def main(folder: Path) -> None:
    """In each of the processes."""
    torch.set_num_threads(1)
    with together("cpu") as team:
        found = {f"DDP {name}": t for name, t in shared_out(team, folder / "ddp").items()}
        found |= {f"FSDP2 {name}": t for name, t in cut_in_pieces(team, folder / f"fsdp-{team.rank}").items()}
        save_file({name: t.contiguous() for name, t in found.items()}, folder / f"process-{team.rank}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
