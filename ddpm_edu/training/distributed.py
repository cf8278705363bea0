"""One process or many: what a training loop must know of the others. Started by torchrun, or alone.

The network between the processes has no password: use it where every machine on it is trusted.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from ddpm_edu.errors import ConfigError

PATIENCE = timedelta(minutes=30)  # one process may draw samples meanwhile


@dataclass(frozen=True)
class Team:
    """All processes of one training: this one's number, how many there are, and this one's device."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this is the one that prints, saves and samples."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is set in at least one process. All must ask."""
        if self.world == 1:
            return flag
        told = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(told, dist.ReduceOp.MAX)
        return bool(told.item())

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, in place. All must ask."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def together(device: str | torch.device | None = None) -> Iterator[Team]:
    """The team that torchrun's environment describes, or a team of one. Raises ConfigError for a missing device."""
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    own = pick_device(device, int(os.environ.get("LOCAL_RANK", 0)))
    if own.type == "cuda":
        torch.cuda.set_device(own)
    if world == 1:
        yield Team(0, 1, own)
        return
    dist.init_process_group("nccl" if own.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Team(rank, world, own)
    finally:
        dist.destroy_process_group()


def pick_device(wanted: str | torch.device | None, local_rank: int = 0) -> torch.device:
    """``wanted``, checked; or this process's GPU, or the CPU where there is none. Raises ConfigError."""
    gpus = torch.cuda.device_count()
    if wanted is None:
        return torch.device("cuda", local_rank) if gpus else torch.device("cpu")
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= gpus:
        there = f"there are cuda:0 to cuda:{gpus - 1}" if gpus else "there is no CUDA GPU"
        raise ConfigError(f"{device} is asked for, and {there}. Fix: device=None takes what there is.")
    return device
