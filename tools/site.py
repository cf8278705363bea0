"""Write the reading site: docs/_build/html, from the executed notebooks and docs/. Nothing is fetched or run.

    python tools/site.py

The sources are laid out in docs/_build/source as they stand in the repository, so that every relative link of a
notebook that leads somewhere here leads somewhere there.
"""

import re
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

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
    mathjax = Path(str(files("jupyter_server_mathjax"))) / "static"
    for name in MATHJAX:
        copy(mathjax / name, folder / "_static/mathjax" / name)


def build(root: Path, out: Path) -> None:
    """Write the site below ``out``. Raises CalledProcessError where Sphinx finds a broken link or other fault."""
    shutil.rmtree(out, ignore_errors=True)
    lay_out(root, out / "source")
    command = ["-m", "sphinx", "-q", "-W", "--keep-going", "-d", str(out / "doctrees"), "-b", "html"]
    paths = [str(out / "source"), str(out / "html")]
    subprocess.run([sys.executable, *command, *paths], cwd=ROOT, check=True, timeout=600)  # conf.py names tools


def main() -> int:
    """Build the site of this checkout."""
    out = ROOT / "docs/_build"
    try:
        build(ROOT, out)
    except subprocess.CalledProcessError as error:
        return error.returncode
    print("wrote", (out / "html/index.html").relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
