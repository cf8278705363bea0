"""What all samplers share: ask the denoiser, draw noise, take one step, until t = 0."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Generator, Tensor
from tqdm.auto import tqdm

from ddpm_edu.errors import ConfigError
from ddpm_edu.parameterization import Denoise, Denoised
from ddpm_edu.sampling.pairs import Pairs
from ddpm_edu.schedules import Schedule

Generators = Generator | Sequence[Generator] | None
Step = Callable[[Schedule, Tensor, Tensor, Tensor, Denoised, Tensor], Tensor]
Callback = Callable[[dict[str, Any]], None]


def walk(
    denoise: Denoise,
    s: Schedule,
    x: Tensor,
    pairs: Pairs,
    step: Step,
    generator: Generators,
    callback: Callback | None,
    progress: bool,
) -> Tensor:
    """x_0 from ``x`` at the first t of ``pairs``, by ``step(s, x_t, t, s_, denoised, noise)`` from pair to pair.

    Every step draws its noise, whether or not it uses it: one rule for where in the stream a step stands.
    """
    for number, (t, s_) in enumerate(tqdm(pairs, disable=not progress, desc="sampling")):
        time, earlier = torch.full((len(x),), t), torch.full((len(x),), s_)  # on the CPU, where the tables are
        denoised = denoise(x, time.to(x.device))
        x = step(s, x, time, earlier, denoised, draw(x.shape, generator, x.dtype, x.device))
        if callback is not None:
            callback({"step": number, "t": t, "s": s_, "x": x, "denoised": denoised})
    return x


def draw(shape: Sequence[int], generator: Generators, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Standard normal noise (N, ...), drawn on the generator's own device and moved.

    A list of N generators draws each sample from its own stream, which makes an image independent of its batch.
    """
    if not isinstance(generator, Sequence):
        origin = device if generator is None else generator.device
        return torch.randn(shape, generator=generator, dtype=dtype, device=origin).to(device)
    return torch.stack([draw(shape[1:], one, dtype, device) for one in generator])


def check_generators(generator: Generators, n: int) -> None:
    """Refuses a list that is not n different generators. Raises ConfigError."""
    if isinstance(generator, Sequence) and (len(generator) != n or len({id(one) for one in generator}) != n):
        raise ConfigError(
            f"{n} samples need {n} different generators, one each, got {len({id(one) for one in generator})} "
            f"different in a list of {len(generator)}. Usual cause: [generator] * n, one stream n times. "
            "Fix: [torch.Generator().manual_seed(i) for i in range(n)], or a single generator for the batch."
        )
