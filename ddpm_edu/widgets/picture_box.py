"""A box of controls with one picture: live with a kernel, and still a picture where none runs."""

import base64
import html
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import ipywidgets as W

# ipywidgets draws the arrow of a list in black, whatever the ground
ARROW = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 18 18'><path fill='%23ddd' d='M5 6.5h8L9 12z'/></svg>"
STYLE = f"""<style>[data-jp-theme-light="false"] {{ --jp-widgets-dropdown-arrow: url("data:image/svg+xml,{ARROW}"); }}
</style>"""
NO_KERNEL = "An interactive widget: run this cell in JupyterLab and move the sliders."


class Drawing(Protocol):
    """What a PictureBox shows: a picture and its numbers, as functions of the controls' values."""

    @property
    def draw(self) -> Callable[..., bytes]:
        """draw(**values) gives PNG bytes."""

    @property
    def describe(self) -> Callable[..., str]:
        """describe(**values) gives one line of HTML with the numbers."""


class PictureBox(W.VBox):
    """Controls, a line of numbers and one picture that is redrawn when a control moves.

    ``drawing.draw(**values)`` gives PNG bytes, ``drawing.describe(**values)`` the line of numbers; both take the
    controls' values by name, and know nothing of widgets. The picture is one Image whose bytes are replaced, so nothing
    jumps or flickers, and the stored output of the cell carries the same picture for pages without a kernel.
    """

    def __init__(
        self,
        controls: Mapping[str, W.ValueWidget],
        drawing: Drawing,
        css_class: str,
        width: int,
    ) -> None:
        self.controls, self.drawing = dict(controls), drawing
        self.image = W.Image(format="png", layout=W.Layout(width=f"{width}px", max_width="100%"))
        self.readout = W.HTML()
        columns = W.HBox(list(self.controls.values()), layout=W.Layout(flex_flow="row wrap"))
        super().__init__([columns, self.readout, self.image, W.HTML(STYLE, layout=W.Layout(display="none"))])
        self.add_class("ddpm-picture-box")
        self.add_class(css_class)
        for control in self.controls.values():
            control.observe(self.redraw, "value")
        self.redraw()

    def redraw(self, _change: Any = None) -> None:
        """Draws the picture and writes the numbers for the controls' present values."""
        values = {name: control.value for name, control in self.controls.items()}
        try:
            picture, numbers = self.drawing.draw(**values), self.drawing.describe(**values)
        except ValueError as error:  # settings that no schedule can have: the message is the lesson
            numbers = f"{type(error).__name__}: {error}"
            self.image.layout.visibility = "hidden"  # an old picture beside new settings would be a lie
        else:
            self.image.value = picture
            self.image.layout.visibility = "visible"
        # A live region: screen readers say the numbers when they change.
        self.readout.value = f'<div class="ddpm-readout" role="status" aria-live="polite">{numbers}</div>'

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        return with_still(bundle, self.image.value, NO_KERNEL, self.readout.value)


def with_still(bundle: Any, picture: bytes, text: str, *numbers: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A widget's mime bundle with what pages without a kernel show in its place: a PNG, or else a text.

    ``numbers``, HTML, say in words what the picture shows: its alternative text, kept in the metadata.
    """
    data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
    stored = {"image/png": base64.b64encode(picture).decode(), "text/plain": text}
    return {**data, **stored}, {**metadata, "image/png": {"alt": "; ".join(map(_plain, numbers))}}


def _plain(markup: str) -> str:
    """HTML as one line of text."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", markup.replace("<br>", " "))).split())


def slider(value: int, low: int, high: int, name: str, step: int = 1) -> W.IntSlider:
    """An integer slider labelled ``name``; arrow keys, Page Up/Down, Home and End move it."""
    return W.IntSlider(value, low, high, step, description=name, style={"description_width": "70px"})


def stops(value: float, options: list[float], name: str) -> W.SelectionSlider:
    """A slider over given numbers. (A logarithmic one rounds to a grid, and shows another number than it was given.)"""
    labelled = [(f"{option:g}", option) for option in options]
    return W.SelectionSlider(options=labelled, value=value, description=name, style={"description_width": "70px"})


def choice(value: str, options: Iterable[str], name: str) -> W.Dropdown:
    """A list to choose one of ``options`` from, labelled ``name``."""
    return W.Dropdown(options=list(options), value=value, description=name, style={"description_width": "80px"})
