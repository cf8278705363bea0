"""``plan``: what a training will need."""

from typing import Any

import click

from ddpm_edu.commands import settings as settings_of
from ddpm_edu.commands.texts import EXIT_CODES


@click.command(epilog=EXIT_CODES)
@click.argument("preset")
@settings_of.option
@click.option("--gpu", metavar="NAME", help="One of the table, in part and in any case: h100.  [default: all of them]")
@click.option(
    "--utilisation",
    type=float,
    metavar="U",
    help="Share of the published peak that is reached, in (0, 1].  [default: 0.15; with compile=true 0.3]",
)
@click.option("--measure", is_flag=True, help="Also time a few steps on this machine's CPU (about 5 seconds).")
def plan(preset: str, settings: dict[str, Any], gpu: str | None, utilisation: float | None, measure: bool) -> None:
    """Estimate what training PRESET needs: memory, arithmetic, hours. Nothing is trained.

    Memory is in GB (10^9 bytes), for one process; arithmetic in GFLOP (10^9, two for a multiply-add). Every number is
    an estimate; its assumptions are printed below it.
    """
    from ddpm_edu.training import plan_text, planner

    config = settings_of.changed(preset, settings)
    gpus = planner.GPUS if gpu is None else (planner.gpu_by_name(gpu),)
    plans = [planner.plan(config, one, utilisation) for one in gpus]
    if measure:
        plans.append(planner.plan_here(config))
    click.echo(plan_text.table(plans))
