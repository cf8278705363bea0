"""How smoothly images change along a path between two latents: perceptual path length (Karras et al. 2019).

A path needs a map from latent to image that has no noise of its own: DDIM with eta = 0 is one, DDPM is none.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from ddpm_edu.errors import ConfigError, DataError, ShapeError
from ddpm_edu.metrics.inputs import enough, exact, feature_set, same_width
from ddpm_edu.sampling import interpolation

_UNSURE = 0.01  # of the result: what asking twice may move


def path_length(
    generate: Callable[[Tensor], Tensor],
    features: Callable[[Tensor], Tensor],
    x_T_a: Tensor,
    x_T_b: Tensor,
    eps: float = 1e-3,
    generator: Generator | None = None,
) -> float:
    """E |f(g(slerp(a, b; u + eps))) - f(g(slerp(a, b; u)))|^2 / eps^2, u uniform in [0, 1 - eps]: Karras et al. 2019.

    The squared speed at which features move, if one walks from a to b in unit time: at a random moment, as a mean over
    pairs. Squared units of the features; it compares only within one feature space and one kind of latents.
    ``generate``: latents (N, ...) -> images, deterministic, such as ``lambda x: sampling.sample(denoise, s, x.shape,
    "ddim", x_T=x).clamp(-1, 1)``. ``features``: images -> (N, D). ``x_T_a``, ``x_T_b``: floating (N, ...), the ends of
    N paths. ``generator`` draws u.

    Two nearby images are subtracted, so ``eps`` is bounded from both sides. Latents are mixed in float64 and given to
    ``generate`` in their own dtype, differences are taken in float64, but what lies between computes as it likes: an
    error of size r in the features adds about r^2 / eps^2. With the digits' networks in float32 that is 0.04% at the
    default and 0.5% at the paper's 1e-4. Deeper ones err more: compare with float64 (``net.double()``,
    ``x_T.double()``), or with another eps. Nothing may round images to bytes on the way: a step of 2 / 255 is far
    larger than what is measured. A map that jumps is measured poorly: few paths meet a jump, and a term of theirs is
    its square / eps^2.

    ``generate`` and ``features`` are asked three times, twice for the same latents: ConfigError where the answers
    differ by more than 1% of the result. Raises ShapeError, ConfigError, DataError for no pairs, NaN and infinity.
    """
    _check_latents(x_T_a, x_T_b, eps)
    origin = "cpu" if generator is None else generator.device
    moment = torch.rand(len(x_T_a), generator=generator, device=origin).double().mul(1 - eps).tolist()
    start, end = mixed(x_T_a, x_T_b, moment), mixed(x_T_a, x_T_b, [u + eps for u in moment])
    here, again, there = (_seen(generate, features, latents) for latents in (start, start, end))
    length, unsure = speed(here, there, eps), speed(here, again, eps)
    if unsure > _UNSURE * length:
        raise ConfigError(
            f"generate or features answers differently when asked twice: that alone makes {unsure:.3g} of a path "
            f"length of {length:.3g}. Usual cause: a sampler that draws noise (DDPM, eta > 0), or dropout. Fix: DDIM "
            "with eta=0 and net.eval()."
        )
    return length


def mixed(x_T_a: Tensor, x_T_b: Tensor, fractions: list[float]) -> Tensor:
    """Each pair of latents at its own fraction of the way, along the sphere: (N, ...), in the latents' dtype."""
    pairs = zip(x_T_a.split(1), x_T_b.split(1), fractions, strict=True)
    return torch.cat([interpolation.slerp(a, b, fraction) for a, b, fraction in pairs])


def speed(here: Tensor, there: Tensor, eps: float) -> float:
    """The mean of |there - here|^2 / eps^2 over features (N, D)."""
    return (there - here).square().sum(1).mean().item() / eps**2


def _seen(generate: Callable[[Tensor], Tensor], features: Callable[[Tensor], Tensor], latents: Tensor) -> Tensor:
    with torch.no_grad():
        found = feature_set(features(generate(latents)), "features", least=1)
    if len(found) != len(latents):
        raise ShapeError(
            f"features of {len(latents)} images must have as many rows, got {tuple(found.shape)}. Usual cause: a "
            "generate that ignores the latents' batch. Fix: pass x_T=latents and shape=latents.shape to the sampler."
        )
    return found


def _check_latents(x_T_a: Tensor, x_T_b: Tensor, eps: float) -> None:
    a, b = exact(x_T_a, "x_T_a"), exact(x_T_b, "x_T_b")
    if not x_T_a.is_floating_point() or x_T_a.dtype != x_T_b.dtype:
        raise DataError(f"x_T_a and x_T_b must have one floating dtype, got {x_T_a.dtype} and {x_T_b.dtype}.")
    if a.ndim < 2:
        raise ShapeError(f"x_T_a must be (N, ...), a latent for each path, got {tuple(a.shape)}. Fix: x_T_a[None].")
    same_width(enough(a, "x_T_a", 1), b, "x_T_a and x_T_b")
    if len(a) != len(b):
        raise ShapeError(f"x_T_a and x_T_b are the ends of the same paths, got {len(a)} and {len(b)} of them.")
    if not 0 < eps < 1:
        raise ConfigError(f"eps must lie between 0 and 1, a step of a path of length 1; got {eps!r}. Fix: eps=1e-3.")
