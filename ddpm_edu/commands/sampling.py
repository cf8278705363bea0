"""``sample``: images from a trained network, as a file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ddpm_edu.commands import settings as settings_of
from ddpm_edu.commands.texts import EXIT_CODES
from ddpm_edu.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from ddpm_edu.commands.networks import Trained
    from ddpm_edu.parameterization import Denoise

CLIPS = ("none", "static", "dynamic")


@click.command(epilog=EXIT_CODES)
@click.option(
    "--checkpoint",
    required=True,
    metavar="FILE|NAME",
    help="digits, fashion or another that the package carries; or a .safetensors file, or the folder of a training.",
)
@click.option(
    "--average", metavar="A", help="Of a training's folder: a decay (0.9999) or a width (0.1).  [default: the first]"
)
@click.option("--n", required=True, type=int, metavar="N", help="How many images.")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="x.npz or x.png.")
@click.option(
    "--method", default="ddpm", show_default=True, help="ddpm, ddim, dpmpp_2m, dpmpp_2m_sde or heun (two calls a step)."
)
@click.option("--steps", type=int, metavar="S", help="Of the walk, 1..T.  [default: all T for ddpm, else 50]")
@click.option("--seed", type=int, default=0, show_default=True, metavar="K")
@click.option(
    "--label", metavar="L|all", help="Class 0, 1, ..; all takes them in turn.  [default: all, if there are any]"
)
@click.option(
    "--guidance",
    type=float,
    metavar="W",
    help="Lean towards the label: eps = (1 + w) eps_label - w eps_none. 0 is the network itself; where others count s, "
    "w = s - 1.  [default: no guidance]",
)
@click.option("--eta", type=float, default=0.0, show_default=True, metavar="E", help="Noise of ddim, 0..1.")
@click.option(
    "--clip",
    type=click.Choice(CLIPS),
    default="static",
    show_default=True,
    help="How x0 is kept in [-1, 1] on the way.",
)
@click.option("--batch", type=int, default=64, show_default=True, metavar="B", help="Images at once.")
@click.option("--device", metavar="D", help="cpu, cuda, cuda:1, ...  [default: a GPU if there is one]")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def sample(
    checkpoint: str,
    average: str | None,
    n: int,
    out: Path,
    method: str,
    steps: int | None,
    seed: int,
    label: str | None,
    guidance: float | None,
    eta: float,
    clip: str,
    batch: int,
    device: str | None,
    quiet: bool,
) -> None:
    """Draw N images from a trained network and write them to a file.

    x.npz holds images, uint8 (N, height, width, channels) with 0..255, where the network knows classes labels, int64
    (N,), and about: how they were made, as JSON, which `evaluate` prints. x.png is a sheet of them. The file is there
    whole, or not at all.

    Image i depends on the seed and on i, not on N or B (but for rounding: sums may be taken in another order).
    """
    import torch

    from ddpm_edu import __version__, cpu, sampling, training
    from ddpm_edu.commands import facts, files, networks
    from ddpm_edu.data import to_uint8
    from ddpm_edu.training.distributed import pick_device

    for name, value in (("--n", n), ("--batch", batch)):
        if value < 1:
            raise ConfigError(f"{name} must be >= 1, got {value}.")
    files.check_target(out)
    chosen = sampling.methods.by_name(method)
    trained = networks.find(checkpoint, average)
    labels, place = _labels(trained, label, n), pick_device(settings_of.device(device))
    _check_guidance(trained, guidance)
    cpu.keep_memory()
    about = facts.of_weights(trained)
    about |= {"method": method, "steps": chosen.steps(trained.s.T) if steps is None else steps, "guidance": guidance}
    about |= {"eta": eta, "clip": clip, "seed": seed, "label": label or (None if labels is None else "all")}
    about |= {"torch": torch.__version__, "ddpm_edu": __version__}
    trained.net.to(place)
    drawn = []
    for rows in torch.arange(n).split(batch):
        told = None if labels is None else labels[rows].to(place)
        streams = [training.generator(seed, int(i)) for i in rows]
        denoise, shape = _denoiser(trained, told, guidance, clip), (len(rows), *trained.shape)
        x = sampling.sample(denoise, trained.s, shape, method, steps, eta, streams, not quiet, device=place)
        drawn.append(to_uint8(x).cpu())
    images = torch.cat(drawn)
    each_class = labels is not None and label in (None, "all")
    columns = int(trained.classes or 1) if each_class else math.ceil(math.sqrt(n))
    as_npz = out.suffix.lower() == ".npz"
    files.write(out, files.npz(images, labels, about) if as_npz else files.png(images, min(n, columns)))
    c, height, width = trained.shape
    click.echo(f"{n} images of {height} x {width} x {c} from {trained.name}: {out}")


def _labels(trained: Trained, label: str | None, n: int) -> Tensor | None:
    """One label an image, int64 (n,), or None for a network without classes. Raises ConfigError."""
    import torch

    classes = trained.classes
    if classes is None:
        if label is not None:
            raise ConfigError(f"--label {label}: {trained.name} knows no classes. Fix: leave --label out.")
        return None
    if label in (None, "all"):
        return torch.arange(n) % classes
    try:
        number = int(str(label))
    except ValueError:
        number = -1
    if not 0 <= number < classes:
        raise ConfigError(f"--label must be 0..{classes - 1} or all, got {label!r}. Usual cause: counting from 1.")
    return torch.full((n,), number)


def _check_guidance(trained: Trained, guidance: float | None) -> None:
    if guidance is None:
        return
    if trained.classes is None:
        raise ConfigError(
            f"--guidance {guidance:g}: {trained.name} knows no classes, so there is nothing to lean towards. "
            "Fix: leave --guidance out, or a network that was trained with labels."
        )
    if trained.label_dropout == 0:
        raise ConfigError(
            f"--guidance {guidance:g}: {trained.name} was trained with label_dropout=0, and never learned what to say "
            "without a label. Fix: leave --guidance out, or train with --set label_dropout=0.1."
        )


def _denoiser(trained: Trained, labels: Tensor | None, guidance: float | None, clip: str) -> Denoise:
    """The network with its labels, guided, and last its x0 clipped."""
    from ddpm_edu import parameterization
    from ddpm_edu.sampling import guidance as guided
    from ddpm_edu.sampling import thresholding

    net, s, predicts, first_t = trained.net, trained.s, trained.predicts, trained.first_t
    if guidance is not None and labels is not None:
        denoise: Denoise = guided.of_network(net, s, predicts, labels, guidance, first_t=first_t)
    else:
        condition = {} if labels is None else {"labels": labels}
        denoise = parameterization.denoiser(net, s, predicts, None, first_t, **condition)
    if clip == "none":
        return denoise
    limit = parameterization.static_clip if clip == "static" else thresholding.dynamic
    return thresholding.limited(denoise, s, limit)
