"""Trained networks, by name or by file, with all that is needed to sample from them."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from ddpm_edu import models, schedules
from ddpm_edu.errors import CheckpointError, ConfigError, DataError
from ddpm_edu.models import pretrained
from ddpm_edu.schedules import Schedule
from ddpm_edu.training import checkpoint, weights

SHORT = {"digits": "digits_unet", "fashion": "fashion_unet"}
SHAPES = {"digits": (1, 8, 8), "Fashion-MNIST": (1, 28, 28)}  # by the beginning of "data", where a file has no "size"


class Trained(NamedTuple):
    """A network, and what it was trained for."""

    net: nn.Module
    s: Schedule
    predicts: str
    first_t: int
    shape: tuple[int, ...]  # of an image, (C, H, W)
    classes: int | None  # None: unconditional
    label_dropout: float | None  # None: not known
    name: str
    average: str | None = None  # of the weights while it was trained; None: not known


def find(given: str, average: str | None = None) -> Trained:
    """The network that a command line names: one that the package carries, a file, or the folder of a training.

    In a training's folder it is weights.safetensors, or the first average of the newest checkpoint where that is of a
    later step or there is no such file; its ``name`` says which. ``average``: another one of the checkpoint, by its
    decay ("0.9999") or its width ("0.1"; see :func:`ddpm_edu.training.weights.of_checkpoint`).
    Raises ConfigError, CheckpointError, DataError.
    """
    path, name = Path(given), SHORT.get(given, given)
    known = sorted({*SHORT, *(file.stem for file in pretrained.FOLDER.glob("*.safetensors"))})
    if given in known and path.exists():
        raise ConfigError(
            f"{given!r} is the name of weights that the package carries, and also a path here. "
            f"Fix: {os.curdir}{os.sep}{given} for the path; for the weights, call this from another folder."
        )
    if path.is_dir() and given not in known:
        return _of_folder(path, average)
    if average is not None:
        raise ConfigError(
            f"the average {average!r} of {given!r}: only the folder of a training holds several averages to choose "
            "from. Fix: the folder, or no average."
        )
    if given in known:
        return _of_file(*pretrained.load(name), name)
    if not path.exists():
        raise ConfigError(
            f"there is no file or folder {given!r}, and no weights of that name; there are {', '.join(known)}. "
            "Usual cause: another working folder. Fix: one of these, or the folder that was --out of a training."
        )
    return _of_file(*pretrained.load(path), path.name)


def _of_folder(folder: Path, average: str | None) -> Trained:
    """What a training has left: a run that is extended has weights.safetensors of an earlier end."""
    file, checkpoints = folder / weights.FILE, checkpoint.listed(folder / "checkpoints")
    if not file.exists() and not checkpoints:
        raise CheckpointError(
            f"{folder} has neither {weights.FILE} nor a checkpoint. Usual cause: not the folder that was --out of a "
            "training. Fix: that one."
        )
    at_end, step = None, None
    if average is None and file.exists():
        net, about = pretrained.load(file)
        step = about.get("training", {}).get("step")
        at_end = _of_file(net, about, f"{file}, step {step}" if isinstance(step, int) else str(file))
    if at_end is not None and not (checkpoints and _before(step, checkpoint.step_of(checkpoints[0]))):
        return at_end
    net, about, source = weights.of_checkpoint(folder, average)
    training = about["training"]
    if at_end is not None and not _before(step, training["step"]):  # the later ones are damaged, as was warned
        return at_end
    return _of_file(net, about, f"{source}, step {training['step']}, the average {training['average']}")


def _before(step: object, other: int) -> bool:
    """Whether a file's ``step`` is before ``other``. One that does not say is taken as it is."""
    return isinstance(step, int) and step < other


def _of_file(net: nn.Module, about: dict[str, Any], name: str) -> Trained:
    """What the metadata of a file say. Raises DataError where they make no sense."""
    classes = net.config.classes if isinstance(net, models.UNet) else None
    try:
        s = schedules.by_name(about["schedule"]["family"], about["schedule"]["T"])
        first_t, dropout = int(about.get("first_t", 1)), _label_dropout(about)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as cause:
        raise DataError(
            f"{name}: its metadata make no sense ({cause!r}). Usual cause: a file of another program, or one edited by "
            "hand. Fix: make it again with models.save or a training."
        ) from cause
    told = about.get("training", {}).get("average")
    average = told if isinstance(told, str) else None
    return Trained(net, s, about["predicts"], first_t, _shape(about, name), classes, dropout, name, average)


def _shape(about: dict[str, Any], name: str) -> tuple[int, ...]:
    if "size" in about:
        return tuple(about["size"])
    for beginning, shape in SHAPES.items():
        if str(about.get("data", "")).startswith(beginning):
            return shape
    raise ConfigError(
        f'{name} does not say how large its images are. Usual cause: a file that models.save wrote without "size". '
        'Fix: save it again with "size": [channels, height, width] in its configuration.'
    )


def _label_dropout(about: dict[str, Any]) -> float | None:
    """The share of labels that was hidden in training: 0 means that the label for none was never learned."""
    training = about.get("training", {})
    if isinstance(training.get("config"), str):
        training = json.loads(training["config"])
    share = training.get("label_dropout")
    return None if share is None else float(share)
