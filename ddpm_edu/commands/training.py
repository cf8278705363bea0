"""``train`` and ``presets``."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ddpm_edu.commands import settings as settings_of
from ddpm_edu.commands.texts import EXIT_CODES
from ddpm_edu.errors import ConfigError

if TYPE_CHECKING:
    from ddpm_edu.training import Report, TrainConfig


@click.command(epilog=EXIT_CODES)
@click.argument("preset")
@settings_of.option
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="The folder of this run.")
@click.option(
    "--resume",
    type=click.Choice(["auto", "must", "never"]),
    default="auto",
    show_default=True,
    help="auto goes on where DIR has a checkpoint, must refuses to begin anew, never to go on.",
)
@click.option(
    "--allow-change",
    default="",
    metavar="A,B",
    help="Settings that may differ from those of the checkpoint. (How often something is written may always.)",
)
@click.option("--device", metavar="D", help="cpu, cuda, cuda:1, ...  [default: a GPU if there is one]")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.pass_context
def train(
    ctx: click.Context,
    preset: str,
    settings: dict[str, Any],
    out: Path,
    resume: str,
    allow_change: str,
    device: str | None,
    quiet: bool,
) -> None:
    """Train PRESET (see `presets`) in the folder DIR, and write its weights there.

    DIR gets checkpoints/, log.jsonl (a line each log_every steps: loss, loss by quarter of t, rate of learning, images
    a second, and the time in seconds since 1970) and at the end weights.safetensors.

    The same command again goes on where it was, bit for bit, however it ended. SIGTERM or one Ctrl-C finish the step,
    save and leave with 128 + the signal's number; a second Ctrl-C leaves at once.

    One training in DIR at a time: a second is refused while the first runs.

    Many GPUs: torchrun --standalone --nproc-per-node 4 -m ddpm_edu train PRESET --out DIR
    """
    from ddpm_edu import training

    config = settings_of.changed(preset, settings)
    allow = _names(allow_change, config)
    place = settings_of.device(device)
    report = training.train(config, out, resume=resume, allow=allow, device=place, progress=not quiet)
    if report.weights is not None:
        click.echo(f"step {report.step:,}, weights: {report.weights}")
    elif report.step < config.steps:
        number = signal.SIGTERM if report.signal is None else report.signal  # None: another process was asked to stop
        if _is_main():
            click.echo(_stopped(report, number), err=True)
        ctx.exit(128 + number)


@click.command(epilog=EXIT_CODES)
def presets() -> None:
    """List the trainings that have a name: what it is, and below it data, steps and images a step, network."""
    from ddpm_edu.training import presets as room

    width = max(map(len, room.PRESETS))
    for name, config in room.PRESETS.items():
        click.echo(f"{name:<{width}}  {room.ABOUT[name]}\n{'':<{width}}  {_line(config)}")


def _line(config: TrainConfig) -> str:
    net = config.net
    labels = f"{net.classes} classes" if net.classes else "no labels"
    shape = " ".join(str(net.width * multiple) for multiple in net.multipliers)
    steps = f"{config.steps:,} steps of {config.batch} images"
    return f"{config.data}, {labels}; {steps}; predicts {config.predicts}; U-Net {shape}"


def _names(given: str, config: TrainConfig) -> list[str]:
    found, known = [name.strip() for name in given.split(",") if name.strip()], settings_of.names(config)
    unknown = [name for name in found if name not in known]
    if unknown:
        raise ConfigError(
            f"--allow-change: a training has no setting {unknown[0]!r}. Usual cause: the setting with its value. "
            f"Fix: names alone, with commas, of {', '.join(sorted(known))}."
        )
    return found


def _stopped(report: Report, number: int) -> str:
    return (
        f"stopped by {signal.Signals(number).name} after step {report.step:,}, which is saved. "
        "The same command goes on from there."
    )


def _is_main() -> bool:
    """Whether this is the first of torchrun's processes, or the only one."""
    return os.environ.get("RANK", "0") == "0"
