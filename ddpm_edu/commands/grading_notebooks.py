"""``grade``: run learners' notebooks and say which exercises are right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ddpm_edu.commands.texts import EXIT_CODES

FORMAT, VERSION = "ddpm_edu grades", 1


@click.command(epilog=EXIT_CODES)
@click.argument("notebooks", metavar="NOTEBOOK...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "out", metavar="FILE", type=click.Path(path_type=Path), help="Also write all of it, as JSON.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="For each cell; one that takes longer is interrupted, and the next has its turn.",
)
@click.option(
    "--total",
    type=click.FloatRange(min=0, min_open=True),
    default=900,
    show_default=True,
    metavar="SECONDS",
    help="For each notebook as a whole; the cells that are left then are not reached.",
)
@click.option(
    "--course",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="The course's own notebooks, to compare check cells with.  [default: those beside this package, if any]",
)
@click.pass_context
def grade(
    ctx: click.Context, notebooks: tuple[Path, ...], out: Path | None, timeout: float, total: float, course: Path | None
) -> None:
    """Run each NOTEBOOK in a kernel of its own and say which exercises are right.

    right and wrong are what the checks of the course recorded, whatever a cell prints; not yet is a blank; not reached
    is a check that never ran. An answer that never ends is wrong. The file is not changed: a copy runs, alone in a
    temporary folder. Exit code 0 whatever the marks; 2 where a file could not be graded (the others are).

    THIS IS NO SANDBOX: a notebook runs as you, and can read, delete and send what you can. It can also write its own
    marks. Look at check cells that are called changed or missing, and grade strangers' files in a container without a
    network, with limits on memory and processes.
    """
    from ddpm_edu import grading, grading_course, grading_kernel
    from ddpm_edu.errors import DataError

    _refuse_other_names(out)
    known, limits = grading_course.editions(course), grading_kernel.Limits(timeout, total)
    reports: list[dict[str, Any]] = []
    for notebook in notebooks:
        try:
            report = grading.grade(notebook, limits, known)
        except DataError as error:
            click.echo(f"error: {error}", err=True)
            reports.append({"notebook": str(notebook), "error": str(error)})
        else:
            click.echo(str(report))
            reports.append(report.as_dict())
        _write(out, reports)  # after each: an hour of grading is not lost to one Ctrl-C
    ctx.exit(2 if any("error" in report for report in reports) else 0)


def _refuse_other_names(out: Path | None) -> None:
    """Before an hour of work, and before a notebook is overwritten by a slip. Raises ConfigError."""
    from ddpm_edu.errors import ConfigError

    if out is not None and (out.suffix != ".json" or not out.parent.is_dir()):
        raise ConfigError(f"--json names a file that ends in .json, in a folder that is there; got {str(out)!r}.")


def _write(out: Path | None, reports: list[dict[str, Any]]) -> None:
    from ddpm_edu import __version__, whole
    from ddpm_edu.errors import DataError

    if out is None:
        return
    told = {"format": FORMAT, "version": VERSION, "ddpm_edu": __version__, "notebooks": reports}
    try:
        whole.write(out, (json.dumps(told, indent=1) + "\n").encode())
    except OSError as error:
        raise DataError(f"{out} could not be written: {error}.") from error
