"""Write the reading site, docs/_build/html, from the notebooks and docs/. Nothing is fetched.

    python tools/site.py              runs every notebook, in a copy, and writes the site from what came out
    python tools/site.py --stored     writes it from the notebooks as they are stored

The sources are laid out in docs/_build/source as they stand in the repository, so that every relative link of a
notebook that leads somewhere here leads somewhere there.
"""

import argparse
import re
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if not __package__:
    sys.path[0] = str(ROOT)  # and not tools/, where this file would stand for the standard library's site

from ddpm_edu.widgets import in_browser  # noqa: E402
from tools import api, outputs  # noqa: E402
from tools import build as notebooks  # noqa: E402

# What pages may link to, beside the notebooks. A file that is no page becomes a download.
LINKED = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "LICENSE", "LICENSE-text", "CITATION.cff"),
    *("environment.yml", "pyproject.toml", "Makefile", "requirements", "ddpm_edu", "tests", "tools", "docs", ".github"),
)
# The parts of MathJax that a page of TeX can ask for; the whole is four times as large.
MATHJAX = (
    "LICENSE",
    "MathJax.js",
    "config/TeX-AMS-MML_HTMLorMML-full.js",
    "extensions/TeX",
    "fonts/HTML-CSS/STIX-Web",
    "jax/element",
    "jax/output/HTML-CSS",
)


def copy(source: Path, target: Path) -> None:
    """Copy a file or folder to ``target``, with the folders above it; caches, hidden and built files stay behind."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".*", "_build"))
    elif source.exists():
        shutil.copy(source, target)


def unlink_folders(text: str) -> str:
    """A link to a folder, right on a code-hosting site, as plain text: the reading site has no page for it."""
    return re.sub(r"\[([^\]]+)\]\((?![a-z]+:)[^)\s]*/\)", r"\1", text)


def lay_out(root: Path, folder: Path) -> None:
    """Put everything that Sphinx reads below ``folder``."""
    for name in ("conf.py", "index.md", "_static"):
        copy(root / "docs" / name, folder / name)
    for name in ("notebooks", *LINKED):
        copy(root / name, folder / name)
    for page in folder.rglob("*.md"):
        page.write_text(unlink_folders(page.read_text(encoding="utf-8")), encoding="utf-8")
    for path in (folder / "notebooks").rglob("*.ipynb"):
        outputs.prepare(path)
    api.write(root / "ddpm_edu", folder / "api")
    live = folder / "_static/live"
    live.mkdir(parents=True)
    (live / "widgets.js").write_text(in_browser.bundle(), encoding="utf-8")
    copy(in_browser.FOLDER / "browser.css", live / "browser.css")
    mathjax = Path(str(files("jupyter_server_mathjax"))) / "static"
    for name in MATHJAX:
        copy(mathjax / name, folder / "_static/mathjax" / name)


def build(root: Path, out: Path) -> None:
    """Write the site below ``out`` from the notebooks as they are stored."""
    shutil.rmtree(out, ignore_errors=True)
    lay_out(root, out / "source")
    write(out)


def build_anew(root: Path, out: Path) -> None:
    """Write the site below ``out`` from notebooks that are run for it, in a copy: a learner's own work stays."""
    shutil.rmtree(out, ignore_errors=True)
    lay_out(root, out / "source")
    for path in notebooks.build(out / "source"):
        print("ran", path.relative_to(out / "source"), flush=True)
    write(out)


def write(out: Path) -> None:
    """Turn out/source into out/html. Raises CalledProcessError where Sphinx finds a broken link or other fault."""
    command = ["-m", "sphinx", "-q", "-W", "--keep-going", "-d", str(out / "doctrees"), "-b", "html"]
    paths = [str(out / "source"), str(out / "html")]
    subprocess.run([sys.executable, *command, *paths], cwd=ROOT, check=True, timeout=600)  # conf.py names tools


def main() -> int:
    """Build the site of this checkout, from notebooks that are run for it or as they are stored."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stored", action="store_const", const=build, default=build_anew, help="run nothing")
    out = ROOT / "docs/_build"
    try:
        parser.parse_args().stored(ROOT, out)
    except subprocess.CalledProcessError as error:
        return error.returncode
    print("wrote", (out / "html/index.html").relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
