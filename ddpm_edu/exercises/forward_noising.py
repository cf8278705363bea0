"""Checks of notebook 01, from one step of the chain to the posterior. Each names the likely mistake by its symptom."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ddpm_edu.exercises import forward_mistakes as mistakes
from ddpm_edu.exercises import posterior_mistakes
from ddpm_edu.exercises.frame import CheckFailed, call, check, tensor_like
from ddpm_edu.exercises.small_chain import (
    AB,
    BETAS,
    ROOT_AB,
    ROOT_ALPHA,
    ROOT_BETA,
    ROOT_REST,
    T,
    bayes_on_a_grid,
    chain,
    compare,
    correlation_by_enumeration,
    examine_linear,
    near,
)
from ddpm_edu.schedules import Schedule


def last_state(s: Schedule, x0: Tensor, noises: Tensor) -> Tensor:
    """x_T by T steps of DDPM, Eq. 2, from x0 (N, ...) with the given noise (T, N, ...): an answer to exercise 1.4."""
    x = x0
    for alpha, beta, noise in zip(s.alpha[1:], s.beta[1:], noises, strict=True):
        x = alpha.sqrt() * x + beta.sqrt() * noise
    return x


# ---------------------------------------------------------------- the checks


@check("1.1 one step")
def one_step(f: Callable[..., Any]) -> None:
    """f(s, x_prev, t, noise) must be one step of the chain."""
    examine_linear(f, ROOT_ALPHA, ROOT_BETA, mistakes.ONE_STEP)


@check("1.2 the running product")
def running_product(f: Callable[..., Any]) -> None:
    """f(betas) must be alpha_bar_0..alpha_bar_T."""
    result = call(f, torch.tensor(BETAS, dtype=torch.float64))
    if isinstance(result, Tensor) and result.shape == (T,):
        raise CheckFailed(
            f"You return {T} values for {T} betas; {T + 1} are expected: alpha_bar_0 = 1 comes first, for the clean "
            "image."
        )
    if isinstance(result, Tensor) and result.numel() <= 2:
        raise CheckFailed(
            "That is one product of all factors (torch.prod). A value for every t is expected: the running product, "
            "torch.cumprod."
        )
    compare(tensor_like(result, (T + 1,), "alpha_bar").tolist(), AB, mistakes.PRODUCT, "alpha_bar")


@check("1.3 the jump")
def jump(f: Callable[..., Any]) -> None:
    """f(s, x0, t, noise) must be x_t in closed form."""
    examine_linear(f, ROOT_AB, ROOT_REST, mistakes.JUMP)


@check("1.4 the loop, mended")
def mended_loop(f: Callable[..., Any]) -> None:
    """f(s, x0, noises) must be x_T reached step by step with the given noise, noises[t - 1] at step t."""
    s, shape = chain(), (3, 2)

    def run(x0: float, which: int | None) -> float:
        noises = torch.zeros(T, *shape, dtype=torch.float64)
        if which is not None:
            noises[which] = 1
        result = call(f, s, torch.full(shape, x0, dtype=torch.float64), noises)
        _assert_one_state(result, shape)
        values = tensor_like(result, shape, "x_T")
        if values.std() > 1e-9:
            raise CheckFailed(
                "x_T is not what the given noise makes of x_0. Did you draw noise of your own? Use noises[t - 1] at "
                "step t."
            )
        return values.mean().item()

    if abs(run(0.0, None)) > 1e-9:
        raise CheckFailed(
            "From x_0 = 0 and zero noise came something else than 0. Did you draw noise of your own? Use the argument."
        )
    signal = run(1.0, None)
    if abs(run(3.0, None) - 3 * signal) > 1e-6:
        raise CheckFailed("Three times x_0 does not give three times the signal. Is something clamped? x_t is not.")
    _judge_loop(signal, [run(0.0, j) for j in range(T)])


def _assert_one_state(result: Any, shape: tuple[int, ...]) -> None:
    """Refuses all states, or all noises at once, in the place of the last state."""
    if isinstance(result, list | tuple):
        raise CheckFailed(f"You return {len(result)} states in a {type(result).__name__}. Only the last is asked for.")
    if isinstance(result, Tensor) and result.shape in ((T, *shape), (T + 1, *shape)):
        raise CheckFailed(
            f"x_T: expected shape {shape}, got {tuple(result.shape)}. Either all states are returned (only the last is "
            "asked for), or a step took all the noises at once (step t takes its own, noises[t - 1])."
        )


def _judge_loop(signal: float, parts: list[float]) -> None:
    """``signal``: the share of x_0 in x_T; ``parts``: the shares of the noise of steps 1..T."""
    got, want = [signal, *parts], mistakes.walked(ROOT_ALPHA, ROOT_BETA)
    for values, message in mistakes.LOOP:
        if near(got, values):
            raise CheckFailed(message)
    if not any(parts[1:]):
        raise CheckFailed("Only the first noise has any effect. Step t takes its own, noises[t - 1].")
    if not any(parts[:-1]):
        raise CheckFailed("Only the last step has any effect. Each step must start from the result of the one before.")
    for name, part in (("last", parts[-1]), ("first", parts[0])):
        if part == 0:
            raise CheckFailed(
                f"The noise of the {name} step has no effect. t runs from 1 to T, both included: range(1, s.T + 1)."
            )
    variance = sum(p * p for p in parts)
    if near([signal], [ROOT_AB[-1]]) and not near([variance], [1 - AB[-1]]):
        raise CheckFailed(
            f"The signal is right, the variance of the noise is not: {variance:.4f} where 1 - alpha_bar_T = "
            f"{1 - AB[-1]:.4f}. Step t adds noise of variance beta_t."
        )
    compare(got, want, [], "share of x_0, then of the noise of steps 1..T, in x_T")


@check("1.5 what is left of x_0")
def signal_left(f: Callable[..., Any]) -> None:
    """f(s, variance) must be corr(x_0, x_t)^2 at t = 0..T."""
    s = chain()
    for v in (1.0, 4.0):
        result = call(f, s, v)
        _assert_every_time(result, v)
        got = tensor_like(result, (T + 1,), "corr(x_0, x_t)^2").tolist()
        want = [correlation_by_enumeration(t, v) ** 2 for t in range(T + 1)]
        compare(got, want, mistakes.share(v), f"corr^2 at t = 0..T for variance {v:g}")


def _assert_every_time(result: Any, v: float) -> None:
    """Refuses a single number, and what is not finite at t = 0, where the signal-to-noise ratio is infinite."""
    if not isinstance(result, Tensor):
        return
    if result.ndim == 0:
        raise CheckFailed("One number came. A value for every t = 0..T is asked for: the whole table, no index.")
    if result.shape == (T + 1,) and not result[0].isfinite():
        if near(result[1:].tolist(), mistakes.ratio(v)[1:]):
            raise CheckFailed("That is the signal-to-noise ratio. The share is signal / (signal + noise).")
        raise CheckFailed(
            "At t = 0 there is no noise: the signal-to-noise ratio is infinite, and inf / inf is not a number. "
            "Write the share with alpha_bar."
        )


@check("1.6 the posterior")
def posterior(f: Callable[..., Any]) -> None:
    """f(s, x0, x_t, t) must be mean and variance of q(x_{t-1} | x_t, x_0)."""
    s, t = chain(), torch.arange(1, T + 1)
    ones = torch.ones(T, 2, dtype=torch.float64)

    def run(x0: float, x_t: float) -> tuple[list[float], list[float]]:
        mean, variance = _two_tensors(call(f, s, x0 * ones, x_t * ones, t))
        return mean[:, 0].tolist(), variance[:, 0].tolist()

    if any(abs(m) > 1e-9 for m in run(0.0, 0.0)[0]):
        raise CheckFailed(
            "For x_0 = x_t = 0 the mean is 0, and yours is not. `return mean, variance`, in this order; and no noise: "
            "a mean is not a draw."
        )
    (a, variance), (b, _) = run(1.0, 0.0), run(0.0, 1.0)
    if not near(run(3.0, 0.0)[0], [3 * value for value in a]):
        raise CheckFailed("Three times x_0 does not give three times its part of the mean. Is something clamped?")
    want = [bayes_on_a_grid(i, 1.0, 0.0) for i in range(1, T + 1)]
    want_a, want_v = [m for m, _ in want], [v for _, v in want]
    want_b = [bayes_on_a_grid(i, 0.0, 1.0)[0] for i in range(1, T + 1)]
    if near(a, want_b) and near(b, want_a):
        raise CheckFailed(f"The mean: {mistakes.SWAPPED.replace('Signal and noise', 'x_0 and x_t')}")
    compare(b, want_b, posterior_mistakes.OF_X_T, "coefficient of x_t in the mean at t = 1..T")
    compare(a, want_a, posterior_mistakes.OF_X_0, "coefficient of x_0 in the mean at t = 1..T")
    compare(variance, want_v, posterior_mistakes.OF_THE_VARIANCE, "variance at t = 1..T")


def _two_tensors(result: Any) -> tuple[Tensor, Tensor]:
    """Mean and variance as float64 of shape (T, 2), after refusing what else people return."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise CheckFailed(f"Two tensors are expected, `return mean, variance`; got {type(result).__name__}.")
    mean, variance = result
    if isinstance(mean, Tensor) and mean.shape == (T, 1):
        raise CheckFailed(
            f"The mean has shape {(T, 1)}, which a variance may have. Is the order wrong? `return mean, variance`."
        )
    if isinstance(variance, Tensor):
        if variance.shape == (T,):
            raise CheckFailed(
                "The variance has shape (N,), and would meet an image's *last* axis. "
                "at(s.posterior_variance, t, x0) has shape (N, 1, ...)."
            )
        if variance.shape == (T, 1):
            variance = variance.expand(T, 2)
    _assert_finite_at_one(mean, variance)
    return tensor_like(mean, (T, 2), "mean"), tensor_like(variance, (T, 2), "variance")


def _assert_finite_at_one(*results: Any) -> None:
    """Refuses what is not finite at t = 1 alone: there 1 - alpha_bar_{t-1} is 0."""
    for result in results:
        if isinstance(result, Tensor) and result.shape == (T, 2):
            bad = ~result.isfinite().all(1)
            if bad[0] and not bad[1:].any():
                raise CheckFailed(
                    "At t = 1 your result is not finite: 1 - alpha_bar_{t-1} is 0 there, so it must not be divided by, "
                    "and its logarithm must not be taken. The form that the papers print divides by 1 - alpha_bar_t."
                )
