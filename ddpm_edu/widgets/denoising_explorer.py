"""The denoising explorer: pick a digit and t, and see what noise a predictor finds in x_t, and what image is left."""

from collections.abc import Mapping

import numpy as np
import torch
from ipywidgets import Dropdown
from torch import Tensor

from ddpm_edu import forward, models, oracles, parameterization, schedules
from ddpm_edu.data import digits
from ddpm_edu.losses import mse
from ddpm_edu.plots import COLOURS, DPI
from ddpm_edu.schedules import Schedule
from ddpm_edu.widgets.fast_figure import FastFigure
from ddpm_edu.widgets.picture_box import PictureBox, slider

TRAINED, WIENER, BY_HEART = "trained network", "Wiener filter", "digits known by heart"
PANELS = ("x_0", "noise", "x_t", "predicted noise", "predicted x_0")
SAMPLES = 20  # digits to pick from: the first ones, 0 to 9 and 0 to 9 again
CURVE_SAMPLES = 200  # digits that the curve averages over
FLOOR = 1e-6  # the curve's lowest error: by-heart errors are far below at small t


def predictors(x0: Tensor) -> tuple[Schedule, dict[str, parameterization.Denoise]]:
    """The trained digits network with its schedule, and the two closed forms on the same schedule, by name."""
    net, config = models.load("digits_mlp")
    s = schedules.by_name(config["schedule"]["family"], config["schedule"]["T"])
    return s, {
        TRAINED: parameterization.denoiser(net, s, config["predicts"]),
        WIENER: oracles.FullGaussian.fit(x0).denoiser(s),
        BY_HEART: oracles.FiniteDataset(x0).denoiser(s),
    }


class DenoisingPicture:
    """The drawing: five images and each predictor's error by t. Knows nothing of widgets."""

    def __init__(self, seed: int = 0) -> None:
        images = digits().model_range()
        self.s, self.predictors = predictors(images)
        self.images, self.generator = images[:SAMPLES], torch.Generator().manual_seed(seed)
        self.noise = torch.randn(self.images.shape, generator=self.generator)
        self._build(self._curves(images[:CURVE_SAMPLES]))

    def look(self, predictor: str, digit: int, t: int) -> dict[str, Tensor]:
        """The five images (1, 1, 8, 8) by the names of PANELS."""
        x0, noise, time = self.images[digit : digit + 1], self.noise[digit : digit + 1], torch.tensor([t])
        x_t = forward.q_sample(self.s, x0, time, noise)
        with torch.no_grad():
            found = self.predictors[predictor](x_t, time)
        return dict(zip(PANELS, (x0, noise, x_t, found.eps, found.x0), strict=True))

    def draw(self, predictor: str, digit: int, t: int) -> bytes:
        """PNG bytes of the five images and the curves."""
        seen = self.look(predictor, digit, t)
        for name, shown in self.shown.items():
            shown.set_data(seen[name][0, 0].numpy())
        error = mse(seen["predicted noise"], seen["noise"]).item()
        self.dot.set_data([t], [max(error, FLOOR)])
        self.dot.set_color(COLOURS[list(self.predictors).index(predictor)])
        return self.figure.png()

    def describe(self, predictor: str, digit: int, t: int) -> str:
        """The errors as one line of HTML."""
        seen = self.look(predictor, digit, t)
        of_eps = mse(seen["predicted noise"], seen["noise"]).item()
        of_x0 = mse(seen["predicted x_0"], seen["x_0"]).item()
        noise_to_signal = 1 / self.s.snr[t].item()
        return (
            f"at t = {t}: <b>error of the noise {of_eps:.3g}</b>, error of x_0 {of_x0:.3g} "
            f"(mean squares over 64 pixels).<br>1 / SNR = {noise_to_signal:.3g}, "
            f"and {of_eps:.3g} x {noise_to_signal:.3g} = {of_eps * noise_to_signal:.3g}: the same error in two units."
        )

    def _curves(self, x0: Tensor) -> dict[str, tuple[list[int], list[float]]]:
        """Mean squared error of eps over ``x0`` at some t, for each predictor."""
        T = self.s.T
        times = sorted({1, *torch.logspace(0, 1, 8).mul(T / 50).long().tolist(), *range(T // 20, T + 1, T // 20)})
        noise = torch.randn(x0.shape, generator=self.generator)
        curves = {}
        for name, denoise in self.predictors.items():
            errors = []
            for time in times:
                t = torch.full((len(x0),), time)
                with torch.no_grad():
                    found = denoise(forward.q_sample(self.s, x0, t, noise), t)
                errors.append(max(mse(found.eps, noise).mean().item(), FLOOR))
            curves[name] = (times, errors)
        return curves

    def _build(self, curves: Mapping[str, tuple[list[int], list[float]]]) -> None:
        self.figure = FastFigure(figsize=(11.5, 2.3), dpi=DPI, facecolor="white")
        self.figure.subplots_adjust(left=0.01, right=0.98, bottom=0.2, top=0.89, wspace=0.1)
        *five, _gap, by_t = self.figure.subplots(1, 7, width_ratios=(1, 1, 1, 1, 1, 0.35, 2.2))
        _gap.set_axis_off()
        self.shown = {}
        for ax, name in zip(five, PANELS, strict=True):
            limit = 2.5 if "noise" in name or name == "x_t" else 1.0
            ax.set(title=name, xticks=[], yticks=[])
            blank = np.zeros((8, 8))
            self.shown[name] = ax.imshow(blank, cmap="gray", vmin=-limit, vmax=limit, interpolation="nearest")
        for i, (name, (times, errors)) in enumerate(curves.items()):
            by_t.plot(times, errors, color=COLOURS[i], linestyle=("-", "--", "-.")[i], label=name)
        by_t.set(yscale="log", xlim=(0, self.s.T * 1.01), ylim=(FLOOR / 2, 3), xlabel="t", title="error of the noise")
        by_t.grid(alpha=0.3)
        by_t.legend(fontsize=7, loc="upper right")
        (self.dot,) = by_t.plot([], [], "o", markersize=8)
        self.figure.freeze([*self.shown.values(), self.dot])


def denoising_explorer(predictor: str = TRAINED, digit: int = 6, t: int = 300) -> PictureBox:
    """The explorer as a widget; ``digit`` picks one of 20 images, 0 to 9 twice."""
    drawing = DenoisingPicture()
    controls = {
        "predictor": Dropdown(
            options=list(drawing.predictors),
            value=predictor,
            description="predictor",
            style={"description_width": "70px"},
        ),
        "digit": slider(digit, 0, SAMPLES - 1, "digit"),
        "t": slider(t, 1, drawing.s.T, "t"),
    }
    return PictureBox(controls, drawing, "ddpm-denoising", width=920)
