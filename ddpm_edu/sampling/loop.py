"""What all samplers share: ask the denoiser, draw noise, take one step, until t = 0."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from tqdm.auto import tqdm

from ddpm_edu.errors import ConfigError, ShapeError
from ddpm_edu.forward import sent
from ddpm_edu.parameterization import Denoise, Denoised
from ddpm_edu.sampling.grids import Pairs
from ddpm_edu.schedules import Schedule

Generators = Generator | Sequence[Generator] | None
Callback = Callable[[dict[str, Any]], None]


class Before(NamedTuple):
    """What was seen at the step before: at times ``t`` (N,), and then ``denoised``."""

    t: Tensor
    denoised: Denoised


Step = Callable[[Schedule, Tensor, Tensor, Tensor, Denoised, Tensor, Before | None], Tensor]
"""``step(s, x_t, t, s_, denoised, noise, before) -> x_s``; ``before`` is None at the first step."""


def walk(
    denoise: Denoise,
    s: Schedule,
    x: Tensor,
    pairs: Pairs,
    step: Step,
    generator: Generators = None,
    callback: Callback | None = None,
    progress: bool = False,
) -> Tensor:
    """x_0 from ``x`` at the first t of ``pairs``, by ``step`` from pair to pair.

    Every step draws its noise, whether or not it uses it: one rule for where in the stream a step stands. Nothing here
    reads a value from the device, so that the host runs ahead of it.
    """
    before = None
    for number, (t, s_) in enumerate(tqdm(pairs, disable=not progress, desc="sampling")):
        time, earlier = torch.full((len(x),), t), torch.full((len(x),), s_)  # on the CPU, where the tables are
        denoised = ask(denoise, x, time)
        x = step(s, x, time, earlier, denoised, draw(x.shape, generator, x.dtype, x.device), before)
        before = Before(time, denoised)
        if callback is not None:
            callback({"step": number, "t": t, "s": s_, "x": x, "denoised": denoised})
    return x


def ask(denoise: Denoise, x: Tensor, t: Tensor) -> Denoised:
    """What ``denoise`` sees in x (N, ...) at the times t (N,), which are on the CPU. Raises ShapeError."""
    return checked(denoise(x, sent(t, x.device)), x)


def checked(seen: Denoised, x: Tensor) -> Denoised:
    """``seen``, if it is as large as x: one sample's answer would be taken for a whole batch's. Raises ShapeError."""
    if seen.x0.shape != x.shape or seen.eps.shape != x.shape:
        raise ShapeError(
            f"the denoiser gave x0 {tuple(seen.x0.shape)} and eps {tuple(seen.eps.shape)} for x {tuple(x.shape)}; they "
            "must be equal, nothing is broadcast. Usual cause: one sample's answer for a whole batch."
        )
    return seen


def draw(shape: Sequence[int], generator: Generators, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Standard normal noise (N, ...), drawn on the generator's own device and moved.

    A list of N generators draws each sample from its own stream, which makes an image independent of its batch.
    """
    if not isinstance(generator, Sequence):
        origin = device if generator is None else generator.device
        return sent(torch.randn(shape, generator=generator, dtype=dtype, device=origin), device)
    origin = generator[0].device  # one way to the device for all, not one for each sample
    alone = [torch.randn(shape[1:], generator=one, dtype=dtype, device=one.device).to(origin) for one in generator]
    return sent(torch.stack(alone), device)


def start(
    shape: Sequence[int],
    generator: Generators,
    x_T: Tensor | None,
    dtype: torch.dtype,
    device: torch.device | str | None,
) -> Tensor:
    """x_T as given, checked, or drawn. Raises ShapeError, ConfigError."""
    shape = tuple(shape)
    if len(shape) < 2 or min(shape) < 1:
        raise ShapeError(
            f"shape is that of a batch, (N, ...) with all sizes >= 1, got {shape}. Usual cause: the number of samples "
            "forgotten. Fix: for example (16, 1, 8, 8)."
        )
    check_generators(generator, shape[0])
    if not dtype.is_floating_point:
        raise ConfigError(f"samples are real numbers, got dtype={dtype}. Fix: torch.float32, then data.to_uint8(x).")
    if x_T is None:
        return draw(shape, generator, dtype, torch.device("cpu" if device is None else device))
    if x_T.shape != shape or x_T.dtype != dtype or x_T.device.type != torch.device(device or x_T.device).type:
        raise ShapeError(
            f"x_T is {x_T.dtype} {tuple(x_T.shape)} on {x_T.device}, but {dtype} {shape} "
            f"on {device or x_T.device} is asked for. Fix: shape=x_T.shape, dtype=x_T.dtype."
        )
    return x_T


def check_generators(generator: Generators, n: int) -> None:
    """Refuses a list that is not n different generators. Raises ConfigError."""
    if isinstance(generator, Sequence) and (len(generator) != n or len({id(one) for one in generator}) != n):
        raise ConfigError(
            f"{n} samples need {n} different generators, one each, got {len({id(one) for one in generator})} "
            f"different in a list of {len(generator)}. Usual cause: [generator] * n, one stream n times. "
            "Fix: [torch.Generator().manual_seed(i) for i in range(n)], or a single generator for the batch."
        )
