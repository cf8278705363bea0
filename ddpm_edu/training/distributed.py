"""One process or many: what a training loop must know of the others. Started by torchrun, or alone.

The network between the processes has no password: use it where every machine on it is trusted.
"""

import os
import warnings
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

    def same(self, value: int) -> bool:
        """Whether all processes have the same ``value``. All must ask."""
        if self.world == 1:
            return True
        ends = torch.tensor([value, -value], device=self.device)
        dist.all_reduce(ends, dist.ReduceOp.MAX)
        largest, smallest = ends[0].item(), -ends[1].item()
        return largest == smallest

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def together(device: str | torch.device | None = None) -> Iterator[Team]:
    """The team that torchrun's environment describes, or a team of one.

    Raises ConfigError for a missing device, for one GPU of many processes ("cuda:0"), and for an environment that
    describes no team.
    """
    rank, world, local_rank = _whereabouts()
    if world > 1 and device is not None and _named(device).type == "cuda" and _named(device).index is not None:
        raise ConfigError(
            f"{device} is asked for, by each of {world} processes: all would share one GPU. Usual cause: a command for "
            'one process. Fix: device=None or "cuda", which give each process a GPU of its own.'
        )
    own = pick_device(device, local_rank)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    if world == 1:
        yield Team(0, 1, own)
        return
    dist.init_process_group("nccl" if own.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        with warnings.catch_warnings():
            if rank:
                warnings.simplefilter("ignore", UserWarning)  # the main process says it once for all
            yield Team(rank, world, own)
    finally:
        dist.destroy_process_group()


def pick_device(wanted: str | torch.device | None, local_rank: int = 0) -> torch.device:
    """``wanted``, checked; None is a CUDA GPU where there is one, else the CPU.

    Of several GPUs each process has its own, unless ``wanted`` names one ("cuda:0"). Raises ConfigError.
    """
    gpus = torch.cuda.device_count()
    device = torch.device("cuda" if gpus else "cpu") if wanted is None else _named(wanted)
    if device.type != "cuda":
        return device
    device = torch.device("cuda", local_rank if device.index is None else device.index)
    if device.index >= gpus:
        there = f"there are cuda:0 to cuda:{gpus - 1}" if gpus else "there is no CUDA GPU"
        raise ConfigError(
            f"{device} is asked for, and {there}. Usual cause: more processes than GPUs. Fix: as many as there are, or "
            "device=None, which takes what there is."
        )
    return device


def _named(wanted: str | torch.device) -> torch.device:
    try:
        device = torch.device(wanted)
    except (RuntimeError, TypeError):
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"a device is called cpu, cuda, cuda:1 or mps, got {wanted!r}. Fix: device=None.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(f"{wanted} is asked for, and this is no Mac whose GPU torch can use. Fix: device=None.")
    return device


def _whereabouts() -> tuple[int, int, int]:
    """Number of this process, number of processes, number on this machine, as torchrun tells them."""
    told = {name: os.environ.get(name) for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT")}
    if told["WORLD_SIZE"] in (None, "1"):
        return 0, 1, 0
    missing = [name for name, value in told.items() if value is None]
    numbers = [told["WORLD_SIZE"], told["RANK"], os.environ.get("LOCAL_RANK", "0")]
    if missing or not all(number and number.isdecimal() for number in numbers):
        raise ConfigError(
            f"the environment says that this is one of several processes, and not which: {told}. Usual cause: a "
            "variable left over, or set by a cluster. Fix: start it by torchrun, or unset WORLD_SIZE to train alone."
        )
    world, rank, local_rank = (int(number or 0) for number in numbers)
    if rank >= world:
        raise ConfigError(f"RANK={rank} of WORLD_SIZE={world}: it counts from 0. Fix: start it by torchrun.")
    return rank, world, local_rank
