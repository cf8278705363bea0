"""Checks of notebook 02: the terms of the bound, the last step on grey levels, bits, and the best width of a step.

The oracles integrate densities on a grid, or use Bayes' rule on one; none of them is a formula of the page.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ddpm_edu.exercises.frame import CheckFailed, call, check, tensor_like
from ddpm_edu.exercises.small_chain import AB, BETAS, T, bayes_on_a_grid, chain, compare

REVERSED = "That is the divergence of the second from the first. Its direction matters: KL(a || b) averages over a."
BITS = "That is in bits: divided by log 2. The terms of the bound are in nats; only bits per dimension are not."


# ---------------------------------------------------------------- oracles, by integration


def _log_normal(z: Tensor, mean: float, variance: float) -> Tensor:
    return -((z - mean) ** 2) / (2 * variance) - 0.5 * math.log(2 * math.pi * variance)


def kl_by_integration(mean_a: float, variance_a: float, mean_b: float, variance_b: float) -> float:
    """KL(a || b) of two Gaussians as the sum over a grid of a's density times the difference of the logarithms."""
    reach = 12 * math.sqrt(variance_a)
    z = torch.linspace(mean_a - reach, mean_a + reach, 20_001, dtype=torch.float64)
    log_a, log_b = _log_normal(z, mean_a, variance_a), _log_normal(z, mean_b, variance_b)
    return torch.trapezoid(log_a.exp() * (log_a - log_b), z).item()


@functools.cache
def masses_by_integration(mean: float, std: float, levels: int) -> list[float]:
    """The normal density integrated over the bin of each grey level, the outer bins reaching far out."""
    half, far = 1 / (levels - 1), 12 * std + 2
    masses = []
    for k in range(levels):
        centre = -1 + 2 * half * k
        low = min(mean, -1) - far if k == 0 else centre - half
        high = max(mean, 1) + far if k == levels - 1 else centre + half
        z = torch.linspace(low, high, 8_001, dtype=torch.float64)
        masses.append(torch.trapezoid(_log_normal(z, mean, std**2).exp(), z).item())
    return masses


def _closed(mean_a: float, a: float, mean_b: float, b: float) -> float:
    """Two Gaussians' divergence by formula: what mistakes are made of, never what is right."""
    return 0.5 * (math.log(b / a) + a / b - 1 + (mean_a - mean_b) ** 2 / b)


# ---------------------------------------------------------------- the checks


@check("2.1 how far apart two Gaussians are")
def gaussian_kl(f: Callable[..., Any]) -> None:
    """f(mean_a, variance_a, mean_b, variance_b) must be KL(a || b) in nats, element by element."""
    cases = [(0.3, 0.5, -0.4, 1.2), (0.0, 1.0, 0.0, 0.4), (1.0, 0.3, 2.0, 0.3), (-0.7, 2.0, 0.1, 0.9)]
    result = call(f, *(torch.tensor(column, dtype=torch.float64) for column in zip(*cases, strict=True)))
    if isinstance(result, Tensor) and result.ndim == 0:
        raise CheckFailed("One number came back for four pairs. The result is element by element: no sum, no mean.")
    got = tensor_like(result, (4,), "KL(a || b)").tolist()
    want = [kl_by_integration(*case) for case in cases]
    by_hand = [(math.log(b / a), a / b, (m - n) ** 2, b) for m, a, n, b in cases]
    mistakes = [
        ([2 * w for w in want], "Twice too large: the factor 1/2 in front is missing."),
        ([w / math.log(2) for w in want], BITS),
        ([_closed(n, b, m, a) for m, a, n, b in cases], REVERSED),
        ([w + 0.5 for w in want], "Too large by 1/2: the -1 in the bracket is missing. KL(a || a) must be 0."),
        ([0.5 * (-log + ratio - 1 + gap / b) for log, ratio, gap, b in by_hand], "The logarithm is upside down."),
        (
            [
                0.5 * (log + ratio - 1 + gap / a)
                for (log, ratio, gap, _), (_, a, _, _) in zip(by_hand, cases, strict=True)
            ],
            "The distance of the means is divided by the first variance. It counts in units of the second, b's.",
        ),
        (
            [0.5 * (log + ratio - 1 + math.sqrt(gap) / b) for log, ratio, gap, b in by_hand],
            "The distance of the means enters squared.",
        ),
        (
            [_closed(m, a * a, n, b * b) for m, a, n, b in cases],
            "The variances are squared, as if they were standard deviations. They are variances already.",
        ),
    ]
    compare(got, want, mistakes, "KL(a || b) of four pairs")


@check("2.2 the prior term")
def prior_term(f: Callable[..., Any]) -> None:
    """f(s, x0) must be L_T of each sample: nats, summed over dimensions."""
    s, x0 = chain(), torch.tensor([[[0.2, -0.9], [1.0, 0.4]], [[0.0, 0.0], [0.0, 0.0]], [[1.5, -1.5], [0.1, 0.7]]])
    end, rows = AB[-1], [x.flatten().tolist() for x in x0]
    result = call(f, s, x0.double())
    _refuse_wrong_sum(result, len(rows), tuple(x0.shape))
    got = tensor_like(result, (3,), "L_T").tolist()

    def summed(term: Callable[[float], float]) -> list[float]:
        return [sum(map(term, row)) for row in rows]

    want = summed(lambda x: kl_by_integration(math.sqrt(end) * x, 1 - end, 0, 1))
    mistakes = [
        ([w / 4 for w in want], "That is the average over dimensions. The term is their sum."),
        ([w / math.log(2) for w in want], BITS),
        ([2 * w for w in want], "Twice too large: the factor 1/2 is missing."),
        (summed(lambda x: _closed(0, 1, math.sqrt(end) * x, 1 - end)), REVERSED),
        (
            summed(lambda x: 0.5 * end * x * x),
            "Only the mean is counted. x_T is also a little too narrow: its variance is 1 - alpha_bar_T, not 1.",
        ),
        (
            summed(lambda x: _closed(math.sqrt(end) * x, end, 0, 1)),
            "alpha_bar_T is the variance of the signal. That of q(x_T | x_0) is 1 - alpha_bar_T.",
        ),
        (
            summed(lambda x: _closed(end * x, 1 - end, 0, 1)),
            "The mean of q(x_T | x_0) is sqrt(alpha_bar_T) x_0: the square root is missing.",
        ),
        (
            summed(lambda x: _closed(math.sqrt(AB[-2]) * x, 1 - AB[-2], 0, 1)),
            "That is the state before the last: s.alpha_bar has T + 1 entries, and the last one, [-1], belongs to T.",
        ),
    ]
    compare(got, want, mistakes, "L_T of three samples")


def _refuse_wrong_sum(result: Any, n: int, shape: tuple[int, ...]) -> None:
    """The two shapes that say what went wrong: nothing was summed, or the batch was summed as well."""
    if isinstance(result, Tensor) and result.ndim == 0:
        raise CheckFailed(f"One number came back for {n} samples. Sum over dimensions only: .flatten(1).sum(1).")
    if isinstance(result, Tensor) and tuple(result.shape) == shape:
        raise CheckFailed("One value for each dimension came back. A sample's term is their sum: .flatten(1).sum(1).")


_TIMES = (4, 2, 5, 3)  # not sorted on purpose
_CLEAN = ((0.2, -0.9), (1.0, 0.4), (-0.3, 0.8), (0.5, 0.5))
_GUESS = ((0.5, -0.6), (0.1, 0.6), (-0.3, 0.1), (0.5, 0.5))
_WIDTHS = (0.4, 0.2, 0.3, 0.25)


def _coefficient(t: int) -> float:
    """How far the posterior's mean moves when x_0 moves by 1."""
    return bayes_on_a_grid(t, 1.0, 0.0)[0]


def _each_step(term: Callable[[float, float, float, float, int], float]) -> list[float]:
    """sum over dimensions of term(gap of the means, posterior variance, model's variance, gap of x_0, t)."""
    rows = []
    for t, clean, guess, width in zip(_TIMES, _CLEAN, _GUESS, _WIDTHS, strict=True):
        own, factor = bayes_on_a_grid(t, 0.0, 0.0)[1], _coefficient(t)
        rows.append(sum(term(factor * (x - y), own, width, x - y, t) for x, y in zip(clean, guess, strict=True)))
    return rows


@check("2.3 one denoising term")
def denoising_term(f: Callable[..., Any]) -> None:
    """f(s, x0, x0_hat, t, variance) must be L_{t-1} of each sample: nats, summed over dimensions."""
    tensors = [torch.tensor(rows, dtype=torch.float64) for rows in (_CLEAN, _GUESS)]
    variance = torch.tensor(_WIDTHS, dtype=torch.float64)
    result = call(f, chain(), *tensors, torch.tensor(_TIMES), variance)
    _refuse_wrong_sum(result, len(_TIMES), (4, 2))
    got = tensor_like(result, (4,), "L_{t-1}").tolist()
    want = _each_step(lambda gap, own, width, x, t: kl_by_integration(gap, own, 0, width))
    mistakes = [
        ([w / 2 for w in want], "Half of it: an average over the two dimensions, or 1/2 counted twice. Sum them."),
        ([w / math.log(2) for w in want], BITS),
        ([2 * w for w in want], "Twice too large: the factor 1/2 is missing."),
        (_each_step(lambda gap, own, width, x, t: _closed(gap, width, 0, own)), REVERSED),
        (
            _each_step(lambda gap, own, width, x, t: _closed(x, own, 0, width)),
            "You compare the guesses of x_0 themselves. The two means differ by less: multiply by x_0's coefficient.",
        ),
        (
            _each_step(lambda gap, own, width, x, t: _closed(gap * math.sqrt(1 - BETAS[t - 1]), own, 0, width)),
            "x_0's coefficient has sqrt(alpha_bar_t) where sqrt(alpha_bar_{t-1}) belongs.",
        ),
        (
            _each_step(lambda gap, own, width, x, t: _closed(gap, BETAS[t - 1], 0, width)),
            "The first Gaussian is the posterior; its variance is s.posterior_variance[t], not beta_t.",
        ),
        (
            _each_step(lambda gap, own, width, x, t: 0.5 * gap * gap / width),
            "Only the means are compared. The widths differ too: log(S/b) + b/S - 1 is missing.",
        ),
        (
            _each_step(lambda gap, own, width, x, t: _closed(gap, own, 0, own)),
            "`variance` has no effect: the model's width S is not the posterior's b.",
        ),
    ]
    compare(got, want, mistakes, f"L_{{t-1}} of four samples at t = {', '.join(map(str, _TIMES))}")


@check("2.4 the probability of a grey level")
def grey_levels(f: Callable[..., Any]) -> None:
    """f(mean, std, levels) must be the probability of each of the levels, (levels,)."""
    for mean, std, levels in ((0.3, 0.05, 17), (0.97, 0.2, 17), (-0.2, 0.6, 2), (0.1, 0.02, 256)):
        got = tensor_like(call(f, mean, std, levels), (levels,), "the probabilities").tolist()
        want = masses_by_integration(mean, std, levels)
        compare(got, want, _wrong_bins(mean, std, levels), f"mean {mean}, std {std}, {levels} levels")


def _wrong_bins(mean: float, std: float, levels: int) -> list[tuple[list[float], str]]:
    """What the usual mistakes give: another width of the bins, closed outer bins, a density for a mass."""
    half = 1 / (levels - 1)
    centres = [-1 + 2 * half * k for k in range(levels)]

    def below(z: float) -> float:
        return 0.5 * math.erfc(-(z - mean) / (std * math.sqrt(2)))

    def bins(down: float, up: float, closed: bool = False) -> list[float]:
        low = [0.0 if k == 0 and not closed else below(c - down) for k, c in enumerate(centres)]
        high = [1.0 if k == levels - 1 and not closed else below(c + up) for k, c in enumerate(centres)]
        return [b - a for a, b in zip(low, high, strict=True)]

    density = [_log_normal(torch.tensor(c), mean, std**2).exp().item() for c in centres]
    fixed = "The half-width of a bin is that of 256 levels, 1/255. With another number of levels it is 1/(levels - 1)."
    return [
        (bins(1 / 255, 1 / 255), fixed),
        (bins(1 / 255, 1 / 255, closed=True), fixed),
        (bins(half, half, closed=True), "The outer bins are closed, so something is lost: they reach to infinity."),
        (bins(2 * half, 2 * half), "The bins overlap: 2/(levels - 1) is a whole bin, and half of it is wanted."),
        (bins(0, 2 * half), "Each bin starts at its level. It lies around it: half below, half above."),
        (bins(half / 2, half / 2), "The bins leave gaps: half a bin is 1/(levels - 1)."),
        (density, "That is the density at each level. A probability is the mass of a bin."),
        ([2 * half * d for d in density], "Density times width is only near the mass where the Gaussian is wide."),
    ]


@check("2.5 bits per dimension")
def bits_per_dim(f: Callable[..., Any]) -> None:
    """f(prior, denoising, reconstruction, dimensions) must be the total of each sample in bits per dimension."""
    prior, last = [0.25, 0.5], [3.0, 7.0]
    steps = [[0.0, 0.0, 5.0, 2.0, 1.5], [0.0, 0.0, 4.0, 6.0, 0.5]]
    tensors = [torch.tensor(values, dtype=torch.float64) for values in (prior, steps, last)]
    got = tensor_like(call(f, *tensors, 6), (2,), "bits per dimension").tolist()
    nats = [a + sum(row) + c for a, row, c in zip(prior, steps, last, strict=True)]
    scale = 6 * math.log(2)
    without = zip(nats, prior, steps, last, strict=True)
    parts = [(n - a, n - c, n - sum(row), a + sum(row) / len(row) + c) for n, a, row, c in without]
    mistakes = [
        (nats, "That is the total in nats of all dimensions: divide by the dimensions and by log 2."),
        ([n / 6 for n in nats], "That is in nats: divide by log 2 as well, the natural logarithm of 2."),
        ([n / math.log(2) for n in nats], "That is in bits, of all dimensions together: divide by their number."),
        ([n * math.log(2) / 6 for n in nats], "A bit is log 2 = 0.69 nats, so there are more bits than nats: divide."),
        ([p[0] / scale for p in parts], "The prior term is missing."),
        ([p[1] / scale for p in parts], "The reconstruction term is missing."),
        ([p[2] / scale for p in parts], "The denoising terms are missing."),
        ([p[3] / scale for p in parts], "The denoising terms are averaged over t. The bound is their sum."),
        ([-n / scale for n in nats], "The sign: the terms already add up to a cost."),
        ([math.log2(n) / 6 for n in nats], "log2 of the total? It is a logarithm already: change its base only."),
    ]
    compare(got, [n / scale for n in nats], mistakes, "bits per dimension of two samples")


@check("2.6 the best width")
def optimal_variance(f: Callable[..., Any]) -> None:
    """f(s, eps_mse) must be the best variance of each step, from the denoiser's error."""
    s = chain()
    for v in (0.25, 1.0, 4.0):
        spread = [ab * v + 1 - ab for ab in AB]
        error = [ab * v / total for ab, total in zip(AB, spread, strict=True)]  # known for a Gaussian: facts of Bayes
        result = call(f, s, torch.tensor(error, dtype=torch.float64))
        if isinstance(result, Tensor) and result.shape == (T,):
            raise CheckFailed(
                f"You return {T} values; {T + 1} are expected, entry t for the step from t, entry 0 zero."
            )
        got = tensor_like(result, (T + 1,), "the variances").tolist()
        # What x_{t-1} is given x_t alone: two Gaussian sources, precisions add. Known without any denoiser.
        want = [0.0] + [1 / (1 / spread[t - 1] + (1 - BETAS[t - 1]) / BETAS[t - 1]) for t in range(1, T + 1)]
        compare(got, want, _wrong_widths(error), f"best variance at t = 0..T for Gaussian data of variance {v:g}")


def _wrong_widths(error: list[float]) -> list[tuple[list[float], str]]:
    """Tables that the usual mistakes give; entry 0 is 0."""

    def table(step: Callable[[int, float, float, float], float]) -> list[float]:
        """step(t, posterior variance, x_0's coefficient, mean squared error of x_0)"""
        own = [bayes_on_a_grid(t, 0.0, 0.0)[1] for t in range(1, T + 1)]
        unknown = [(1 - AB[t]) / AB[t] * error[t] for t in range(1, T + 1)]
        return [0.0] + [step(t, own[t - 1], _coefficient(t), unknown[t - 1]) for t in range(1, T + 1)]

    return [
        (table(lambda t, b, c, e: b), "The error has no effect: that is the posterior's variance."),
        (
            table(lambda t, b, c, e: c * c * e),
            "Only the guess's error is there. Even with x_0 known, the posterior's variance remains: add it.",
        ),
        (
            table(lambda t, b, c, e: b + c * e),
            "The coefficient of x_0 acts on values: on a squared error it is squared.",
        ),
        (
            table(lambda t, b, c, e: b + c * c * error[t]),
            "eps_mse is the error of eps. That of x_0 is (1 - alpha_bar_t) / alpha_bar_t times as large.",
        ),
        (
            table(lambda t, b, c, e: b + c * c * error[t] * AB[t] / (1 - AB[t])),
            "From eps to x_0 the other way round: multiply by (1 - alpha_bar_t) / alpha_bar_t.",
        ),
        (
            table(lambda t, b, c, e: b + e),
            "The error of x_0 moves the mean only by x_0's coefficient: multiply by its square.",
        ),
        (
            table(lambda t, b, c, e: math.sqrt(b + c * c * e)),
            "That is the standard deviation; the variance is asked for.",
        ),
        (table(lambda t, b, c, e: BETAS[t - 1]), "That is beta_t, right for data of variance 1 only."),
    ]
