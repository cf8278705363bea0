"""``doctor``: what is wrong with this installation."""

import click

from ddpm_edu.commands.texts import EXIT_CODES


@click.command(epilog=EXIT_CODES)
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Say what is wrong with this installation, and the fix.

    One line a check, [ok] or [problem]. Memory and disk are in GB, 10^9 bytes. Exit code 1 where there is a problem.
    """
    from ddpm_edu import doctor as checks

    ctx.exit(0 if checks.report() else 1)
