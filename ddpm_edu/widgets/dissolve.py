"""A photograph that dissolves into noise under one slider: the first thing a learner moves. It needs no kernel."""

import base64
import io

import torch
from PIL import Image

from ddpm_edu import forward, schedules
from ddpm_edu.data import photograph, to_model_range, to_uint8
from ddpm_edu.widgets.in_browser import InBrowser, script, stop_of

T = 1000
SIZE, ZOOM = 128, 3  # pixels a side, and how large each is shown


class DissolvePicture:
    """The drawing where no script runs: the same noise at every t, so that only how much of it there is changes."""

    def __init__(self, seed: int = 0) -> None:
        self.schedule = schedules.cosine(T)
        self.photo = to_model_range(photograph(size=SIZE))[None]
        self.noise = torch.randn(self.photo.shape, generator=torch.Generator().manual_seed(seed))

    def at(self, t: int) -> torch.Tensor:
        """The photograph at time t, (3, SIZE, SIZE) in model range; t = 0 is the photograph itself."""
        if t == 0:
            return self.photo[0]
        return forward.q_sample(self.schedule, self.photo, torch.tensor([t]), self.noise)[0]

    def draw(self, t: int) -> bytes:
        """PNG bytes, each pixel ZOOM times as large."""
        pixels = to_uint8(self.at(t)).permute(1, 2, 0).numpy().repeat(ZOOM, 0).repeat(ZOOM, 1)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

    def describe(self, t: int) -> str:
        """The recipe at t in words."""
        ab = self.schedule.alpha_bar[t].item()
        return f"t = {t}: {ab**0.5:.3f} times the photograph + {(1 - ab) ** 0.5:.3f} times noise"


class Dissolve(InBrowser):
    """The widget; :func:`dissolve` makes one. ``chosen["t"]`` is where the reader has left the slider."""

    file = "dissolve"
    _esm = script("dissolve")

    def __init__(self, t: int) -> None:
        self.drawing = DissolvePicture()
        # row by row, red, green and blue of each pixel
        levels = to_uint8(self.drawing.photo[0]).permute(1, 2, 0).contiguous()
        given = {
            "title": "a photograph",
            "T": T,
            "size": SIZE,
            "width": SIZE * ZOOM,
            "photograph": base64.b64encode(levels.numpy().tobytes()).decode(),
        }
        super().__init__(given, {"t": t}, self.drawing.describe(t), picture=self.drawing.draw(t))


def dissolve(t: int = 300) -> Dissolve:
    """The widget: one slider, t from 0 (clean) to 1000 (noise), over the cosine schedule.

    Raises DDPMError for a t that the slider does not have.
    """
    return Dissolve(stop_of("dissolve", "t", t, range(T + 1)))
