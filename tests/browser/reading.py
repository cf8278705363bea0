"""What tests of the reading site share."""

from pathlib import Path


def pages(html: Path) -> list[str]:
    return sorted(path.relative_to(html).as_posix() for path in html.rglob("*.html") if "_static" not in path.parts)


def one_of_each_kind(html: Path) -> list[str]:
    """All pages of prose, every lesson once, one solution, some of the package reference: the rest is alike."""
    alike = ("api/", "notebooks/solutions/")
    some = ["api/index.html", "api/schedules.html", "api/sampling.html", "notebooks/solutions/01_forward_noising.html"]
    return [name for name in pages(html) if name in some or not name.startswith(alike)]
