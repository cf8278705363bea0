"""The commands of ``python -m ddpm_edu``, a module each, on the library click.

The modules with a command import click and errors at their top, and everything else when it runs: ``doctor`` must work
where torch does not import, and ``--help`` should not wait for it.
"""

import signal
import warnings
from typing import Any

import click

from ddpm_edu.commands.averaging import average
from ddpm_edu.commands.checking import doctor
from ddpm_edu.commands.datasets import data
from ddpm_edu.commands.evaluating import evaluate
from ddpm_edu.commands.grading_notebooks import grade
from ddpm_edu.commands.planning import plan
from ddpm_edu.commands.progressing import progress
from ddpm_edu.commands.sampling import sample
from ddpm_edu.commands.texts import EXIT_CODES, PROGRAM
from ddpm_edu.commands.training import presets, train
from ddpm_edu.errors import DDPMError


class Program(click.Group):
    """All commands; what they raise on purpose becomes a line and exit code 2, what they warn of a line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command."""
        code = 2
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _one_line(warnings.showwarning)
                return super().invoke(ctx)
        except DDPMError as error:
            message = str(error)
        except ImportError as error:
            message = f"{error}. `{PROGRAM} doctor` says what to do."
        except KeyboardInterrupt:
            message, code = "interrupted.", 128 + signal.SIGINT
        click.echo(f"error: {message}", err=True)
        return ctx.exit(code)


def _one_line(before: Any) -> Any:
    """Our own warnings without the line of code that they come from."""

    def show(message: Warning | str, category: type[Warning], *rest: Any, **named: Any) -> None:
        if category.__module__ == DDPMError.__module__:
            click.echo(f"warning: {message}", err=True)
        else:
            before(message, category, *rest, **named)

    return show


@click.group(
    cls=Program, epilog=EXIT_CODES, no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]}
)
def program() -> None:
    """Denoising diffusion, taught exactly: train, sample, evaluate, plan.

    Each command explains itself: COMMAND --help.
    """


for command in (train, sample, average, evaluate, plan, presets, data, progress, grade, doctor):
    program.add_command(command)
