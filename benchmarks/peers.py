"""What the benchmarks share: where a number comes from, and the one peer that has to be talked into being imported."""

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
import time
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

PACKAGES = ("torch", "diffusers", "denoising-diffusion-pytorch")


def about(script: str, start: float, **more: Any) -> dict[str, Any]:
    """Date, machine, versions and command of a result; ``start``: ``time.perf_counter()`` when it began."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES if installed(name)}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()}-core {platform.machine()} CPU",
        "python": platform.python_version(),
        **versions,
        "command": f"python benchmarks/{script}",
        **more,
        "seconds": round(time.perf_counter() - start),
    }


def installed(name: str) -> bool:
    """True where the package called ``name`` can be imported; requirements/peers.txt is optional."""
    return importlib.util.find_spec(name.replace("-", "_")) is not None


def lucidrains() -> ModuleType:
    """denoising-diffusion-pytorch, whose data loading alone needs torchvision.

    Where that is not installed, empty modules stand for it during the import, and no longer: others look for it, too.
    """
    stands_in: dict[str, Any] = {}
    if not installed("torchvision"):
        stands_in = {name: ModuleType(name) for name in ("torchvision", "torchvision.transforms", "torchvision.utils")}
        stands_in["torchvision"].transforms = stands_in["torchvision.transforms"]
        stands_in["torchvision"].utils = stands_in["torchvision.utils"]
    sys.modules.update(stands_in)
    try:
        return importlib.import_module("denoising_diffusion_pytorch")
    finally:
        for name in stands_in:
            del sys.modules[name]
