"""A small player: frames, a slider, a button. The reader's hand, or a click, walks through them; no kernel is asked."""

import base64
import io
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from ddpm_edu import plots
from ddpm_edu.errors import DDPMError
from ddpm_edu.widgets.in_browser import InBrowser, script

SHEET = 10  # frames, spread over all, in the picture for where no script runs


class Player(InBrowser):
    """The widget; :func:`player` makes one from images, ``Player(pngs, ..)`` from any pictures."""

    file = "player"
    _esm = script("player")

    def __init__(self, pngs: Sequence[bytes], labels: Sequence[str], title: str, width: int, still: bytes) -> None:
        frames = ["data:image/png;base64," + base64.b64encode(png).decode() for png in pngs]
        given = {"title": title, "frames": frames, "labels": list(labels), "width": width}
        text = f"{title}: {len(pngs)} frames, from {labels[0]} to {labels[-1]}. Run this cell to play them."
        super().__init__(given, {"frame": 0}, text, picture=still)


def player(frames: Sequence[Tensor], labels: Sequence[str], title: str, columns: int = 10, width: int = 640) -> Player:
    """Batches of images to look at one after the other.

    ``frames``: each (N, C, H, W) in model range, all of one shape, laid out in rows of ``columns`` images; ``labels``:
    what is said of each, with its numbers. ``width``: of the picture, in CSS pixels. Where no script runs, the stored
    picture shows up to ten of the frames, a row each, the first ``columns`` images of them.
    Raises DDPMError where there is no frame, or not a label for each.
    """
    if not frames or len(frames) != len(labels):
        raise DDPMError(f"a player needs frames and as many labels; got {len(frames)} frames, {len(labels)} labels.")
    pngs = [_png(plots.tiled(batch, columns, zoom=1)) for batch in frames]  # the browser magnifies
    return Player(pngs, labels, title, width, _still(frames, columns))


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _still(frames: Sequence[Tensor], columns: int) -> bytes:
    """Some of the frames below each other, as the course draws images."""
    count = min(SHEET, len(frames))
    shown = [frames[round(i * (len(frames) - 1) / max(count - 1, 1))][:columns] for i in range(count)]
    return plots.images(torch.cat(shown), columns=columns, size=0.7).png()
