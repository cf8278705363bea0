"""How samples were made: written into their file by ``sample``, read without trust by ``evaluate``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddpm_edu.commands.networks import Trained

Fact = str | int | float | bool | None
KNOWN = (
    *("checkpoint", "average", "weights_sha256", "method", "steps", "guidance", "eta", "clip", "seed", "label"),
    *("torch", "ddpm_edu"),
)
MOST = 2**14  # characters of all facts together
LONGEST = 100  # characters of one


def of_weights(trained: Trained) -> dict[str, Fact]:
    """Which network: its name, the average that its weights are (where this is known), and the sha256 of the weights.

    The hash is over names, dtypes, shapes and bytes of the tensors as they are used, so the same weights in another
    file are the same.
    """
    from ddpm_edu.metrics import reference

    found: dict[str, Fact] = {"checkpoint": Path(trained.name.partition(",")[0]).name}
    if trained.average is not None:
        found["average"] = trained.average
    return {**found, "weights_sha256": reference.content_hash(trained.net.state_dict())}


def read(text: str) -> dict[str, Fact]:
    """The facts in ``text``, JSON of a file that anybody may have written: those known by name, plain and short.

    What is damaged, nested, endless or not printable is left out, and so is not known. Nothing raises.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: found[name] for name in KNOWN if name in found and _is_plain(found[name])}


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= LONGEST and value.isprintable()  # no escape sequence may speak to a terminal
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or (isinstance(value, int) and abs(value) < 2**64)
