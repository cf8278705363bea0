"""A figure whose unchanging part (axes, ticks, labels) is drawn once; a redraw paints only what moved.

A full redraw of four panels takes matplotlib about 0.1 s, which a hand on a slider notices; this takes a tenth of it.
It asks one thing of its users: axis limits and texts outside the moving artists stay as they are.
"""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image


class FastFigure(Figure):
    """Give the artists that move to :meth:`freeze`; then :meth:`png` after each change of theirs."""

    def freeze(self, moving: Sequence[Artist]) -> None:
        """Draws everything else once and keeps it as the background."""
        self._agg = FigureCanvasAgg(self)
        for artist in moving:
            artist.set_animated(True)
        self._moving = list(moving)
        self._agg.draw()
        self._background = self._agg.copy_from_bbox(self.bbox)

    def png(self) -> bytes:
        """Background plus moving artists, as PNG bytes."""
        self._agg.restore_region(self._background)
        for artist in self._moving:
            self.draw_artist(artist)
        buffer = io.BytesIO()
        # Straight from the canvas's pixels: savefig would draw everything anew, without the moving artists.
        # Little compression: on a loopback connection it costs more time than it saves.
        Image.fromarray(np.asarray(self._agg.buffer_rgba())).convert("RGB").save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()
