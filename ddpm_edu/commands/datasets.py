"""``data list`` and ``data fetch``."""

import click

from ddpm_edu.commands.texts import EXIT_CODES


@click.group(epilog=EXIT_CODES)
def data() -> None:
    """The data sets: their names, and their files."""


@data.command("list", epilog=EXIT_CODES)
def list_() -> None:
    """Name the data sets that can be fetched, with their size in MB (10^6 bytes)."""
    from ddpm_edu import data as room

    width = max(map(len, room.DATASETS))
    for name, description in room.DATASETS.items():
        click.echo(f"{name:<{width}}  {description}")


@data.command(epilog=EXIT_CODES)
@click.argument("name")
def fetch(name: str) -> None:
    """Download the data set NAME and check it; print its folder.

    One that is here is only checked. NAME is one that `data list` prints.
    """
    from ddpm_edu import data as room

    click.echo(room.fetch(name))
