"""Averaged weights: what one samples from. Each average is a copy in float32 that follows the network slowly.

Training jumps about its goal; the average of the last thousands of steps is nearer to it than any of them. DDPM (Ho et
al. 2020, appendix B) uses 0.9999. With a fixed decay the first weights, which are random, keep the share decay^n after
n steps: 82 % after 2,000 at 0.9999. So the decay warms up, min(decay, (1 + n) / (10 + n)), unless told otherwise.
"""

import copy
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_edu.errors import ConfigError, TrainingWarning

Rate = Callable[[int], float]
"""The decay of update n = 1, 2, ..: the share of the old average that stays."""

FIRST_WEIGHTS_LIMIT = 0.05  # of the average: more than this left of the first weights is worth a warning


def constant(decay: float) -> Rate:
    """The same decay at every step, as DDPM has it. Raises ConfigError for a decay outside [0, 1)."""
    _check(decay)
    return lambda n: decay


def warmed_up(decay: float) -> Rate:
    """min(decay, (1 + n) / (10 + n)): the average of few weights while there are few."""
    _check(decay)
    return lambda n: min(decay, (1 + n) / (10 + n))


def power(width: float) -> Rate:
    """EDM2's power function, (1 - 1 / n)^(gamma + 1): its profile keeps the same ``width``, as a share of the training.

    Karras et al. 2024, Eqs. 2 and 121 in substance: sigma_rel = (gamma + 1)^(1/2) / ((gamma + 2) (gamma + 3)^(1/2)) is
    solved for gamma. From the snapshots of two such averages any other can be made afterwards
    (:mod:`ddpm_edu.training.posthoc`). Raises ConfigError for a width outside (0, 0.28).
    """
    gamma = gamma_of(width)
    return lambda n: (1 - 1 / n) ** (gamma + 1)


def gamma_of(width: float) -> float:
    """The exponent whose profile has the relative standard deviation ``width``. Raises ConfigError."""
    if not 1e-5 < width < 0.28:
        raise ConfigError(
            f"the relative width of a power-function average lies in (1e-5, 0.28), got {width!r}. Fix: 0.1."
        )
    low, high = 0.0, 1e6  # the width falls with gamma
    for _ in range(200):
        middle = (low + high) / 2
        if (middle + 1) ** 0.5 / ((middle + 2) * (middle + 3) ** 0.5) > width:
            low = middle
        else:
            high = middle
    return (low + high) / 2


class Averages:
    """The averages of one network, each with its own rate; updated with :meth:`update`, sampled from with :meth:`net`.

    Parameters are averaged in float32, whatever the network has; buffers are copied. ``rates``: by name.
    """

    def __init__(self, net: nn.Module, rates: dict[str, Rate]) -> None:
        self.rates, self.updates = rates, 0
        self.weights = {name: _copies(net) for name in rates}

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """One step of each average towards the weights of ``net`` as they are now."""
        self.updates += 1
        new = [p.detach().to(torch.float32) for p in net.parameters()]
        for name, rate in self.rates.items():
            torch._foreach_lerp_(list(self.weights[name].values()), new, 1 - rate(self.updates))

    def net(self, like: nn.Module, name: str) -> nn.Module:
        """A copy of ``like`` in eval mode with the average's weights. ``like`` is not touched: nothing is swapped."""
        averaged = copy.deepcopy(like)
        with torch.no_grad():
            for key, p in averaged.named_parameters():
                p.copy_(self.weights[name][key])
        return averaged.requires_grad_(False).eval()

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: tensors, names and a number."""
        return {"updates": self.updates, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The other way; names and shapes must be the same. Raises ConfigError."""
        weights = state["weights"]
        if not isinstance(weights, dict) or weights.keys() != self.weights.keys():
            raise ConfigError(
                f"the checkpoint has the averages {list(weights)}, the configuration {list(self.weights)}."
            )
        for name, own in self.weights.items():
            if own.keys() != weights[name].keys() or any(own[k].shape != weights[name][k].shape for k in own):
                raise ConfigError(f"the average {name!r} in the checkpoint is of another network.")
            for key, value in own.items():
                value.copy_(weights[name][key])
        self.updates = int(state["updates"])


def share_of_the_first(rate: Rate, steps: int) -> float:
    """What is left of the first weights in the average after ``steps`` updates."""
    return math.prod(rate(n) for n in range(1, steps + 1))


def warn_if_slow(rates: dict[str, Rate], steps: int) -> None:
    """Says so where an average will still be mostly the random weights that it began with (TrainingWarning)."""
    for name, rate in rates.items():
        share = share_of_the_first(rate, steps)
        if share > FIRST_WEIGHTS_LIMIT:
            warnings.warn(
                f"after {steps} steps {share:.0%} of the average {name!r} will still be the first, random weights. "
                "Usual cause: DDPM's 0.9999 in a run far shorter than its 800,000 steps. "
                "Fix: ema_warmup=True, or a smaller decay.",
                TrainingWarning,
                stacklevel=2,
            )


def rates(decays: Sequence[float], warmup: bool, widths: Sequence[float] = ()) -> dict[str, Rate]:
    """The averages of a configuration by name: "0.9999" for a decay, "power 0.1" for a width of EDM2's."""
    kind = warmed_up if warmup else constant
    return {f"{d}": kind(d) for d in decays} | {power_name(w): power(w) for w in widths}


def power_name(width: float | str) -> str:
    """What the power-function average of this width is called."""
    return f"power {width}"


def _copies(net: nn.Module) -> dict[str, Tensor]:
    return {key: p.detach().to(torch.float32, copy=True) for key, p in net.named_parameters()}


def _check(decay: float) -> None:
    if not 0 <= decay < 1:
        raise ConfigError(f"an EMA decay lies in [0, 1), got {decay!r}. Usual cause: a percentage. Fix: 0.9999.")
