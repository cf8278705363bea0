"""The training loop, in the length that fits on a page: DDPM (Ho et al. 2020), Algorithm 1."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm.auto import trange

from ddpm_edu import losses
from ddpm_edu.errors import ConfigError, NonFiniteLossError
from ddpm_edu.forward import random_t
from ddpm_edu.schedules import Schedule
from ddpm_edu.training.randomness import generator

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
) -> History:
    """Trains ``net`` in place on x0 (N, ...) with Adam, whose rate falls from ``lr`` to 0 along half a cosine.

    Each step draws its samples (with replacement), times and noise from (seed, step) alone. The network is left in
    eval mode. Raises ConfigError, NonFiniteLossError (which step, and why that happens), and what losses.simple raises.
    """
    if min(steps, batch_size) < 1 or not 0 < lr < math.inf:
        raise ConfigError(f"fit needs steps, batch_size >= 1 and lr > 0; got {steps}, {batch_size} and {lr}.")
    table = weight(s, predicts)
    optimiser = torch.optim.Adam(net.train().parameters(), lr)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    times, per_sample = [], []
    for step in (bar := trange(steps, disable=not progress, desc="training")):
        t, loss = _loss(net, s, x0, predicts, table, batch_size, generator(seed, step))
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
    net: nn.Module, s: Schedule, x0: Tensor, predicts: str, table: Tensor, n: int, draw: torch.Generator
) -> tuple[Tensor, Tensor]:
    """t (n,) on the CPU and the loss of each sample (n,), for one batch that ``draw`` decides."""
    batch = x0[torch.randint(len(x0), (n,), generator=draw)]
    t = random_t(s, n, draw)
    noise = torch.randn(batch.shape, generator=draw, dtype=batch.dtype).to(batch.device)
    return t, losses.simple(net, s, batch, t.to(batch.device), noise, predicts, table)
