"""What a training hands over: one of its averages as a network, and what whoever samples from it must know.

The same pair, of network and metadata, is written to weights.safetensors when a run ends and made from a checkpoint as
long as it has not, so that both are sampled from in one way.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from torch import Tensor, nn

from ddpm_edu import models, whole
from ddpm_edu.errors import CheckpointError, ConfigError
from ddpm_edu.training import checkpoint, planner, posthoc
from ddpm_edu.training.config import TrainConfig
from ddpm_edu.training.ema import gamma_of, power_name

FILE = "weights.safetensors"


class Weights(NamedTuple):
    """A network in eval mode, the metadata that its file has or would have, and where in the folder it is from."""

    net: nn.Module
    about: dict[str, Any]
    source: str


def about(config: TrainConfig, data: str, size: Sequence[int], step: int, average: str) -> dict[str, Any]:
    """The metadata of a file of weights. ``data``: a name for people; ``size``: of an image, (C, H, W)."""
    return {
        "network": "UNet",
        "arguments": config.net.to_dict(),
        "predicts": config.predicts,
        "schedule": {"family": config.schedule, "T": config.net.T},
        "data": data,
        "size": list(size),
        "training": {"config": config.to_json(), "step": step, "average": average},
    }


def write(path: Path, net: nn.Module, about: dict[str, Any]) -> None:
    """``net`` as a file that models.load reads, there whole or not at all. Raises CheckpointError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole.replacing(path) as part:
            models.save(part, net, about)
    except (OSError, SafetensorError) as cause:
        raise CheckpointError(
            f"{path} could not be written: {cause}. The checkpoints are whole. Fix: make room, then run the same "
            "command again: it only writes this file."
        ) from cause


def of_checkpoint(folder: Path, average: str | None = None) -> Weights:
    """The newest checkpoint of the training in ``folder``, with one of its averages.

    ``average``: the name of one that the checkpoint holds, "0.9999" or "power 0.1" (None: the first); or the relative
    width of a power-function average, "0.07", put together from snapshots (:mod:`posthoc`) unless it was kept.
    Raises CheckpointError where there is no checkpoint of a training, ConfigError for an average that there is not.
    """
    found = checkpoint.newest(folder / "checkpoints")
    if found is None:
        raise CheckpointError(f"there is no checkpoint in {folder / 'checkpoints'}. Fix: the folder of a training.")
    try:
        config = TrainConfig.from_json(found.state["config"])
        kept, in_net = found.state["averages"]["weights"], found.state["net"]
    except (KeyError, TypeError, ConfigError) as cause:
        raise CheckpointError(f"{found.path.name} is of no training that this version knows: {cause}") from cause
    name, step, source = next(iter(kept)) if average is None else average, found.state["step"], found.path.name
    if power_name(name) in kept:
        name = power_name(name)
    if name in kept:
        tensors = kept[name]
    else:
        name, step, tensors = _of_snapshots(folder, name, kept)
        source = posthoc.FOLDER
    net = models.UNet(config.net)
    net.load_state_dict({**in_net, **tensors})
    pixels = planner.size(config)
    seen = found.state.get("images", {"name": config.data, "size": [config.net.channels, pixels, pixels]})
    return Weights(net.eval(), about(config, seen["name"], seen["size"], step, name), source)


def _of_snapshots(folder: Path, name: str, kept: Iterable[str]) -> tuple[str, int, dict[str, Tensor]]:
    """Name, step and weights of the average of that width at the last snapshot. Raises ConfigError."""
    steps, width = posthoc.steps(folder), _width(name)
    if width is None or not steps:
        more = ", and from its snapshots all widths in (1e-5, 0.28)" if steps else ""
        raise ConfigError(
            f"there is no average {name!r} in {folder}; there are {', '.join(kept)}{more}. Usual cause: a decay that "
            "was not among ema when it was trained, or a width without snapshots (snapshot_every). Fix: one of these."
        )
    return power_name(width), steps[-1], posthoc.average(folder, width)


def _width(name: str) -> float | None:
    """The relative width that ``name`` says, "0.07" or "power 0.07", or None where it says none."""
    try:
        width = float(name.removeprefix(power_name("")))
        gamma_of(width)
    except ValueError:  # a word, or out of range
        return None
    return width
