"""Photograph notebooks as a reader sees them in JupyterLab: pictures in slices, light and dark.

    python tools/shoot.py notebooks/01_forward_noising.ipynb OUT_DIR              stored outputs, light theme
    python tools/shoot.py notebooks/01_forward_noising.ipynb OUT_DIR --run --theme both --width 1200

Writes OUT_DIR/<name>-<theme>-01.png, -02.png ... from top to bottom, overlapping a little. ``--run`` runs all
cells first, so that widgets are alive. Prints console errors and requests that left the machine, if any.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[1]
if not __package__:
    sys.path[0] = str(ROOT)

from tools.lab import Lab, chromium, jupyterlab, watch  # noqa: E402

THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
OVERLAP = 80  # pixels that two neighbouring slices share
SCROLLER = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-WindowedPanel-outer"


def settle(page: Page) -> None:
    """Maths is typeset and pictures are drawn some time after the text."""
    page.wait_for_timeout(1500)
    page.evaluate("() => Promise.all([...document.images].map(img => img.decode().catch(() => null)))")


def slices(page: Page) -> Iterator[bytes]:
    """PNG screenshots of the open notebook from top to bottom, without JupyterLab's frame."""
    panel = page.locator(SCROLLER)
    # The last cell's end, not scrollHeight: JupyterLab lets one scroll a page past the end.
    height, total = panel.evaluate(
        """panel => [panel.clientHeight,
            Math.max(...Array.from(
                panel.querySelectorAll('.jp-Cell'), cell => cell.getBoundingClientRect().bottom))
            - panel.getBoundingClientRect().top + panel.scrollTop]"""
    )
    for top in range(0, max(1, round(total) - OVERLAP), height - OVERLAP):
        panel.evaluate("(panel, top) => { panel.scrollTop = top; }", top)
        page.wait_for_timeout(150)
        yield panel.screenshot()


def shoot(lab: Lab, page: Page, notebook: Path, out: Path, themes: list[str], run: bool) -> list[Path]:
    """Open ``notebook`` (below notebooks/), run it if asked, and write its slices; returns their paths."""
    lab.open(page, notebook.as_posix())
    for command in ("application:toggle-left-area", "application:toggle-right-area"):
        page.evaluate(
            "name => window.jupyterapp.commands.isToggled(name) && window.jupyterapp.commands.execute(name)",
            command,
        )
    if run:
        lab.run_all(page)
    written = []
    for theme in themes:
        page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", THEMES[theme])
        settle(page)
        for number, png in enumerate(slices(page), start=1):
            written.append(out / f"{notebook.stem}-{theme}-{number:02d}.png")
            written[-1].write_bytes(png)
    return written


def main() -> int:
    """Read the command line, take the pictures, and say what went wrong on the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebook", type=Path, help="a notebook below a folder called notebooks/")
    parser.add_argument("out", type=Path)
    parser.add_argument("--run", action="store_true", help="run all cells first")
    parser.add_argument("--theme", choices=[*THEMES, "both"], default="light")
    parser.add_argument("--width", type=int, default=1200, help="of the browser window, in pixels")
    parser.add_argument("--height", type=int, default=1500)
    given = parser.parse_args()
    notebook = given.notebook.resolve()
    folder = next(parent for parent in notebook.parents if parent.name == "notebooks")
    given.out.mkdir(parents=True, exist_ok=True)
    themes = list(THEMES) if given.theme == "both" else [given.theme]
    with jupyterlab(folder) as lab, chromium() as browser:
        page = browser.new_page(viewport={"width": given.width, "height": given.height})
        traffic = watch(page, lab.url)
        for path in shoot(lab, page, notebook.relative_to(folder.parent), given.out, themes, given.run):
            print(path)
    print(*(f"console error: {error}" for error in traffic.errors), sep="\n")
    print(*(f"request that left the machine: {url}" for url in traffic.outside), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
