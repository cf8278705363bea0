"""The noise-schedule explorer without a kernel: curves, numbers and a photograph, all worked out in the browser."""

import base64
from functools import partial
from typing import Any

from ddpm_edu import schedules
from ddpm_edu.data import photograph
from ddpm_edu.widgets.in_browser import InBrowser, script, stop_of, without_markup
from ddpm_edu.widgets.schedule_explorer import BETA_ENDS, BETA_STARTS, SchedulePicture

SIZE = 64  # pixels a side
STEPS = range(10, 2001, 10)  # the stops of the slider for T


class ScheduleCurves(InBrowser):
    """The widget; :func:`schedule_curves` makes one. ``chosen`` holds the five settings as the reader left them."""

    file = "schedule"
    _esm = script("schedule")


def schedule_curves(
    family: str = "linear", T: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02, t: int = 200
) -> ScheduleCurves:
    """The twin of :func:`~ddpm_edu.widgets.schedule_explorer` for pages without a kernel, with the same numbers.

    ``family``: a key of ``schedules.FAMILIES``; T: 10, 20, ..., 2000; t: 1..T; the ends must be among the sliders'
    stops. The photograph is grey here; "bits left" are those of the one in colour, as in the other explorer.
    Raises DDPMError for a setting that the sliders cannot show, ScheduleError for one that no schedule can have.
    """
    stop = partial(stop_of, "schedule_curves")
    chosen: dict[str, Any] = {"family": stop("family", family, list(schedules.FAMILIES)), "T": stop("T", T, STEPS)}
    chosen |= {
        "beta_start": stop("beta_start", beta_start, BETA_STARTS),
        "beta_end": stop("beta_end", beta_end, BETA_ENDS),
        "t": stop("t", t, range(1, chosen["T"] + 1)),
    }
    still = SchedulePicture()
    given = {
        "title": "noise schedules",
        "families": list(schedules.FAMILIES),
        "beta_starts": BETA_STARTS,
        "beta_ends": BETA_ENDS,
        "mean_square": still.photo.square().mean().item(),
        "size": SIZE,
        "photograph": _grey(),
    }
    setting = f"{family}, T = {chosen['T']}, beta_start = {beta_start:g}, beta_end = {beta_end:g}"
    text = f"{setting}\n{without_markup(still.describe(**chosen))}"
    return ScheduleCurves(given, chosen, text, picture=still.draw(**chosen))


def _grey() -> str:
    """The photograph's grey levels, row by row, one byte each, in base64."""
    levels = photograph(size=SIZE).float().mean(0).round()
    return base64.b64encode(levels.byte().numpy().tobytes()).decode()
