"""Weights in files, among them those that the package carries, so that a lesson can sample without training first.

A file is safetensors (numbers only: nothing in it can run), with all that is needed to use it as JSON in its metadata:
the network's arguments, what it predicts, the schedule, the command that made it.
"""

import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ddpm_edu.errors import ConfigError, DataError
from ddpm_edu.models.config import UNetConfig
from ddpm_edu.models.mlp import MLP
from ddpm_edu.models.unet import UNet

N = TypeVar("N", bound=nn.Module)
FOLDER = Path(__file__).parent / "weights"
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "MLP": MLP,
    "UNet": lambda **arguments: UNet(UNetConfig.from_dict(arguments)),
}
MOST_STEPS, MOST_NUMBERS = 10**6, 10**8  # of a schedule, of an image: more is no honest file
WRAPPED = {"module.": "DistributedDataParallel (net.module is it)", "_orig_mod.": "torch.compile (net._orig_mod is it)"}


def save(path: Path, net: nn.Module, config: dict[str, Any], dtype: torch.dtype = torch.float32) -> None:
    """Writes ``net`` to ``path`` so that :func:`load` finds all it needs. ``dtype``: of the numbers in the file.

    ``config`` must say "network" ("MLP" or "UNet"), "arguments" (of a U-Net: its config.to_dict()), "predicts" and
    "schedule"; whatever else is worth knowing may stand beside them, as JSON can hold it. Raises ConfigError.
    """
    missing = [key for key in ("network", "arguments", "predicts", "schedule") if key not in config]
    if missing or config["network"] not in NETWORKS:
        raise ConfigError(
            f"the configuration lacks {', '.join(missing) or 'a network out of ' + ', '.join(NETWORKS)}; with it, "
            "whoever loads the weights knows what they are. Fix: see models.load for an example."
        )
    write(path, net, config, dtype)


def write(path: Path, net: nn.Module, config: dict[str, Any], dtype: torch.dtype) -> None:
    """``net`` and any configuration as they are, for :func:`read`; :func:`save` first asks what a denoiser needs."""
    tensors = {key: tensor.detach().to("cpu", dtype).contiguous() for key, tensor in net.state_dict().items()}
    save_file(tensors, path, {"config": json.dumps(config)})
    path.chmod(0o644)  # safetensors writes for the owner alone


def load(name: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network ``name`` with its weights, ready to sample (eval mode, CPU), and its configuration.

    ``name``: one that the package carries ("digits_mlp"), or the path of such a file. The configuration has
    "network", "arguments", "predicts" and "schedule" ({"family", "T"}). Raises ConfigError for an unknown name,
    DataError for a file that is missing, damaged, or does not fit the network it names.
    """
    path = name if isinstance(name, Path) else carried(name, FOLDER)
    net, config = read(path, NETWORKS)
    _check_use(path, config)
    return net, config


def read(path: Path, networks: Mapping[str, Callable[..., N]]) -> tuple[N, dict[str, Any]]:
    """The network in ``path``, one of ``networks`` by name, in eval mode, and its configuration. Raises DataError."""
    config, tensors = _read(path)
    try:
        build = partial(networks[config["network"]], **_few(config["arguments"], len(tensors)))
        with torch.device("meta"):  # a stranger's file may describe a network that no memory holds
            described = build()
    except (KeyError, TypeError, AttributeError, ConfigError, RuntimeError) as cause:
        raise DataError(f"{path.name}: its metadata describe no network of this package ({cause!r}).") from cause
    _check_fit(path, described, tensors)
    net = build()
    net.load_state_dict(tensors)
    return net.eval(), config


def carried(name: str, folder: Path) -> Path:
    """The file of the weights ``name`` in ``folder``. Raises ConfigError, which names those there are."""
    names = sorted(path.stem for path in folder.glob("*.safetensors"))
    if name not in names:
        raise ConfigError(
            f"no weights are called {name!r}; there are {', '.join(names)}. Fix: one of these, or pathlib.Path(file)."
        )
    return folder / f"{name}.safetensors"


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            config = json.loads((file.metadata() or {})["config"])
            return config, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except FileNotFoundError as cause:
        raise DataError(f"there is no file {path}.") from cause
    except (SafetensorError, OSError) as cause:
        raise DataError(
            f"{path.name} cannot be read as safetensors ({cause}). Usual cause: a download that broke off, or a pickle "
            "with another name. Fix: fetch or make it again."
        ) from cause
    except (KeyError, json.JSONDecodeError, RecursionError) as cause:
        raise DataError(
            f'{path.name} has no JSON "config" in its metadata, so nothing says which network it is. '
            "Usual cause: a file of another program. Fix: make it with this package."
        ) from cause


def _check_use(path: Path, config: dict[str, Any]) -> None:
    """What says how the network is used is what it should be, where it is there. Raises DataError."""
    schedule = config.get("schedule", {"family": "", "T": 1})
    size = config.get("size", [1, 1, 1])
    family, T = (schedule.get("family"), schedule.get("T")) if isinstance(schedule, dict) else (None, None)
    fits = {
        "schedule": isinstance(family, str) and _counts(T, MOST_STEPS),
        "size": isinstance(size, list) and len(size) == 3 and all(map(_counts, size)) and _counts(math.prod(size)),
        "predicts": isinstance(config.get("predicts", ""), str),
        "first_t": config.get("first_t", 1) in (0, 1),
        "data": isinstance(config.get("data", ""), str),
        "training": isinstance(config.get("training", {}), dict),
    }
    wrong = [key for key, is_well in fits.items() if not is_well]
    if wrong:
        raise DataError(
            f"{path.name}: its metadata say {wrong[0]} = {str(config[wrong[0]])[:100]}, which cannot be. Usual cause: "
            "a file of another program, or one that means harm. Fix: make it with this package."
        )


def _few(arguments: dict[str, Any], most: int) -> dict[str, Any]:
    """The arguments, unless they ask for more parts than the file has tensors for: building those would take for ever.

    Raises ConfigError.
    """
    for name, value in arguments.items():
        parts = len(value) if isinstance(value, list) else value if name in ("blocks", "depth") else 0
        if isinstance(parts, int) and parts > most:
            raise ConfigError(f"{name} asks for {parts} parts, and there are {most} tensors.")
    return arguments


def _counts(n: Any, most: int = MOST_NUMBERS) -> bool:
    """Whether it is a number of something that a memory holds."""
    return type(n) is int and 1 <= n <= most


def _check_fit(path: Path, net: nn.Module, tensors: dict[str, Tensor]) -> None:
    own = {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}
    given = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    wrong = sorted(key for key in own.keys() | given.keys() if own.get(key) != given.get(key))
    if wrong:
        key = wrong[0]
        wrapped = [prefix for prefix in WRAPPED if all(name.startswith(prefix) for name in given)]
        if wrapped:
            raise DataError(
                f"all names in {path.name} begin with {wrapped[0]!r}. Usual cause: the network was saved inside of "
                f"{WRAPPED[wrapped[0]]}. Fix: save the network itself (net.compile() leaves names as they are)."
            )
        raise DataError(
            f"{path.name} does not fit its network: {len(wrong)} tensors differ, the first is {key}: "
            f"{given.get(key, 'missing')} in the file, {own.get(key, 'not known')} in the network. "
            "Usual cause: a network that was changed after it was saved."
        )
    spoilt = [key for key, tensor in tensors.items() if not tensor.isfinite().all()]
    if spoilt:
        raise DataError(f"{path.name}: {spoilt[0]} holds NaN or infinity. Usual cause: training that diverged.")
