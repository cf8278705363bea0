"""In which numbers a step is computed: float32, or with convolutions and products in bfloat16 or float16.

Weights, their averages, the optimiser's state and the loss stay float32. float16 has a small range: its gradients are
scaled up, and where one overflows the step is skipped and the scale halved (torch.amp.GradScaler). bfloat16 has
float32's range and needs no scaling.
"""

import contextlib
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from ddpm_edu.errors import ConfigError, TrainingWarning


@dataclass(frozen=True)
class Precision:
    """A choice, for one kind of device: made by :func:`choose`."""

    name: str  # "fp32", "bf16" or "fp16"
    device: torch.device

    def autocast(self) -> AbstractContextManager[object]:
        """Inside it, networks compute in this precision."""
        if self.name == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16 if self.name == "bf16" else torch.float16)

    def scaler(self) -> torch.amp.GradScaler:
        """For the gradients of fp16; of no effect in the other precisions."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


def choose(name: str, device: torch.device) -> Precision:
    """The precision ``name`` on ``device``: "auto" is the fastest that the device is made for.

    Raises ConfigError for one that the device cannot do: torch itself would warn and compute in float32. A GPU that
    only emulates bfloat16 (a T4) gets fp16, with a warning (TrainingWarning).
    """
    bf16 = has_bf16(device)
    if name == "auto":
        return Precision("bf16" if bf16 else "fp16" if device.type == "cuda" else "fp32", device)
    if name == "fp16" and device.type != "cuda":
        raise ConfigError(
            f"precision fp16 needs a CUDA GPU, and this is {device.type}. "
            f'Fix: precision="{"bf16" if bf16 else "fp32"}", or "auto".'
        )
    if name == "bf16" and not bf16 and device.type == "cuda":
        warnings.warn(
            f"{torch.cuda.get_device_name(device)} has no bfloat16, it would be emulated, slowly: fp16 is taken.",
            TrainingWarning,
            stacklevel=2,
        )
        return Precision("fp16", device)
    if name == "bf16" and not bf16:
        raise ConfigError(f'this {device.type} has no bfloat16 and would emulate it, slowly. Fix: precision="fp32".')
    return Precision(name, device)


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself. (torch says yes for a T4, which emulates it.)"""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False
