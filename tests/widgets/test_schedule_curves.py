"""The schedule explorer for pages without a kernel, Python's side: what is sent, stored and refused."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from ddpm_edu import schedules, widgets
from ddpm_edu.data import photograph
from ddpm_edu.errors import DDPMError, ScheduleError
from ddpm_edu.widgets.schedule_explorer import SchedulePicture


def test_it_sends_what_the_script_needs():
    made = widgets.schedule_curves("cosine", T=400, beta_start=1e-3, beta_end=0.05, t=400)
    assert made.chosen == {"family": "cosine", "T": 400, "beta_start": 1e-3, "beta_end": 0.05, "t": 400}
    assert made.given["families"] == list(schedules.FAMILIES)
    sent = np.frombuffer(base64.b64decode(made.given["photograph"]), np.uint8).reshape(64, 64)
    assert np.abs(sent - photograph(size=64).numpy().mean(0)).max() <= 0.5
    colour = photograph(size=64).numpy() / 127.5 - 1
    assert made.given["mean_square"] == pytest.approx((colour**2).mean(), rel=1e-6)


def test_a_page_without_scripts_has_the_other_explorers_numbers_and_picture():
    setting = ("linear_scaled", 400, 1e-4, 0.02, 50)
    data, _ = widgets.schedule_curves(*setting)._repr_mimebundle_()
    still = SchedulePicture()
    html = still.describe(*setting)
    numbers = re.findall(r"[\d.]+(?:e-\d+)?", re.sub("<[^>]*>", " ", html))
    assert len(numbers) > 8
    text = data["text/plain"]
    assert re.findall(r"[\d.]+(?:e-\d+)?", text)[-len(numbers) :] == numbers
    assert not re.search(r"<|>", text) and not re.search(r"<b>|<br>", data["text/html"])
    assert "linear_scaled, T = 400, beta_start = 0.0001, beta_end = 0.02" in text
    assert text.splitlines()[1] in data["text/html"]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data["image/png"]))))
    assert (shown == np.asarray(Image.open(io.BytesIO(still.draw(*setting))))).all()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"family": "lineer"}, "family is one of linear, linear_scaled, quadratic, cosine, sigmoid here, got 'lineer'"),
        ({"T": 1005}, "T is one of 10, 20, ... 2000 here, got 1005"),
        ({"beta_start": 3e-4}, "beta_start is one of 1e-05, .* got 0.0003"),
        ({"beta_end": 0.5}, "beta_end is one of 0.005, .* got 0.5"),
        ({"t": 0}, "t is one of 1, 2, ... 1000 here, got 0"),
        ({"T": 100, "t": 200}, "t is one of 1, 2, ... 100 here, got 200"),
    ],
)
def test_what_no_slider_can_show_is_refused(setting, said):
    with pytest.raises(DDPMError, match=said):
        widgets.schedule_curves(**setting)


def test_what_no_schedule_can_have_is_refused():
    with pytest.raises(ScheduleError, match="needs T >= 20"):
        widgets.schedule_curves("linear_scaled", T=10, t=1)
