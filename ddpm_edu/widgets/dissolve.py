"""A photograph that dissolves into noise under one slider: the first thing a learner moves."""

import io

import torch
from PIL import Image

from ddpm_edu import forward, schedules
from ddpm_edu.data import photograph, to_model_range, to_uint8
from ddpm_edu.widgets.picture_box import PictureBox, slider


class DissolvePicture:
    """The drawing: the same noise at every t, so that moving the slider only changes how much of it there is."""

    def __init__(self, T: int = 1000, size: int = 128, zoom: int = 3, seed: int = 0) -> None:
        self.schedule, self.zoom = schedules.cosine(T), zoom
        self.photo = to_model_range(photograph(size=size))[None]
        self.noise = torch.randn(self.photo.shape, generator=torch.Generator().manual_seed(seed))

    def at(self, t: int) -> torch.Tensor:
        """The photograph at time t, (3, size, size) in model range; t = 0 is the photograph itself."""
        if t == 0:
            return self.photo[0]
        return forward.q_sample(self.schedule, self.photo, torch.tensor([t]), self.noise)[0]

    def draw(self, t: int) -> bytes:
        """PNG bytes, each pixel ``zoom`` times as large."""
        pixels = to_uint8(self.at(t)).permute(1, 2, 0).numpy().repeat(self.zoom, 0).repeat(self.zoom, 1)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

    def describe(self, t: int) -> str:
        """The recipe at t in words."""
        ab = self.schedule.alpha_bar[t].item()
        return f"t = {t}: <b>{ab**0.5:.3f} times the photograph + {(1 - ab) ** 0.5:.3f} times noise</b>"


def dissolve(t: int = 300) -> PictureBox:
    """The widget: one slider, t from 0 (clean) to 1000 (noise)."""
    return PictureBox({"t": slider(t, 0, 1000, "t")}, DissolvePicture(), "ddpm-dissolve", width=384)
