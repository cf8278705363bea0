"""The training loop, in the length that fits on a page: DDPM (Ho et al. 2020), Algorithm 1."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import trange

from ddpm_edu import losses
from ddpm_edu.errors import ConfigError, NonFiniteLossError, ShapeError
from ddpm_edu.forward import random_t
from ddpm_edu.schedules import Schedule
from ddpm_edu.training.randomness import generator

LABELS = 1  # what tells the random numbers for dropping labels from those for data, times and noise
TAIL = 0.1  # the share of the steps, at the end, over which the loss by quartile is averaged


@dataclass(frozen=True, eq=False)
class History:
    """What training looked like. The single losses are noisy: each is of one batch, at its own random t.

    ``loss``: the weighted loss of each step, float64 (steps,). ``by_quartile``: the same by quarter of t, over the last
    tenth of the steps, float64 (4,); NaN where these drew no such t.
    """

    loss: Tensor
    by_quartile: Tensor


def fit(
    net: nn.Module,
    s: Schedule,
    x0: Tensor,
    predicts: str = "eps",
    weight: losses.Weight = losses.uniform,
    steps: int = 2000,
    batch_size: int = 128,
    lr: float = 1e-3,
    seed: int = 0,
    progress: bool = False,
    *,
    labels: Tensor | None = None,
    label_dropout: float = 0.0,
) -> History:
    """Trains ``net`` in place on x0 (N, ...) with Adam, whose rate falls from ``lr`` to 0 along half a cosine.

    Each step draws its samples (with replacement), times and noise from (seed, step) alone. ``labels`` int64 (N,) are
    passed on to the network; a share ``label_dropout`` of them, drawn sample by sample, is replaced by net.no_label,
    which classifier-free guidance needs (Ho & Salimans 2022, Algorithm 1). The network is left in eval mode.
    Raises ConfigError, ShapeError, NonFiniteLossError (which step, and why), and what losses.simple raises.
    """
    _check_labels(net, x0, labels, label_dropout)
    if min(steps, batch_size) < 1 or not 0 < lr < math.inf:
        raise ConfigError(f"fit needs steps, batch_size >= 1 and lr > 0; got {steps}, {batch_size} and {lr}.")
    table = weight(s, predicts)
    optimiser = torch.optim.Adam(net.train().parameters(), lr)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    times, per_sample = [], []
    for step in (bar := trange(steps, disable=not progress, desc="training")):
        draw = generator(seed, step)
        which = torch.randint(len(x0), (batch_size,), generator=draw)
        told = net if labels is None else partial(net, labels=_dropped(labels[which], label_dropout, net, seed, step))
        t, loss = _loss(told, s, x0[which], predicts, table, draw)
        mean = loss.mean()
        if not math.isfinite(mean.item()):
            raise NonFiniteLossError(
                f"the loss is {mean.item()} at step {step} of {steps}. Usual cause: NaN in the data (then it comes "
                "early), or a rate of learning that is too high. Fix: check x0.isfinite().all(), then try lr / 10."
            )
        optimiser.zero_grad()
        mean.backward()
        optimiser.step()
        falling.step()
        times.append(t)
        per_sample.append(loss.detach().double().cpu())
        if step % 100 == 0:
            bar.set_postfix_str(f"loss {mean.item():.4f}")
    net.eval()
    last = slice(-max(1, int(TAIL * steps)), None)
    by_quartile = losses.by_quartile(s, torch.cat(times[last]), torch.cat(per_sample[last]))
    return History(torch.stack([loss.mean() for loss in per_sample]), by_quartile)


def _loss(
    net: Callable[..., Tensor], s: Schedule, batch: Tensor, predicts: str, table: Tensor, draw: torch.Generator
) -> tuple[Tensor, Tensor]:
    """t (n,) on the CPU and the loss of each sample (n,), at times and with noise that ``draw`` decides."""
    t = random_t(s, len(batch), draw)
    noise = torch.randn(batch.shape, generator=draw, dtype=batch.dtype).to(batch.device)
    return t, losses.simple(net, s, batch, t.to(batch.device), noise, predicts, table)


def _dropped(labels: Tensor, share: float, net: Any, seed: int, step: int) -> Tensor:
    """``labels`` with a share of them, each decided on its own, replaced by "no label"."""
    if share == 0:
        return labels
    drop = torch.rand(len(labels), generator=generator(seed, step, LABELS)) < share
    return torch.where(drop.to(labels.device), net.no_label, labels)


def _check_labels(net: nn.Module, x0: Tensor, labels: Tensor | None, label_dropout: float) -> None:
    if labels is not None and (labels.shape != x0.shape[:1] or labels.dtype != torch.int64):
        raise ShapeError(
            f"labels must be int64 of shape ({len(x0)},), one a sample, got {labels.dtype} {tuple(labels.shape)}."
        )
    if not 0 <= label_dropout < 1 or (label_dropout and labels is None):
        raise ConfigError(
            f"label_dropout={label_dropout} is the share of labels to leave out, in [0, 1), and needs labels. "
            "Usual cause: a percentage. Fix: label_dropout=0.1, labels=..."
        )
    if label_dropout and not hasattr(net, "no_label"):
        raise ConfigError(
            f"label_dropout={label_dropout} needs net.no_label, which {type(net).__name__} has not. "
            "Fix: a network with a label for none, UNet(UNetConfig(classes=...))."
        )
