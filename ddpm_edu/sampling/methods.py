"""The methods of :func:`ddpm_edu.sampling.sample` by name, each with the one option that it takes."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import Tensor

from ddpm_edu import reverse
from ddpm_edu.errors import ConfigError, did_you_mean, nearest
from ddpm_edu.parameterization import Denoise, Denoised
from ddpm_edu.reverse import Variance
from ddpm_edu.sampling import ddim, ddpm, dpm_solver, heun
from ddpm_edu.sampling.loop import Before, Step
from ddpm_edu.schedule_checks import is_real
from ddpm_edu.schedules import Schedule

FAST_STEPS = 50  # of every method that may jump, unless told otherwise


class Options(NamedTuple):
    """What a caller may set; each method takes at most one of them."""

    eta: float = 0.0
    variance: Variance = "beta"


class Method(NamedTuple):
    """How to make the step, which option it takes, and how many steps it takes by itself on a chain of T."""

    make: Callable[[Schedule, Denoise, Options], Step]
    takes: str | None = None
    steps: Callable[[int], int] = partial(min, FAST_STEPS)


def choose(name: str, s: Schedule, denoise: Denoise, options: Options) -> Step:
    """The step of method ``name`` with its own option bound; refuses an option of another. Raises ConfigError."""
    method = by_name(name)
    if options.eta != 0 and method.takes != "eta":
        raise ConfigError(
            f'eta={options.eta} is an option of "ddim". The noise of "ddpm" is set by variance, and the other methods '
            f"have none to set; {name!r} is asked for."
        )
    if not (isinstance(options.variance, str) and options.variance == "beta") and method.takes != "variance":
        raise ConfigError(f'variance is an option of "ddpm", not of {name!r}. Got {options.variance!r}.')
    return method.make(s, denoise, options)


def by_name(name: str) -> Method:
    """The method called ``name``. Raises ConfigError for another name, with the nearest ones."""
    if name not in METHODS:
        hint = did_you_mean(map(repr, nearest(name, METHODS)))
        raise ConfigError(f"no sampling method is called {name!r}; there are {', '.join(METHODS)}.{hint}")
    return METHODS[name]


# ---------------------------------------------------------------- how each is made


def _one_step(step: Callable[..., Tensor]) -> Step:
    """A step that does not look at the one before."""

    def take(
        s: Schedule, x_t: Tensor, t: Tensor, s_: Tensor, denoised: Denoised, noise: Tensor, before: Before | None
    ) -> Tensor:
        return step(s, x_t, t, s_, denoised, noise)

    return take


def _ddpm(s: Schedule, denoise: Denoise, options: Options) -> Step:
    choice = options.variance
    if isinstance(choice, str) and choice not in reverse.VARIANCES:
        raise ConfigError(f"variance must be one of {', '.join(reverse.VARIANCES)} or a table, got {choice!r}.")
    return _one_step(partial(ddpm.step, variance=reverse.resolve(choice, denoise)))


def _ddim(s: Schedule, denoise: Denoise, options: Options) -> Step:
    if not (is_real(options.eta) and 0 <= options.eta <= 1):
        raise ConfigError(f"eta must lie in 0..1 (0: no noise, 1: as much as DDPM's posterior), got {options.eta!r}.")
    return _one_step(partial(ddim.step, eta=options.eta))


METHODS: dict[str, Method] = {
    "ddpm": Method(_ddpm, takes="variance", steps=lambda T: T),
    "ddim": Method(_ddim, takes="eta"),
    "dpmpp_2m": Method(lambda s, denoise, options: dpm_solver.step),
    "dpmpp_2m_sde": Method(lambda s, denoise, options: dpm_solver.sde_step),
    "heun": Method(lambda s, denoise, options: _one_step(partial(heun.step, denoise=denoise))),
}
