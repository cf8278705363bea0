"""Denoising diffusion, taught exactly: every equation of the course is a function here.

Submodules are imported when first used, so that ``python -m ddpm_edu doctor`` can explain a broken
installation even where torch itself does not import.
"""

import importlib
from types import ModuleType

__version__ = "0.1.0"
_ROOMS = (
    *("closed_form", "data", "elbo", "errors", "exercises", "forward", "losses", "metrics", "models", "oracles"),
    *("parameterization", "plots", "reverse", "sampling", "schedules", "training", "widgets"),
)
__all__ = ["__version__", *_ROOMS]


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(_ROOMS)}")


def __dir__() -> list[str]:
    return sorted(__all__)
