"""The bound explorer without a front end: bars, gaps, numbers, controls."""

import base64
import io
import math
import re

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_edu import closed_form, schedules, widgets
from ddpm_edu.errors import DDPMError, ScheduleError
from ddpm_edu.widgets.bound_explorer import GAP_FLOOR, BoundPicture, by_doubling
from ddpm_edu.widgets.in_browser import without_markup

START = {"family": "linear", "T": 1000, "variance": "beta", "mean": 0.3, "std": 0.5}


@pytest.fixture(scope="module")
def drawing():
    return BoundPicture()


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"), float)


def numbers(drawing, **change):
    return re.sub(r"<[^>]+>", " ", drawing.describe(**START | change))


@pytest.mark.parametrize("T", [2, 3, 4, 10, 100, 1000, 1024, 1025, 2000])
def test_groups_double_and_leave_nothing_out(T):
    terms = torch.zeros(T + 1, dtype=torch.float64)
    terms[2:] = torch.arange(2, T + 1)
    names, sums = by_doubling(terms)
    spans = [[int(end) for end in name.split("-")] for name in names]
    covered = [t for span in spans for t in range(span[0], span[-1] + 1)]
    assert covered == list(range(2, T + 1))
    assert sums.tolist() == [float(sum(range(span[0], span[-1] + 1))) for span in spans]
    assert all(span[-1] == 2 * (span[0] - 1) for span in spans[:-1])  # 2, 3-4, 5-8, ...


def test_the_bars_are_the_terms(drawing):
    drawing.draw(**START | {"family": "cosine", "T": 400, "variance": "posterior"})
    chain = closed_form.gaussian(schedules.cosine(400), 0.3, 0.5, "posterior")
    heights = [bar.get_height() * math.log(2) for bar in drawing.bars]
    assert heights[0] == pytest.approx(chain.prior()) and heights[-1] == pytest.approx(chain.reconstruction())
    assert heights[-2] == pytest.approx(chain.denoising()[2].item())
    assert sum(heights) == pytest.approx(chain.total(), rel=1e-9)
    gaps = [bar.get_height() + GAP_FLOOR for bar in drawing.gaps]
    assert gaps[1] * math.log(2) == pytest.approx(chain.total() - chain.nll(), rel=1e-6)


@pytest.mark.parametrize("change", [{"variance": "posterior"}, {"T": 100}, {"family": "cosine"}, {"std": 1.5}])
def test_each_control_redraws_the_picture(drawing, change):
    before, after = pixels(drawing.draw(**START)), pixels(drawing.draw(**START | change))
    changed = np.abs(before - after)
    assert changed[:, :690].mean() > 0.1, "the bars of the terms"
    assert changed[:, 690:].mean() > 0.1, "the bars of what is lost"
    assert before.std() > 10


def test_the_mean_counts_only_through_what_is_left_at_the_end(drawing):
    assert "L_T 2.4 " in numbers(drawing, T=100, std=3.0, mean=0.0)
    assert "L_T 2.7 " in numbers(drawing, T=100, std=3.0, mean=1.0)
    one, zero = numbers(drawing, mean=1.0), numbers(drawing, mean=0.0)
    assert one.split("denoising")[1] == zero.split("denoising")[1]  # nothing is left at T = 1000


def test_the_numbers_are_those_of_the_closed_form(drawing):
    text = numbers(drawing)
    assert "bound 1.0487" in text and "Entropy of the data 1.0471" in text
    assert "denoising 5.646" in text and "L_0 -4.597" in text
    assert f"{(1.2957190 - 0.7258509) / math.log(2):.4f}" in numbers(drawing, variance="posterior")


def test_nothing_is_lost_where_beta_is_right(drawing):
    assert "by the model nothing, by the bound nothing" in numbers(drawing, mean=0.0, std=1.0)


def test_the_stored_output_carries_picture_and_numbers(drawing):
    widget = widgets.bound_explorer(variance="posterior")
    data, _ = widget._repr_mimebundle_()
    setting = START | {"variance": "posterior"}
    assert base64.b64decode(data["image/png"]) == drawing.draw(**setting)
    assert data["text/plain"].splitlines()[1:] == without_markup(drawing.describe(**setting)).splitlines()
    assert widget.chosen == setting and widget.given["T_max"] == 2000


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"T": 15}, "T is one of 10, 20, ... 2000 here, got 15"),
        ({"variance": "learned"}, "variance is one of beta, posterior, optimal here, got 'learned'"),
        ({"std": 0.6}, "std is one of 0.1, 0.2, ... 3.0 here, got 0.6"),
    ],
)
def test_a_setting_that_the_controls_lack_is_refused(change, told):
    with pytest.raises(DDPMError, match=re.escape(f"bound_explorer: {told}")):
        widgets.bound_explorer(**change)


def test_a_setting_that_no_schedule_can_have_is_refused():
    with pytest.raises(ScheduleError, match="linear_scaled: T = 10"):
        widgets.bound_explorer("linear_scaled", T=10)
