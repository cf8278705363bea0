"""Widgets that need no kernel once they are shown: plain JavaScript, in JupyterLab and on the reading site alike.

Each is a file ``browser/NAME.js`` with ``export default { render }``; ``browser/shared.js`` stands before it, so that
what all of them need is written once, then the parts that some share. In a notebook anywidget shows it. Its stored
output carries the same model as HTML, which ``browser/mount.js`` brings to life on a page that has no kernel, and a
text for pages without scripts.
"""

import base64
import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from ddpm_edu.errors import DDPMError

FOLDER = Path(__file__).parent / "browser"

# What stands before a widget's own file, beside shared.js.
PARTS = {
    "bound": ("schedules", "settings", "gaussian", "svg"),
    "dissolve": ("schedules", "photograph"),
    "schedule": ("schedules", "settings", "photograph", "svg"),
    "playground": ("diffusion2d", "network2d", "world2d", "picture2d"),
}

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
<style>body {{ font-family: system-ui, sans-serif; }}</style>
<main>{widget}</main>
<script>{{{script}}}</script>
</html>"""


def script(name: str) -> str:
    """The JavaScript module of a widget, complete: what all share, its parts, then its own file."""
    files = ("shared", *PARTS.get(name, ()), name)
    return "\n".join((FOLDER / f"{file}.js").read_text(encoding="utf-8") for file in files)


def names() -> list[str]:
    """The widgets that there are."""
    others = {"shared", "mount"}.union(*PARTS.values())
    return sorted(path.stem for path in FOLDER.glob("*.js") if path.stem not in others)


def bundle() -> str:
    """All widgets, and what mounts them, as one plain script for a page without a kernel."""
    parts = [f"ddpmWidgets[{name!r}] = (() => {{\n{_as_function(script(name))}\n}})();" for name in names()]
    mount = (FOLDER / "mount.js").read_text(encoding="utf-8")
    return "\n".join(["const ddpmWidgets = {};", *parts, mount])


def _as_function(module: str) -> str:
    """A module's text as the body of a function that returns what the module exports."""
    return re.sub("^export default", "return", module, flags=re.MULTILINE)


def stop_of(widget: str, name: str, value: Any, allowed: Sequence[Any]) -> Any:
    """The one of ``allowed`` that equals ``value``: a plain number for one of NumPy's, which JSON does not know.

    Raises DDPMError where ``value`` is none of those that the control ``name`` can show.
    """
    plain = value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
    found = [one for one in allowed if type(plain) in (int, float, str) and one == plain]
    if not found:
        some = f"{allowed[0]}, {allowed[1]}, ... {allowed[-1]}" if len(allowed) > 8 else ", ".join(map(str, allowed))
        raise DDPMError(f"{widget}: {name} is one of {some} here, got {value!r}. Fix: take one of them.")
    return found[0]


def without_markup(numbers: str) -> str:
    """A readout in HTML as plain lines."""
    return numbers.replace("<br>", "\n").replace("<b>", "").replace("</b>", "")


class InBrowser(anywidget.AnyWidget):
    """A widget in JavaScript, ``browser/NAME.js``. A subclass names it: ``file = NAME`` and ``_esm = script(NAME)``.

    ``given`` goes to the browser and stays as it is; ``chosen`` is what the reader has set, and comes back from there.
    Both are JSON. ``text`` is what a terminal shows; ``without_script`` is HTML for a page where no script runs, and
    ``picture`` (PNG bytes) what is stored beside it, if there is one.
    """

    file = ""
    _css = (FOLDER / "browser.css").read_text(encoding="utf-8")
    given = traitlets.Dict().tag(sync=True)
    chosen = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        given: dict[str, Any],
        chosen: dict[str, Any],
        text: str,
        without_script: str = "",
        picture: bytes | None = None,
    ) -> None:
        self.text, self.picture = text, picture
        self.without_script = without_script or f"<p>{html.escape(text)}</p>"
        super().__init__(given=given, chosen=chosen)

    def static(self) -> str:
        """HTML of the widget for a page without a kernel: its model, around what shows where no script runs."""
        model = html.escape(json.dumps({"given": self.given, "chosen": self.chosen}, separators=(",", ":")))
        return f'<div class="ddpm-live" data-widget="{self.file}" data-model="{model}">{self.without_script}</div>'

    def page(self) -> str:
        """The widget as an HTML page of its own, alive without kernel or network: save it, send it, open it."""
        return PAGE.format(
            title=html.escape(self.given["title"]), style=self._css, widget=self.static(), script=bundle()
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        data |= {"text/html": self.static(), "text/plain": self.text}
        if self.picture:
            data["image/png"] = base64.b64encode(self.picture).decode()
        return data, metadata
