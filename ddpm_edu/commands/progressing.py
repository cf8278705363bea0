"""``progress``: what a learner has done so far."""

import click

from ddpm_edu.commands.texts import EXIT_CODES


@click.command(epilog=EXIT_CODES)
@click.option(
    "--reset",
    is_flag=True,
    help="Begin anew. Asks first; the old file stays beside, with .reset-1 (or -2, -3, ...) at the end of its name.",
)
@click.option("--yes", is_flag=True, help="With --reset: do not ask.")
def progress(reset: bool, yes: bool) -> None:
    """Show which exercises are right, tried, or not yet, and since which day (local time).

    It is stored in one file on this machine; nothing is sent anywhere. The environment variable DDPM_EDU_PROGRESS
    names another file; DDPM_EDU_PROGRESS=off stores nothing.
    """
    if reset:
        return _reset(yes)
    from ddpm_edu.exercises import progress as page

    return click.echo(repr(page()))


def _reset(yes: bool) -> None:
    from ddpm_edu.errors import DataError
    from ddpm_edu.exercises import progress_store

    try:
        path = progress_store.file()
        if path is None or not path.exists():
            return click.echo("Nothing is stored, so there is nothing to reset.")
        if not yes and not _is_meant(f"Forget what is in {path}?"):
            return click.echo("Nothing was changed.")
        return click.echo(f"Begun anew. What was stored is now in {progress_store.forget()}.")
    except (OSError, RuntimeError) as error:
        raise DataError(f"what is stored could not be moved aside: {error}.") from error


def _is_meant(question: str) -> bool:
    """Raises ConfigError where nobody is there to answer."""
    from ddpm_edu.errors import ConfigError

    try:
        return click.confirm(question)
    except click.Abort as error:
        hint = "--reset asks first, and got no answer. Nothing was changed; --yes says that you mean it."
        raise ConfigError(hint) from error
