"""The sampling explorer: sampler, steps, digit, guidance and clip, and the way from noise to four images.

x_T and the noise of each step depend on the seed alone, so that moving one control changes one thing.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import torch
from ipywidgets import Dropdown, SelectionSlider
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from torch import Tensor

from ddpm_edu import models, parameterization, sampling, schedules
from ddpm_edu.data import digits
from ddpm_edu.parameterization import Denoise
from ddpm_edu.plots import COLOURS, DPI
from ddpm_edu.sampling import guidance, loop, thresholding
from ddpm_edu.widgets.fast_figure import FastFigure
from ddpm_edu.widgets.picture_box import PictureBox, slider, stops

DDIM = "DDIM"
SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "DDPM": ("ddpm", {}),
    "DDPM, posterior variance": ("ddpm", {"variance": "posterior"}),
    DDIM: ("ddim", {}),
    "DPM-Solver++(2M)": ("dpmpp_2m", {}),
    "DPM-Solver++(2M), SDE": ("dpmpp_2m_sde", {}),
    "Heun": ("heun", {}),
}
NO_DIGIT = "none"
CLIPS: dict[str, Callable[[Tensor], Tensor] | None] = {
    "none": None,
    "static": parameterization.static_clip,
    "dynamic": thresholding.dynamic,
}
STEPS: list[float] = [1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30]  # Heun's 30, guided, are 118 calls: half a second and more
ETAS = [0.0, 0.25, 0.5, 0.75, 1.0]
WEIGHTS = [0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0]
SAMPLES, SEEDS = 4, 100  # images that are made at once; seeds to choose from
MOMENTS = 7  # of the first image's way, at most
FAR = 1 + 1 / 16  # beyond -1 or 1 by half a grey level of the digits, which have 17
CLOSE = 0.25  # root mean square: two grey levels
DISTANCES = 0.02, 20.0  # of the lower axis; what is outside is drawn at its end
WIDTH, HEIGHT = 11.5, 2.65  # of the picture, in inches, as all below
CELL, PITCH = 0.87, 0.92  # side of an image, and from one to the next
LEFT, BOTTOM = 0.6, 0.5
CAPTION = (
    "The way of the first result (top left), from noise on. Pixels above 1 are orange, below -1 blue, by half a grey\n"
    "level or more. At the right: the times visited; distances are root mean squares, the first result's in black."
)


# ---------------------------------------------------------------- from the controls to the images


class Way(NamedTuple):
    """A walk: the N visited ``times``, x_t and x0-hat there (N, 4, 1, 8, 8), the results, calls of the network."""

    times: list[int]
    x_t: Tensor
    x0: Tensor
    result: Tensor
    calls: int

    def distances(self) -> Tensor:
        """Root mean square between x0-hat and the result, (N, 4); 0 at the last time, whose x0-hat is the result."""
        return _rms(self.x0 - self.result)

    def settled(self) -> int:
        """The time from which on the first image's x0-hat stays within CLOSE of the result."""
        far = (self.distances()[:, 0] >= CLOSE).nonzero()
        return self.times[int(far.max()) + 1 if len(far) else 0]


class Numbers(NamedTuple):
    """What can be said of a set of images (n, 1, 8, 8)."""

    std: float  # of all pixels
    at_limits: float  # share of pixels at or beyond -1 and 1
    far: float  # share beyond by half a grey level or more
    largest: float  # of |x|
    apart: float  # mean distance of two images, root mean square

    @classmethod
    def of(cls, images: Tensor) -> "Numbers":
        """Counted, in ``images`` (n, 1, 8, 8) with n > 1."""
        size, pixels = images.abs(), images.flatten(1)
        at_limits, far = ((size >= limit).double().mean().item() for limit in (1.0, FAR))
        apart = torch.pdist(pixels).mean().item() / pixels.shape[1] ** 0.5
        return cls(images.std().item(), at_limits, far, size.max().item(), apart)


def generators(seed: int) -> list[torch.Generator]:
    """One for each of the four images; no two seeds share any."""
    return [torch.Generator().manual_seed(SAMPLES * seed + i) for i in range(SAMPLES)]


class SamplingPicture:
    """The drawing: one image's way above what the network saw in it, four results, two plots. Knows no widgets."""

    def __init__(self) -> None:
        self.net, self.config = models.load("digits_unet")
        self.s = schedules.by_name(self.config["schedule"]["family"], self.config["schedule"]["T"])
        known = digits()
        self.images, self.labels = known.model_range(), known.labels
        self._walk = functools.lru_cache(maxsize=256)(self._walk_anew)  # picture and words ask for the same
        self.of_data = functools.lru_cache(maxsize=None)(self._of_data)
        self._build()

    def denoiser(self, digit: int | str, w: float, clip: str) -> Denoise:
        """The network as the controls want it: guided towards ``digit``, and then limited."""
        label = int(self.net.no_label) if digit == NO_DIGIT else int(digit)  # type: ignore[arg-type]
        labels = torch.full((SAMPLES,), label)
        guided = guidance.of_network(self.net, self.s, self.config["predicts"], labels, w)
        limit = CLIPS[clip]
        return guided if limit is None else thresholding.limited(guided, self.s, limit)

    def walk(self, sampler: str, steps: int, eta: float, digit: int | str, w: float, clip: str, seed: int) -> Way:
        """From the noise of ``seed`` to four images. What a setting has no use for counts as 0."""
        eta, w = (eta if sampler == DDIM else 0.0), (0.0 if digit == NO_DIGIT else w)
        return self._walk(sampler, steps, eta, digit, w, clip, seed)

    def _walk_anew(self, sampler: str, steps: int, eta: float, digit: int | str, w: float, clip: str, seed: int) -> Way:
        method, options = SAMPLERS[sampler]
        streams, calls = generators(seed), []
        seen: list[dict[str, Any]] = []
        x_T = loop.draw((SAMPLES, 1, 8, 8), streams, torch.float32, torch.device("cpu"))
        denoise = self.denoiser(digit, w, clip)
        with self.net.register_forward_hook(lambda *_: calls.append(1)):
            result = sampling.sample(
                denoise, self.s, x_T.shape, method, steps, eta, streams, x_T=x_T, callback=seen.append, **options
            )
        x_t = torch.stack([x_T, *(step["x"] for step in seen[:-1])])
        x0 = torch.stack([step["denoised"].x0 for step in seen])
        return Way([step["t"] for step in seen], x_t, x0, result, len(calls))

    def _of_data(self, digit: int | str) -> Numbers:
        chosen = self.images if digit == NO_DIGIT else self.images[self.labels == digit]
        return Numbers.of(chosen[:500])

    # ------------------------------------------------------------ picture and words

    def draw(self, **values: Any) -> bytes:
        """PNG bytes of the way, the results and the plots."""
        way = self.walk(**values)
        moments = np.linspace(0, len(way.times) - 1, min(len(way.times), MOMENTS)).round().astype(int).tolist()
        for column, (title, above, below) in enumerate(self.cells):
            shown = column < len(moments)
            for artist in (title, above, below):
                artist.set_visible(shown)
            if shown:
                title.set_text(f"t = {way.times[moments[column]]}")
                above.set_data(way.x_t[moments[column], 0, 0].numpy())
                below.set_data(way.x0[moments[column], 0, 0].numpy())
        for image, result in zip(self.results, way.result, strict=True):
            image.set_data(result[0].numpy())
        self.visited.set_data(way.times, (1 - self.s.alpha_bar[way.times]).sqrt().numpy())
        for line, distances in zip(self.lines, way.distances().T, strict=True):
            line.set_data(way.times[:-1], distances[:-1].clamp(*DISTANCES).numpy())
        return self.figure.png()

    def describe(self, **values: Any) -> str:
        """What is seen, in words and numbers: a few lines of HTML."""
        way, digit = self.walk(**values), values["digit"]
        found, data = Numbers.of(way.result), self.of_data(digit)
        return (
            f"{_what(**values)}: <b>{_count(way.calls, 'evaluation')} of the network</b> an image, "
            f"{_why(**values)}.<br>"
            f"Pixels: standard deviation <b>{found.std:.3f}</b> "
            f"({'all digits' if digit == NO_DIGIT else f'the {digit}s'} of the data: {data.std:.3f}); "
            f"at or beyond -1 and 1: {found.at_limits:.0%} (data: {data.at_limits:.0%}); "
            f"in colour, beyond by half a grey level: {found.far:.1%}; largest |x| {found.largest:.3g}.<br>"
            f"Two of the four are on average {found.apart:.2f} apart (root mean square; two of the data: "
            f"{data.apart:.2f}). From t = {way.settled()} on, x0-hat of the first stays within {CLOSE} of its result."
        )

    # ------------------------------------------------------------ what does not move

    def _build(self) -> None:
        self.figure = FastFigure(figsize=(WIDTH, HEIGHT), dpi=DPI, facecolor="white")
        self.cells = []
        for column in range(MOMENTS):
            above, below = (self._image(LEFT + column * PITCH, row, beyond=row == 1) for row in (0, 1))
            title = above.axes.set_title("", fontsize=9)
            self.cells.append((title, above, below))
        right = LEFT + MOMENTS * PITCH + 0.25
        self.results = [self._image(right + (i % 2) * PITCH, i // 2, beyond=True) for i in range(SAMPLES)]
        self._write(right)
        self._plots(right + 2 * PITCH + 0.6)
        moving = [artist for cell in self.cells for artist in cell]
        self.figure.freeze([*moving, *self.results, self.visited, *reversed(self.lines)])

    def _axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """Axes at a place given in inches."""
        return self.figure.add_axes((left / WIDTH, bottom / HEIGHT, width / WIDTH, height / HEIGHT))

    def _image(self, left: float, row: int, beyond: bool) -> AxesImage:
        """An empty image in row 0 or 1; ``beyond``: the range of images, with what is outside in colour."""
        ax = self._axes(left, BOTTOM + (1 - row) * PITCH, CELL, CELL)
        ax.set_axis_off()
        colours = matplotlib.colormaps["gray"]
        if beyond:
            colours = colours.with_extremes(under=COLOURS[0], over=COLOURS[1])
        limit = FAR if beyond else 2.5
        return ax.imshow(np.zeros((8, 8)), cmap=colours, vmin=-limit, vmax=limit, interpolation="nearest")

    def _write(self, right: float) -> None:
        """The names of rows and results, and what the colours mean."""
        for row, name in enumerate(("x_t", "x0-hat")):
            middle = BOTTOM + (1 - row) * PITCH + CELL / 2
            self.figure.text((LEFT - 0.08) / WIDTH, middle / HEIGHT, name, ha="right", va="center", fontsize=9)
        top = (BOTTOM + 2 * PITCH + 0.03) / HEIGHT
        self.figure.text((right + PITCH) / WIDTH, top, "four results", ha="center", fontsize=9)
        self.figure.text(LEFT / WIDTH, 0.07 / HEIGHT, CAPTION, fontsize=8, linespacing=1.4)

    def _plots(self, left: float) -> None:
        """Which times are visited, at what level of noise; how far x0-hat is from the result there."""
        width, high = WIDTH - left - 0.1, 0.72
        upper = self._axes(left, BOTTOM + PITCH + CELL - high, width, high)
        lower = self._axes(left, BOTTOM - 0.08, width, high)
        upper.plot((1 - self.s.alpha_bar).sqrt().numpy(), color="0.6")
        (self.visited,) = upper.plot([], [], "o", markersize=4, color=COLOURS[2])
        thin = [lower.plot([], [], "o-", markersize=1.5, linewidth=0.8, color="0.6")[0] for _ in range(SAMPLES - 1)]
        (thick,) = lower.plot([], [], "o-", markersize=3, linewidth=1.8, color="black")
        self.lines = [thick, *thin]  # drawn last to first, so that the thick one is on top
        upper.set(ylim=(0, 1.15), xticklabels=[])
        upper.set_title("noise level, times visited", fontsize=8)
        lower.set(yscale="log", ylim=DISTANCES)
        lower.set_title("distance from x0-hat to result", fontsize=8)
        lower.set_xlabel("t", fontsize=8, labelpad=0)
        for ax in (upper, lower):
            ax.set_xlim(self.s.T * 1.03, -self.s.T * 0.03)
            ax.tick_params(labelsize=8)
            ax.grid(alpha=0.3)


def _rms(x: Tensor) -> Tensor:
    """Root mean square over the image: (..., 1, 8, 8) to (...)."""
    return x.flatten(-3).square().mean(-1).sqrt()


def _count(number: int, what: str) -> str:
    return f"one {what}" if number == 1 else f"{number} {what}s"


def _what(sampler: str, steps: int, eta: float, **_other: Any) -> str:
    return f"{sampler}{f', eta = {eta:g}' if sampler == DDIM else ''}, {_count(steps, 'step')}"


def _why(sampler: str, digit: int | str, w: float, **_other: Any) -> str:
    """How the number of evaluations comes about."""
    each = "two a step and one in the last" if SAMPLERS[sampler][0] == "heun" else "one a step"
    if digit == NO_DIGIT:
        return f"{each} (no digit is asked for, so there is nothing to guide to)"
    return f"{each}, with the digit and without (guidance, w = {w:g})" if w else each


def sampling_explorer(
    sampler: str = DDIM,
    steps: int = 10,
    eta: float = 0.0,
    digit: int | str = 3,
    w: float = 0.0,
    clip: str = "none",
    seed: int = 0,
) -> PictureBox:
    """The explorer as a widget; ``steps``, ``eta`` and ``w`` are among the sliders' stops, ``digit`` is 0..9 or "none".

    eta is greyed out for samplers that have none, and guidance where no digit is asked for.
    """
    style = {"description_width": "70px"}
    numbers = [(str(option), option) for option in (NO_DIGIT, *range(10))]
    controls = {
        "sampler": Dropdown(options=list(SAMPLERS), value=sampler, description="sampler", style=style),
        "steps": stops(steps, STEPS, "steps"),
        "eta": stops(eta, ETAS, "eta"),
        "digit": SelectionSlider(options=numbers, value=digit, description="digit", style=style),
        "w": stops(w, WEIGHTS, "guidance"),
        "clip": Dropdown(options=list(CLIPS), value=clip, description="clip", style=style),
        "seed": slider(seed, 0, SEEDS - 1, "seed"),
    }

    def follow(_change: object = None) -> None:
        controls["eta"].disabled = controls["sampler"].value != DDIM
        controls["w"].disabled = controls["digit"].value == NO_DIGIT

    follow()
    for name in ("sampler", "digit"):
        controls[name].observe(follow, "value")
    return PictureBox(controls, SamplingPicture(), "ddpm-sampling", width=920)
