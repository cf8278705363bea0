"""The bound explorer: schedule, width of the steps and Gaussian data, and what each term of the bound then costs.

It is worked out in the browser; what is drawn here is for pages where no script runs.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.patches import Rectangle
from torch import Tensor

from ddpm_edu import closed_form, schedules
from ddpm_edu.plots import COLOURS, DPI
from ddpm_edu.widgets.fast_figure import FastFigure
from ddpm_edu.widgets.in_browser import InBrowser, script, stop_of, without_markup
from ddpm_edu.widgets.schedule_explorer import make_schedule

VARIANCES = ("beta", "posterior", "optimal")
MEANS = [-1.0, -0.6, -0.3, 0.0, 0.3, 0.6, 1.0]
STDS = [0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0]
T_MAX = 2000
GAP_FLOOR = 1e-8  # bits; what is smaller is drawn as this, the foot of the logarithmic axis


def by_doubling(terms: Tensor) -> tuple[list[str], Tensor]:
    """Terms at t = 2..T in groups that double in length, 2, 3-4, 5-8, ...: their names and their sums.

    terms: (T + 1,), entries 0 and 1 unused. Equal groups would hide that most of the bound is paid at small t.
    """
    T = len(terms) - 1
    edges = [2] + [2**k + 1 for k in range(1, (T - 1).bit_length())] + [T + 1]
    spans = [(low, high - 1) for low, high in itertools.pairwise(edges) if low < high]
    names = [f"{low}" if low == high else f"{low}-{high}" for low, high in spans]
    return names, torch.stack([terms[low : high + 1].sum() for low, high in spans])


def terms_in_bits(chain: closed_form.GaussianChain) -> tuple[float, Tensor, float]:
    """L_T, L_{t-1} at t = 2..T (T + 1,), and L_0 with a density, in bits per dimension."""
    nat = math.log(2)
    return chain.prior() / nat, chain.denoising() / nat, chain.reconstruction() / nat


class BoundPicture:
    """The drawing: bars of the terms, from noise to data, and the two gaps. Knows nothing of widgets."""

    def __init__(self) -> None:
        self.figure = FastFigure(figsize=(11.5, 3.2), dpi=DPI, facecolor="white")
        self.figure.subplots_adjust(left=0.06, right=0.99, bottom=0.2, top=0.88, wspace=0.2)
        left, right = self.figure.subplots(1, 2, width_ratios=(3, 1))
        names, _ = by_doubling(torch.zeros(T_MAX + 1))
        places = ["L_T", *(f"t = {name}" for name in reversed(names)), "L_0"]
        left.set(title="what each term costs, bits per dimension", xlim=(-0.7, len(places) - 0.3), ylim=(-6, 3))
        left.set_xticks(range(len(places)), places, rotation=30, ha="right", fontsize=7)
        left.axhline(0, color="0.4", linewidth=0.8)
        right.set(title="what is lost, bits per dimension", ylim=(GAP_FLOOR, 10), yscale="log", xlim=(-0.7, 1.7))
        right.set_xticks([0, 1], ["by the model:\n-log p over entropy", "by the bound:\nL over -log p"], fontsize=7)
        for ax in (left, right):
            ax.grid(axis="y", alpha=0.3)
        self.bars = left.bar(range(len(places)), np.zeros(len(places)), color=COLOURS[0])
        self.bars[0].set_color(COLOURS[2])
        self.bars[-1].set_color(COLOURS[1])
        self.gaps = right.bar([0, 1], [1, 1], color=[COLOURS[3], COLOURS[4]])
        self.figure.freeze([*self.bars, *self.gaps])

    def draw(self, family: str, T: int, variance: str, mean: float, std: float) -> bytes:
        """PNG bytes of the two panels."""
        chain = make_chain(family, T, variance, mean, std)
        prior, denoising, last = terms_in_bits(chain)
        _, sums = by_doubling(denoising)
        heights = np.zeros(len(self.bars))
        heights[0], heights[-1] = prior, last
        heights[-1 - len(sums) : -1] = sums.flip(0).numpy()
        _set_heights(list(self.bars), heights)
        _set_heights(list(self.gaps), np.maximum(gaps(family, T, variance, mean, std), GAP_FLOOR) - GAP_FLOOR)
        return self.figure.png()

    def describe(self, family: str, T: int, variance: str, mean: float, std: float) -> str:
        """The numbers behind the picture, as one line of HTML."""
        chain = make_chain(family, T, variance, mean, std)
        prior, denoising, last = terms_in_bits(chain)
        by_model, by_bound = gaps(family, T, variance, mean, std)
        entropy = chain.entropy() / math.log(2)
        return (
            f"L_T {prior:.2g} + denoising {denoising.sum().item():.3f} + L_0 {last:.3f} = "
            f"<b>bound {chain.total() / math.log(2):.4f}</b> bits per dimension.<br>"
            f"Entropy of the data {entropy:.4f}; lost by the model {_small(by_model)}, by the bound {_small(by_bound)}."
        )


def make_chain(family: str, T: int, variance: str, mean: float, std: float) -> closed_form.GaussianChain:
    """The Gaussian chain that the controls ask for."""
    return closed_form.gaussian(make_schedule(family, T, 1e-4, 0.02), mean, std, variance)


@functools.lru_cache(maxsize=1)  # picture and numbers ask for the same; the walk over all t is the slow part
def gaps(family: str, T: int, variance: str, mean: float, std: float) -> tuple[float, float]:
    """(-log p - entropy, L + log p) in bits per dimension, both >= 0 up to rounding."""
    chain = make_chain(family, T, variance, mean, std)
    nll = chain.nll()
    return (nll - chain.entropy()) / math.log(2), (chain.total() - nll) / math.log(2)


def _small(bits: float) -> str:
    return f"{bits:.4f}" if bits >= 0.001 else f"{max(bits, 0):.0e}" if bits >= GAP_FLOOR else "nothing"


def _set_heights(bars: list[Rectangle], heights: np.ndarray) -> None:
    for bar, height in zip(bars, heights, strict=True):
        bar.set_height(height)


class BoundExplorer(InBrowser):
    """The widget; :func:`bound_explorer` makes one. ``chosen`` holds the five settings as the reader left them."""

    file = "bound"
    _esm = script("bound")


def bound_explorer(
    family: str = "linear", T: int = 1000, variance: str = "beta", mean: float = 0.3, std: float = 0.5
) -> BoundExplorer:
    """The explorer as a widget, which needs no kernel.

    ``family``: a key of ``schedules.FAMILIES``; T: 10, 20, ..., 2000; ``variance``: one of VARIANCES; ``mean`` and
    ``std``: among MEANS and STDS. Raises DDPMError for a setting that the controls cannot show, ScheduleError for one
    that no schedule can have.
    """
    given: dict[str, Any] = {
        "title": "the bound, term by term",
        "families": list(schedules.FAMILIES),
        "variances": list(VARIANCES),
        "means": MEANS,
        "stds": STDS,
        "T_max": T_MAX,
    }
    controls: dict[str, tuple[Any, Sequence[Any]]] = {
        "family": (family, given["families"]),
        "T": (T, range(10, T_MAX + 1, 10)),
        "variance": (variance, VARIANCES),
        "mean": (mean, MEANS),
        "std": (std, STDS),
    }
    chosen = {name: stop_of("bound_explorer", name, *control) for name, control in controls.items()}
    still = BoundPicture()
    setting = f"{family}, T = {chosen['T']}, {variance}, N({mean:g}, {std:g}^2)"
    text = f"{setting}\n{without_markup(still.describe(**chosen))}"
    return BoundExplorer(given, chosen, text, picture=still.draw(**chosen))
