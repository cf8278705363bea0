"""The randomness of a step, as a function of (seed, step) and of nothing else.

What is drawn: which images, their times, their noise, which are mirrored, which labels are hidden. All of it for the
whole batch, of which each process then takes its rows. So 1, 2 or 4 processes see the same data and noise, a killed run
goes on as if nothing had happened, and no state of any generator has to be saved. (Dropout is drawn by torch's own
generator, seeded anew from (seed, step, process, part): it alone depends on how many processes there are.)
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_edu.training.randomness import generator, seed_of

ORDER, TIMES, NOISE, FLIPS, LABELS, DROPOUT = range(6)  # what a number is drawn for


class Draws(NamedTuple):
    """The rows (n,) of one process and one part of the batch."""

    image: Tensor  # which images, int64 on the CPU
    t: Tensor  # int64, on the device
    noise: Tensor  # (n, C, H, W), on the device
    flip: Tensor  # bool, on the device
    hide: Tensor  # bool, on the device: hide the label


def rows(batch: int, rank: int, world: int, accumulate: int) -> list[Tensor]:
    """Which rows of the batch this process works on, in its ``accumulate`` parts. Parts may differ by a row."""
    return [part for part in torch.arange(rank, batch, world).tensor_split(accumulate) if len(part)]


def order(seed: int, step: int, batch: int, n: int) -> Tensor:
    """The images of the batch of ``step``, int64 (batch,): in each epoch all n of them once, in an order of its own."""
    place = torch.arange(step * batch, (step + 1) * batch)
    epochs = torch.div(place, n, rounding_mode="floor")
    return torch.cat([permutation(seed, int(epoch), n)[place[epochs == epoch] % n] for epoch in epochs.unique()])


@lru_cache(maxsize=2)
def permutation(seed: int, epoch: int, n: int) -> Tensor:
    """The order of n images in one epoch, int64 (n,)."""
    return torch.randperm(n, generator=generator(seed, ORDER, epoch))


def on_device(device: torch.device, *key: int) -> torch.Generator:
    """A generator of the device for this key; the numbers of one kind of device are its own."""
    return torch.Generator(device).manual_seed(seed_of(*key))


def draw(
    seed: int, step: int, batch: int, n: int, T: int, shape: tuple[int, ...], hidden: float, device: torch.device
) -> Draws:
    """All rows of the batch of one step, n images of ``shape`` (C, H, W); a share ``hidden`` of labels to hide."""
    times, noise, flips, labels = (on_device(device, seed, kind, step) for kind in (TIMES, NOISE, FLIPS, LABELS))
    return Draws(
        order(seed, step, batch, n),
        torch.randint(1, T + 1, (batch,), generator=times, device=device),
        torch.randn(batch, *shape, generator=noise, device=device),
        torch.rand(batch, generator=flips, device=device) < 0.5,
        torch.rand(batch, generator=labels, device=device) < hidden,
    )


def seed_dropout(seed: int, step: int, rank: int, part: int) -> None:
    """Seeds torch's own generators, of all devices, for the dropout of one part of one step."""
    torch.manual_seed(seed_of(seed, DROPOUT, step, rank, part))
