"""The samplers written out in Python numbers, formula by formula from their papers, for x0-hat given as a function.

Nothing of the package is used but its table of alpha_bar. Each function takes the levels (alpha, sigma) that a walk
visits, alpha = sqrt(ab) and sigma = sqrt(1 - ab), a number x at the first of them, and one number z a step; it returns
all the states. And :func:`read_off`: how ``sampling.sample`` maps x_T and every z, one at a time.
"""

import math
from itertools import pairwise
from unittest import mock

import torch

from ddpm_edu import sampling


def levels(s, grid):
    """(alpha, sigma) at every time of a grid of pairs."""
    ab = s.alpha_bar.tolist()
    return [(math.sqrt(ab[t]), math.sqrt(1 - ab[t])) for t in [grid[0][0], *(s_ for _, s_ in grid)]]


def gaussian_x0(mean, std):
    """E[x_0 | x_t] for N(mean, std^2), as the mean of two measurements weighted by their precision."""

    def x0_hat(x, alpha, sigma):
        return mean if std == 0 else (mean / std**2 + alpha * x / sigma**2) / (1 / std**2 + alpha**2 / sigma**2)

    return x0_hat


def lambda_of(alpha, sigma):
    """DPM-Solver's: half the log SNR."""
    return math.inf if sigma == 0 else -math.inf if alpha == 0 else math.log(alpha) - math.log(sigma)


def looking_ahead(lambdas, i, now, before):
    """D_i of DPM-Solver++, Algorithm 2: (1 + 1 / 2r) x0-hat_i - (1 / 2r) x0-hat_(i-1), r = h_(i-1) / h_i."""
    if i == 0 or math.inf in (lambdas[i + 1] - lambdas[i], lambdas[i] - lambdas[i - 1]):
        return now  # the first step, and where a lambda is infinite
    r = (lambdas[i] - lambdas[i - 1]) / (lambdas[i + 1] - lambdas[i])
    return (1 + 1 / (2 * r)) * now - 1 / (2 * r) * before


def dpmpp_2m(x0_hat, path, x, zs):
    """Lu et al. 2022 (DPM-Solver++), Algorithm 2: x_i = (s_i / s_(i-1)) x_(i-1) - a_i (e^-h_i - 1) D_i."""
    states, seen, lambdas = [x], [], [lambda_of(*level) for level in path]
    for i, ((a_t, s_t), (a_s, s_s)) in enumerate(pairwise(path)):
        seen.append(x0_hat(x, a_t, s_t))
        d = looking_ahead(lambdas, i, seen[i], seen[i - 1])
        x = s_s / s_t * x - a_s * math.expm1(lambdas[i] - lambdas[i + 1]) * d
        states.append(x)
    return states


def dpmpp_2m_sde(x0_hat, path, x, zs):
    """The same for the SDE, appendix: (s_i / s_(i-1)) e^-h x + a_i (1 - e^-2h) D + s_i sqrt(1 - e^-2h) z."""
    states, seen, lambdas = [x], [], [lambda_of(*level) for level in path]
    for i, ((a_t, s_t), (a_s, s_s)) in enumerate(pairwise(path)):
        seen.append(x0_hat(x, a_t, s_t))
        d, h = looking_ahead(lambdas, i, seen[i], seen[i - 1]), lambdas[i + 1] - lambdas[i]
        gone = -math.expm1(-2 * h)
        x = s_s / s_t * math.exp(-h) * x + a_s * gone * d + s_s * math.sqrt(gone) * zs[i]
        states.append(x)
    return states


def heun(x0_hat, path, x, zs):
    """Karras et al. 2022 (EDM), Algorithm 1 without churn, in z = x / alpha and their sigma = sigma / alpha."""
    states, (a_t, _) = [x], path[0]
    z = x / a_t
    for (a_t, s_t), (a_s, s_s) in pairwise(path):
        before, after = s_t / a_t, s_s / a_s
        slope = (z - x0_hat(a_t * z, a_t, s_t)) / before
        there = z + (after - before) * slope
        if after > 0:
            slope_there = (there - x0_hat(a_s * there, a_s, s_s)) / after
            there = z + (after - before) * (slope / 2 + slope_there / 2)
        z = there
        states.append(a_s * z)
    return states


def ddim(eta):
    """Song et al. 2021, Eqs. 12 and 16."""

    def walk(x0_hat, path, x, zs):
        states = [x]
        for i, ((a_t, s_t), (a_s, s_s)) in enumerate(pairwise(path)):
            x0 = x0_hat(x, a_t, s_t)
            eps = (x - a_t * x0) / s_t
            sigma = eta * s_s / s_t * math.sqrt(1 - a_t**2 / a_s**2)
            x = a_s * x0 + math.sqrt(max(s_s**2 - sigma**2, 0)) * eps + sigma * zs[i]
            states.append(x)
        return states

    return walk


# ---------------------------------------------------------------- the same of sample() itself


def read_off(method, s, grid, mean=0.0, std=1.0, denoise=None, **options):
    """What ``sample`` makes of x_T = 0 and x_T = 1 without noise, and of x_T = 0 with a single z = 1, at each step.

    A batch of 2 + S walks at once through ``sample`` with the noise put in by hand; a tensor (S + 1, 2 + S), states by
    walks.
    """
    from tests.sampling.closed_form import gaussian

    steps = len(grid)
    x_T = torch.zeros(2 + steps, 1, dtype=torch.float64)
    x_T[1] = 1
    noises = torch.cat([torch.zeros(2, steps), torch.eye(steps)]).double()
    drawn = iter(noises.T[:, :, None])
    states = [x_T]
    with mock.patch("ddpm_edu.sampling.loop.draw", side_effect=drawn):
        sampling.sample(
            denoise or gaussian(s, mean, std), s, x_T.shape, method, grid=grid, x_T=x_T, dtype=torch.float64,
            callback=lambda seen: states.append(seen["x"]), **options,
        )  # fmt: skip
    return torch.stack(states)[..., 0]


def moments(walks, mean=0.0, variance=1.0):
    """Mean and variance of every state, (S + 1,) each, for x_T ~ N(mean, variance) and standard normal z."""
    slope, noise = walks[:, 1] - walks[:, 0], walks[:, 2:] - walks[:, :1]
    return walks[:, 0] + slope * mean, slope**2 * variance + noise.square().sum(1)
