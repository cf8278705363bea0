"""``--set key=value``: from words on a command line to a changed configuration."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from ddpm_edu.errors import ConfigError

if TYPE_CHECKING:
    from ddpm_edu.training import TrainConfig


def option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option itself, for the commands that have it."""
    return click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        callback=_pairs,
        help="Change one setting, any number of times: steps=4000, lr=1e-3, clip=null, ema=[0.99,0.999], "
        "net.width=64. A value is read as JSON, or else as a word.",
    )(command)


def changed(preset: str, settings: dict[str, Any]) -> TrainConfig:
    """The preset with the settings. Raises ConfigError, also for a value of the wrong kind."""
    from ddpm_edu.training import presets

    try:
        return presets.by_name(preset).changed(settings)
    except TypeError as cause:  # a list where a word is expected, say
        given = ", ".join(f"{key}={value!r}" for key, value in settings.items())
        raise ConfigError(f"a setting has a value of the wrong kind ({cause}), among {given}.") from cause


def device(given: str | None) -> str | None:
    """The name of a device as it is, if torch knows such a kind. Raises ConfigError."""
    import torch

    if given is not None:
        try:
            torch.device(given)
        except RuntimeError as cause:
            raise ConfigError(f"--device {given!r} is no device. Fix: cpu, cuda, cuda:1 or mps.") from cause
    return given


def names(config: TrainConfig) -> set[str]:
    """What can be set, those of the network as "net.width"."""
    own = json.loads(config.to_json())
    return {f"net.{key}" for key in own.pop("net")} | own.keys()


def _pairs(ctx: click.Context, parameter: click.Parameter, given: Sequence[str]) -> dict[str, Any]:
    found = {}
    for pair in given:
        key, sign, value = pair.partition("=")
        if not sign or not key.strip():
            raise click.BadParameter(f"{pair!r} is not of the form key=value, such as steps=4000.", ctx, parameter)
        try:
            found[key.strip()] = json.loads(value)
        except ValueError:
            found[key.strip()] = value
    return found
