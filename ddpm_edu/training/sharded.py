"""When one GPU is not enough: weights, their average and Adam's moments cut in pieces, one for each process (FSDP2).

With DDP every process holds everything, 20 bytes a parameter in float32: weight, gradient, average, Adam's two moments
(0.7 GB for DDPM's network of CIFAR-10, which gains nothing here). Now each holds its share; before a block computes,
the processes send each other its weights, and let go of them after it. In a script that torchrun starts::

    with together() as team:
        net = sharded.shard(models.UNet(config).to(team.device), team)
        optimiser = torch.optim.Adam(net.parameters(), lr)
        average = sharded.average(net)
        for step in range(steps):
            ...  # the loss of this process's rows; gradients are averaged over processes, as with DDP
            optimiser.step()
            sharded.follow(average, net, 0.9999)
        sharded.save(folder / f"step-{step}", sharded.state(net, optimiser, average), team)

A folder that torch.distributed.checkpoint writes by default holds a pickle, ``.metadata``: whoever opens it runs what
it says, so open only your own. Here it writes safetensors, which hold numbers and nothing else. They have no hash:
a flipped bit goes unseen (:mod:`ddpm_edu.training.checkpoint` is for runs that must last).
"""

import contextlib
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from ddpm_edu.errors import CheckpointError
from ddpm_edu.models.unet import Block, UNet
from ddpm_edu.training.distributed import Team

State = dict[str, Tensor]
"""Tensors by name: the very ones in use, whole or as this process's share (DTensor)."""


def shard(net: UNet, team: Team) -> UNet:
    """``net``, in place, cut over all processes: each block a unit that is put together to compute, and the rest one.

    The weights must be the same everywhere (seed before the network is made). Make the optimiser afterwards.
    """
    mesh = init_device_mesh(team.device.type, (team.world,))
    for module in net.modules():
        if isinstance(module, Block):
            fully_shard(module, mesh=mesh)
    fully_shard(net, mesh=mesh)
    return net


def average(net: nn.Module) -> State:
    """A copy of the weights as they lie, for :func:`follow`. (torch's AveragedModel cannot copy a sharded network.)"""
    return {name: p.detach().clone() for name, p in net.named_parameters()}


@torch.no_grad()
def follow(average: State, net: nn.Module, decay: float) -> None:
    """One step of the average, average <- decay average + (1 - decay) weights: each process does its own share."""
    torch._foreach_lerp_(list(average.values()), [p.detach() for p in net.parameters()], 1 - decay)


def whole(tensors: State) -> State:
    """Copies of all tensors in one piece, in each process, to sample from or to export. All processes must ask."""
    return {name: (t.full_tensor() if isinstance(t, DTensor) else t).clone() for name, t in tensors.items()}


def state(net: nn.Module, optimiser: torch.optim.Adam, average: State) -> State:
    """All that a next step depends on, by name; what a new Adam has not made yet is made, as zeros."""
    found = {f"average.{name}": t for name, t in average.items()}
    for name, p in net.named_parameters():
        adam = optimiser.state[p]
        if not adam:
            adam |= {"step": torch.zeros(()), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        found[f"net.{name}"] = p.detach()
        found |= {f"adam.{key}.{name}": t for key, t in adam.items()}
    return found


def save(folder: Path, state: State, team: Team) -> None:
    """Each process writes its share into ``folder``, which must be new. All must call. Raises CheckpointError."""
    if team.any(folder.exists()):
        raise CheckpointError(f"{folder} is there already, and shares of two states must not mix. Fix: a new folder.")
    part = folder.with_name(f".{folder.name}.part")
    if team.is_main:
        shutil.rmtree(part, ignore_errors=True)  # of a process that was killed while it wrote
    team.wait()
    with _without_a_word_if_alone(team):
        writer = HuggingFaceStorageWriter(str(part), save_distributed=True)
        state_dict_saver.save(state, storage_writer=writer, no_dist=team.world == 1)
    if team.is_main:
        part.rename(folder)
    team.wait()


def load(folder: Path, state: State, team: Team) -> None:
    """Fills ``state`` from ``folder``, by however many processes that was written. All must call.

    Raises CheckpointError where the folder is no such one, or of another network.
    """
    if team.any(not folder.is_dir()):
        raise CheckpointError(f"there is no folder {folder}, or not for all {team.world} processes. Fix: its path.")
    reader = HuggingFaceStorageReader(str(folder))
    try:
        for name, held in cast(dict[str, TensorStorageMetadata], reader.read_metadata().state_dict_metadata).items():
            if sum(chunk.sizes.numel() for chunk in held.chunks) != held.size.numel():  # torch would not mind
                raise ValueError(f"a share of {name} is missing")
        with _without_a_word_if_alone(team):
            state_dict_loader.load(state, storage_reader=reader, no_dist=team.world == 1)
    except (Exception, CheckpointException) as cause:  # torch's is no Exception
        *_, reason = str(cause).strip().splitlines() or [repr(cause)]
        raise CheckpointError(
            f"{folder} is no sharded checkpoint of this network ({reason}). Usual cause: another configuration. "
            "Fix: the one it was made with."
        ) from cause


@contextlib.contextmanager
def _without_a_word_if_alone(team: Team) -> Iterator[None]:
    """torch warns whoever saves or loads in one process, even who has said so."""
    with warnings.catch_warnings():
        if team.world == 1:
            warnings.filterwarnings("ignore", "torch.distributed is .*uninitialized", UserWarning)
        yield
