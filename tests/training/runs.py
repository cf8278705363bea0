"""A training of half a second, what it leaves behind, and how two of them are compared: bit for bit."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from ddpm_edu import training
from ddpm_edu.data import ImageSet
from ddpm_edu.models import UNetConfig
from ddpm_edu.training import checkpoint, presets
from ddpm_edu.training import state as states
from ddpm_edu.training.distributed import Team
from ddpm_edu.training.state import Run

CPU = torch.device("cpu")
NET = UNetConfig(channels=1, width=8, multipliers=(1,), blocks=1, groups=4, attention=(), classes=10, T=50)
TINY = replace(
    presets.DIGITS_CPU, net=NET, schedule="cosine", flip=True, steps=24, batch=8, warmup=4, save_every=6, log_every=4,
    ema=(0.9,), ema_widths=(0.1,), precision="fp32",
)  # fmt: skip
"""With dropout, hidden labels, mirroring, a falling rate and two averages: all that a resumed run could get wrong."""

COMPARED = ("net", "averages", "optimiser", "scaler", "step", "data")


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for one run: tests that mutants must fail take no fixtures."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def train(out: Path, config: training.TrainConfig = TINY, **options: Any) -> training.Report:
    return training.train(config, out, device="cpu", progress=False, **options)


def begun(out: Path, config: training.TrainConfig = TINY, team: Team | None = None, **options: Any) -> Run:
    """A run before its next step, for tests that take single steps."""
    with torch.random.fork_rng([]):
        return states.start(config, out, team or Team(0, 1, CPU), **options)


def files(out: Path) -> list[Path]:
    """Its checkpoints, the newest first."""
    return checkpoint.listed(out / "checkpoints")


def steps(out: Path) -> list[int]:
    """Theirs, ascending."""
    return sorted(checkpoint.step_of(path) for path in files(out))


def state(out: Path) -> dict[str, Any]:
    """What the newest checkpoint holds."""
    found = checkpoint.newest(out / "checkpoints")
    assert found is not None
    return found.state


def through(config: training.TrainConfig = TINY) -> dict[str, Any]:
    """The end of a run that nothing interrupts."""
    with folder() as out:
        train(out, config)
        return state(out)


def differing(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """The names of all tensors and numbers that are not the same bits in two checkpoints."""
    return [name for key in COMPARED for name in _differing(a[key], b[key], key)]


def _differing(a: Any, b: Any, name: str) -> Iterator[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in a.keys() | b.keys():
            if key in a and key in b:
                yield from _differing(a[key], b[key], f"{name}.{key}")
            else:
                yield f"{name}.{key}"
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        for number, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from _differing(one, other, f"{name}.{number}")
    elif isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.dtype != b.dtype or a.shape != b.shape or a.numpy().tobytes() != b.numpy().tobytes():
            yield name
    elif type(a) is not type(b) or a != b:
        yield name


def weights(run: Run) -> list[Tensor]:
    return [p.detach().clone() for p in run.net.parameters()]


def held(run: Run) -> dict[str, Any]:
    """A copy of all that a step may change."""
    copied: dict[str, Any] = _copied({**run.state_dict(), "step": run.step})
    return copied


def moved(run: Run, before: dict[str, Any]) -> list[str]:
    """What is no longer as it was :func:`held`; but for the rate of learning, which each step sets for itself."""
    return [name for name in differing(held(run), before) if not name.endswith(".lr")]


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(inner) for inner in value]
    return value.clone() if isinstance(value, Tensor) else value


def images(n: int, seed: int = 0) -> ImageSet:
    """A set of ``n``, 8 x 8, for epochs of any length."""
    g = torch.Generator().manual_seed(seed)
    return ImageSet("noise", torch.randint(256, (n, 1, 8, 8), generator=g).byte(), torch.arange(n) % 10)


@contextmanager
def trained_on(given: ImageSet) -> Iterator[None]:
    """Within it, every training gets these images."""
    with mock.patch("ddpm_edu.training.state.load_images", return_value=given):
        yield


def flip_byte(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))  # two writes may share a tick
