"""The library's answers to notebook 07's exercises, with their arguments."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_edu.training import ema, presets
from ddpm_edu.training.draws import rows
from ddpm_edu.training.randomness import generator


def draw(
    seed: int, step: int, batch: int, shape: tuple[int, ...], T: int, rank: int, world: int
) -> tuple[Tensor, Tensor]:
    """Times and noise of this process's rows: :mod:`ddpm_edu.training.draws`, which has a stream for each kind."""
    g, (own,) = generator(seed, step), rows(batch, rank, world, 1)
    t, noise = torch.randint(1, T + 1, (batch,), generator=g), torch.randn(batch, *shape, generator=g)
    return t[own], noise[own]


def state_of(step: int, net: nn.Module, optimiser: torch.optim.Optimizer, average: dict[str, Tensor]) -> dict[str, Any]:
    """What a checkpoint holds: :meth:`ddpm_edu.training.state.Run.state_dict` has some more for people."""
    return {"step": step, "net": net.state_dict(), "optimiser": optimiser.state_dict(), "average": average}


def followed(average: Tensor, weight: Tensor, decay: float, n: int) -> Tensor:
    """One update of an average: :func:`ddpm_edu.training.ema.warmed_up`, float32 whatever the weight is."""
    return average.lerp(weight.to(average.dtype), 1 - ema.warmed_up(decay)(n))


def lr_at(step: int, steps: int, warmup: int, peak: float) -> float:
    """The rate of a step: :meth:`ddpm_edu.training.TrainConfig.lr_at`."""
    config = replace(presets.CIFAR10, steps=steps, warmup=warmup, lr=0.5, decay="cosine")  # lr < 1; any peak goes
    return config.lr_at(step) * peak / 0.5


def accumulated_step(
    loss_of: Callable[[Tensor], Tensor], parts: Sequence[Tensor], optimiser: torch.optim.Optimizer
) -> None:
    """One step from a batch in parts, as :func:`ddpm_edu.training.loop.one_step` does it."""
    optimiser.zero_grad(set_to_none=True)
    n = sum(len(part) for part in parts)
    for part in parts:
        (loss_of(part).sum() / n).backward()
    optimiser.step()


def scaled_step(
    loss: Tensor,
    parameters: Iterable[Tensor],
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    limit: float,
) -> None:
    """One step in fp16, as :func:`ddpm_edu.training.loop.one_step` does it."""
    optimiser.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()
    scaler.unscale_(optimiser)
    nn.utils.clip_grad_norm_(parameters, limit)
    scaler.step(optimiser)
    scaler.update()


def whole_step(
    run: tuple[nn.Module, torch.optim.Optimizer, dict[str, Tensor]],
    loss_of: Callable[[Tensor], Tensor],
    parts: Sequence[Tensor],
    limit: float,
    decay: float,
    n: int,
) -> None:
    """One update of weights and average, the n-th (1, 2, ..), as :func:`ddpm_edu.training.loop.one_step` does it."""
    net, optimiser, average = run
    optimiser.zero_grad(set_to_none=True)
    samples = sum(len(part) for part in parts)
    for part in parts:
        (loss_of(part).sum() / samples).backward()
    nn.utils.clip_grad_norm_(net.parameters(), limit)
    optimiser.step()
    for name, weight in net.named_parameters():
        average[name] = followed(average[name], weight.detach(), decay, n)
