"""``average``: an average of another length, after the training."""

from pathlib import Path

import click

from ddpm_edu.commands.texts import EXIT_CODES
from ddpm_edu.errors import ConfigError

SUFFIX = ".safetensors"


@click.command(epilog=EXIT_CODES)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--width",
    required=True,
    type=float,
    metavar="W",
    help="Standard deviation of the average's profile over time, as a share of the training, in (1e-5, 0.28).",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="w.safetensors.")
def average(folder: Path, width: float, out: Path) -> None:
    """Put together the power-function average of width W from the snapshots of the training in FOLDER.

    The file is one that `sample --checkpoint` reads. Snapshots are kept by a training with, say,
    --set ema_widths=[0.05,0.1] --set snapshot_every=1000; W is best between the widths that were kept, or not far
    outside of them. Smaller is shorter: the average of fewer steps. (Karras et al. 2024, section 3.2.)
    """
    from ddpm_edu.training import ema, weights

    if out.suffix != SUFFIX:
        raise ConfigError(f"--out {out}: what is written is safetensors. Fix: a name that ends in {SUFFIX}.")
    net, about, _ = weights.of_checkpoint(folder, ema.power_name(width))
    weights.write(out, net, about)
    click.echo(f"the average {about['training']['average']} at step {about['training']['step']:,}: {out}")
