"""The noise-schedule explorer: family, T, betas and t, and what they do to curves, a photograph and a cloud."""

import warnings

import numpy as np
import torch
from ipywidgets import Dropdown

from ddpm_edu import forward, schedules
from ddpm_edu.data import moons, photograph, to_model_range, to_uint8
from ddpm_edu.errors import ScheduleWarning
from ddpm_edu.plots import COLOURS, DPI
from ddpm_edu.widgets.fast_figure import FastFigure
from ddpm_edu.widgets.picture_box import PictureBox, slider, stops

BETA_STARTS = [1e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3]
BETA_ENDS = [0.005, 0.01, 0.012, 0.02, 0.03, 0.05, 0.1, 0.2]
WITH_ENDS = {  # the families that the two beta sliders act on
    "linear": schedules.linear,
    "linear_scaled": schedules.linear_scaled,
    "quadratic": schedules.quadratic,
}


def make_schedule(family: str, T: int, beta_start: float, beta_end: float) -> schedules.Schedule:
    """The schedule that the controls ask for; the ends count for the families that have them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScheduleWarning)  # the explorer shows what is left at T as a number
        if family in WITH_ENDS:
            return WITH_ENDS[family](T, beta_start, beta_end)
        return schedules.by_name(family, T)


class SchedulePicture:
    """The drawing: made once, then asked for PNG bytes at each setting. Knows nothing of widgets."""

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.photo = to_model_range(photograph(size=64))[None]
        self.points = 2 * moons(800, generator)  # about unit variance
        self.photo_noise = torch.randn(self.photo.shape, generator=generator)
        self.point_noise = torch.randn(self.points.shape, generator=generator)
        self._build()

    def _build(self) -> None:
        self.figure = FastFigure(figsize=(11.5, 2.9), dpi=DPI, facecolor="white")
        self.figure.subplots_adjust(left=0.055, right=0.99, bottom=0.17, top=0.9, wspace=0.28)
        left, middle, image, cloud = self.figure.subplots(1, 4, width_ratios=(1.2, 1.2, 1, 1))
        left.set(xlim=(0, 1), ylim=(-0.02, 1.02), xlabel="t / T", title="alpha_bar")
        middle.set(xlim=(0, 1), ylim=(-9, 5), xlabel="t / T", title="log10 of signal-to-noise ratio")
        image.set(title="photograph at t", xticks=[], yticks=[])
        cloud.set(title="two moons at t", xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[])
        ddpm = schedules.linear()
        share = np.arange(ddpm.T + 1) / ddpm.T
        left.plot(share, ddpm.alpha_bar.numpy(), color="0.6", linestyle="--", label="DDPM: linear, T = 1000")
        middle.plot(share[1:], ddpm.snr[1:].log10().numpy(), color="0.6", linestyle="--")
        left.legend(loc="upper right", fontsize=7)
        (self.ab_line,) = left.plot([], [], color=COLOURS[0])
        (self.snr_line,) = middle.plot([], [], color=COLOURS[0])
        (self.ab_dot,) = left.plot([], [], "o", color=COLOURS[1])
        (self.snr_dot,) = middle.plot([], [], "o", color=COLOURS[1])
        self.shown = image.imshow(np.zeros((64, 64, 3), np.uint8), interpolation="nearest")
        (self.dots,) = cloud.plot([], [], "o", markersize=1.5, markeredgewidth=0, color=COLOURS[0])
        self.figure.freeze([self.ab_line, self.snr_line, self.ab_dot, self.snr_dot, self.shown, self.dots])

    def draw(self, family: str, T: int, beta_start: float, beta_end: float, t: int) -> bytes:
        """PNG bytes of the four panels."""
        s = make_schedule(family, T, beta_start, beta_end)
        t = min(t, T)
        share, height = np.arange(T + 1) / T, np.clip(s.log_snr.numpy() / np.log(10), -12, 12)
        self.ab_line.set_data(share, s.alpha_bar.numpy())
        self.snr_line.set_data(share, height)
        self.ab_dot.set_data([share[t]], [s.alpha_bar[t].item()])
        self.snr_dot.set_data([share[t]], [np.clip(height[t], -8.9, 4.9)])
        step = torch.tensor([t])
        noisy = forward.q_sample(s, self.photo, step, self.photo_noise)[0]
        self.shown.set_data(to_uint8(noisy).permute(1, 2, 0).numpy())
        points = forward.q_sample(s, self.points, step.expand(len(self.points)), self.point_noise)
        self.dots.set_data(*points.T.numpy())
        return self.figure.png()

    def describe(self, family: str, T: int, beta_start: float, beta_end: float, t: int) -> str:
        """The numbers behind the picture, as one line of HTML."""
        s = make_schedule(family, T, beta_start, beta_end)
        t = min(t, T)
        ab, end = s.alpha_bar[t].item(), s.alpha_bar[-1].sqrt().item()
        bits = forward.bits_left(s, self.photo.square().mean().item())
        left = f"{end:.4f}" if end >= 0.001 or end == 0 else f"{end:.1e}"
        wasted = (s.alpha_bar[1:] < 0.01).double().mean().item()
        return (
            f"at t = {t}: <b>alpha_bar = {ab:.4f}</b>, "
            f"image times {ab**0.5:.3f} plus noise times {(1 - ab) ** 0.5:.3f}, "
            f"SNR = {s.snr[t].item():.3g}.<br>"
            f"at T = {T}: <b>the factor left on the image is {left}</b>, bits left: {bits:.2g} per dimension; "
            f"steps with alpha_bar below 0.01: {100 * wasted:.0f}%."
        )


def schedule_explorer(
    family: str = "linear", T: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02, t: int = 200
) -> PictureBox:
    """The explorer as a widget. ``beta_start`` and ``beta_end`` must be among the sliders' stops."""
    controls = {
        "family": Dropdown(
            options=list(schedules.FAMILIES), value=family, description="family", style={"description_width": "70px"}
        ),
        "T": slider(T, 10, 2000, "T", step=10),
        "beta_start": stops(beta_start, BETA_STARTS, "beta_start"),
        "beta_end": stops(beta_end, BETA_ENDS, "beta_end"),
        "t": slider(t, 1, T, "t"),
    }

    def follow(_change: object = None) -> None:
        controls["t"].max = controls["T"].value
        for name in ("beta_start", "beta_end"):
            controls[name].disabled = controls["family"].value not in WITH_ENDS

    follow()
    controls["T"].observe(follow, "value")
    controls["family"].observe(follow, "value")
    return PictureBox(controls, SchedulePicture(), "ddpm-schedule", width=920)
