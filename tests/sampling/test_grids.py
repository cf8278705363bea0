"""Grids: for every T and every number of steps exactly that many pairs, chained, falling, from T to 0."""

import functools
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from ddpm_edu import sampling, schedules
from ddpm_edu.errors import ConfigError, ScheduleWarning, TimestepError
from ddpm_edu.sampling import grids
from tests.sampling.closed_form import gaussian

FROM_T = ("uniform", "trailing", "linspace", "quadratic")
BY_SNR = ("log_snr", "karras")


def zero_terminal(family):
    """``family`` with alpha_bar_T = 0, where there are two steps to do it in."""
    return lambda T: schedules.zero_terminal_snr(family(T)) if T > 1 else schedules.from_betas([1.0])


SCHEDULES = {
    "cosine": schedules.cosine,
    "sigmoid": schedules.sigmoid,
    "linear, made for T = 1000": schedules.linear,
    "linear_scaled": lambda T: schedules.linear_scaled(max(T, 20)),  # at T = 20, beta_T is 1
    "cosine, zero terminal SNR": zero_terminal(schedules.cosine),
    "linear, zero terminal SNR": zero_terminal(schedules.linear),
}


@functools.cache
def schedule(family, T):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScheduleWarning)
        return SCHEDULES[family](T)


with warnings.catch_warnings():
    warnings.simplefilter("ignore", ScheduleWarning)
    LINEAR = schedules.linear(1000)
    MIDDLE = schedules.respace(schedules.cosine(1000), range(20, 901, 2))  # without the steep ends


def times(grid):
    """The times a grid visits, 0 among them, and nothing else is to be said about it."""
    visited = [grid[0][0], *(s for _, s in grid)]
    assert [s for _, s in grid[:-1]] == [t for t, _ in grid[1:]], "chained"
    assert all(a > b for a, b in grid), "falling"
    assert visited[-1] == 0
    assert all(type(t) is int for t in visited)
    return visited


def chains(largest):
    return st.integers(1, largest).flatmap(lambda T: st.tuples(st.just(T), st.integers(1, T)))


@given(chains(4000))
@example((1000, 600))  # the published failure: 1000 // 600 = 1, and the chain starts at 599
@example((7, 5))
def check_a_grid(chain):
    T, steps = chain
    for name in FROM_T:
        grid = getattr(grids, name)(T, steps)
        assert len(grid) == steps, name
        assert times(grid)[0] == T, name
    lengths = {t - s for t, s in grids.uniform(T, steps)}
    assert max(lengths) - min(lengths) <= 1, "as equal as whole numbers allow"
    assert steps == 1 or times(grids.linspace(T, steps))[-2] == 1, "both ends are visited"
    start = times(grids.leading(T, steps))
    assert len(start) == steps + 1 and start[0] == 1 + (steps - 1) * (T // steps) and start[-2] == 1


@given(chains(1200), st.sampled_from(sorted(SCHEDULES)), st.floats(1e-3, 1e6))
@example((1000, 999), "cosine, zero terminal SNR", 7.0)
@example((1000, 50), "linear, made for T = 1000", 1e-3)  # sigma^(1 / rho) is beyond all floats
def check_a_grid_by_snr(chain, family, rho):
    T, steps = chain
    s = schedule(family, T)
    for grid in (grids.log_snr(s, steps), grids.karras(s, steps), grids.karras(s, steps, rho)):
        assert len(grid) == steps
        assert times(grid)[0] == s.T
        assert steps == 1 or grid[-1] == (1, 0)


def test_every_number_of_steps_makes_a_grid_from_T_to_0():
    check_a_grid()


def test_every_number_of_steps_makes_a_grid_by_snr():
    check_a_grid_by_snr()


def test_every_number_of_steps_of_small_chains():
    for T in range(1, 41):
        for steps in range(1, T + 1):
            check_a_grid.hypothesis.inner_test((T, steps))


def test_every_number_of_steps_by_snr_of_small_chains():
    for T in range(1, 41):
        for steps in range(1, T + 1):
            for family in ("cosine", "linear, zero terminal SNR"):
                check_a_grid_by_snr.hypothesis.inner_test((T, steps), family, 1.0)


def test_schedules_that_waste_times():
    """Log SNR that stands still or is infinite, at either end, in float64: still a grid."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScheduleWarning)
        for betas in ([0.5, 1e-17], [1e-17, 0.5], [0.5, 1e-17, 0.5], [1e-17, 1e-17], [0.999] * 200, [1.0]):
            s = schedules.from_betas(betas)
            for steps in {1, len(betas) // 2 or 1, len(betas)}:
                for name in BY_SNR:
                    assert times(getattr(grids, name)(s, steps))[0] == s.T, (betas[:3], steps, name)


def test_grids_known_by_hand():
    assert grids.uniform(1000, 4) == [(1000, 750), (750, 500), (500, 250), (250, 0)]
    assert grids.uniform(5, 2) == [(5, 3), (3, 0)]  # 2.5 rounds up
    assert grids.uniform(3, 3) == [(3, 2), (2, 1), (1, 0)]
    assert times(grids.trailing(1000, 10)) == [1000, 900, 800, 700, 600, 500, 400, 300, 200, 100, 0]
    assert times(grids.linspace(1000, 10)) == [1000, 889, 778, 667, 556, 445, 334, 223, 112, 1, 0]
    assert times(grids.leading(1000, 10)) == [901, 801, 701, 601, 501, 401, 301, 201, 101, 1, 0]
    assert times(grids.leading(1000, 600))[:2] == [600, 599]
    assert times(grids.quadratic(1000, 10)) == [1000, 810, 640, 490, 360, 250, 160, 90, 40, 10, 0]
    assert times(grids.quadratic(9, 9)) == [*range(9, -1, -1)], "1/9, 4/9, 1, 16/9 are pushed apart"
    assert times(grids.quadratic(10, 4)) == [10, 6, 3, 1, 0]  # 5.625, 2.5, 0.625


def sigma(s, t):
    return math.sqrt((1 - s.alpha_bar[t]) / s.alpha_bar[t])


def real_time(s, wanted):
    """Where log sigma has the ``wanted`` values, between whole times along a line."""
    log_sigma = [math.log(sigma(s, t)) for t in range(1, s.T + 1)]
    return np.interp(wanted, log_sigma, np.arange(1, s.T + 1))


def test_karras_sigmas_are_those_of_the_formula_at_the_nearest_times():
    for s, steps, rho in ((LINEAR, 12, 7.0), (LINEAR, 8, 3.0), (MIDDLE, 20, 7.0), (MIDDLE, 7, 2.0)):
        high, low = sigma(s, s.T) ** (1 / rho), sigma(s, 1) ** (1 / rho)
        wanted = [(high + i / (steps - 1) * (low - high)) ** rho for i in range(steps)]
        exact = real_time(s, np.log(wanted))
        assert min(-np.diff(exact)) > 1, "too far from each other to collide"
        got = times(grids.karras(s, steps, rho))[:-1]
        assert np.abs(got - exact).max() <= 0.5 + 1e-6, (s, rho)


def test_log_snr_falls_in_equal_steps_at_the_nearest_times():
    for s, steps in ((LINEAR, 9), (MIDDLE, 30)):
        exact = real_time(s, np.linspace(math.log(sigma(s, s.T)), math.log(sigma(s, 1)), steps))
        assert min(-np.diff(exact)) > 1, "too far from each other to collide"
        got = times(grids.log_snr(s, steps))[:-1]
        assert np.abs(got - exact).max() <= 0.5 + 1e-6, s


def test_collisions_are_pushed_apart_and_no_more():
    """Of 1000 times log SNR wants many near T = 1 .. 20; what was apart stays where it was."""
    s, steps = LINEAR, 100
    exact = real_time(s, np.linspace(math.log(sigma(s, s.T)), math.log(sigma(s, 1)), steps))
    rounded, got = np.floor(exact + 0.5), np.array(times(grids.log_snr(s, steps))[:-1])
    assert len(set(rounded)) < steps, "there are collisions"
    assert (got == rounded).sum() > steps / 2
    assert np.abs(got - rounded).max() <= steps - len(set(rounded))


def test_a_float_step_makes_a_grid_of_another_length_and_ours_does_not():
    """np.arange(T, 0, -T / n), as diffusers computes "trailing": for 62 n of 1000 one time too many, which is 0 - 1."""
    theirs = {n: np.round(np.arange(1000, 0, -1000 / n)).astype(int) for n in range(1, 1001)}
    wrong = [n for n, visited in theirs.items() if len(visited) != n]
    assert len(wrong) == 62 and {61, 103, 121, 122, 201, 206} <= set(wrong)
    for n, visited in theirs.items():
        ours = times(grids.trailing(1000, n))[:-1]
        assert len(ours) == n
        assert np.abs(visited[:n] - ours).max() <= (1 if n not in wrong else 2), n  # halves: theirs to the even number
    assert all(theirs[n][-1] == 0 for n in wrong)


def test_a_leading_grid_needs_a_start_of_its_own():
    s = schedule("cosine", 40)
    for steps in (1, 7, 39):
        grid = grids.leading(40, steps)
        with pytest.raises(TimestepError, match=f"starts at {grid[0][0]}, not at T = 40.*leading.*x_T"):
            sampling.sample(gaussian(s), s, (2, 2), "ddim", grid=grid)
        assert sampling.sample(gaussian(s), s, (2, 2), "ddim", grid=grid, x_T=torch.zeros(2, 2)).isfinite().all()
    assert sampling.sample(gaussian(s), s, (2, 2), "ddim", grid=grids.leading(40, 40)).isfinite().all()


@pytest.mark.parametrize(
    ("steps", "words"),
    [(1001, "steps=1001 > T=1000"), (0, ">= 1, got 0"), (-5, "got -5"), (2.5, r"got 2\.5"), (True, "got True")],
)
def test_impossible_numbers_of_steps(steps, words):
    calls = [functools.partial(getattr(grids, name), 1000) for name in (*FROM_T, "leading")]
    calls += [functools.partial(getattr(grids, name), schedule("cosine", 1000)) for name in BY_SNR]
    for call in calls:
        with pytest.raises(ConfigError, match=words):
            call(steps)


def test_any_integer_counts():
    for name in (*FROM_T, "leading"):
        assert getattr(grids, name)(1000, np.int64(7)) == getattr(grids, name)(1000, 7)
        assert times(getattr(grids, name)(1000, np.int64(7)))


@pytest.mark.parametrize("rho", [0, -1, math.nan, math.inf, "7", None])
def test_impossible_rho(rho):
    with pytest.raises(ConfigError, match=r"rho must be finite and > 0, got"):
        grids.karras(schedule("cosine", 40), 5, rho)


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ([], "at least one"),
        ("karras", "list of pairs"),
        (grids.karras, "list of pairs"),
        (torch.tensor([[1000, 0]]), "list of pairs"),
        ([1000, 500, 0], "list of pairs"),
        ([(1000, 500), (400, 0)], "gap: the step from 1000 ends at 500, the next starts at 400"),
        ([(1000, 500), (500, 1)], "ends at 1"),
        ([(901, 0)], "starts at 901, not at T = 1000"),
        ([(1000, 1000)], r"got \(1000, 1000\)"),
        ([(1001, 0)], r"0 <= s < t <= 1000"),
        ([(1000, -1)], r"got \(1000, -1\)"),
        ([(1000, 0.5), (0.5, 0)], r"integers.*got \(1000, 0\.5\)"),
    ],
)
def test_grids_that_are_none(grid, words):
    with pytest.raises(TimestepError, match=words):
        grids.check(grid, 1000, from_noise=True)


def test_a_start_below_T_needs_its_own_x():
    grids.check([(500, 0)], 1000, from_noise=False)


def test_the_default_grids():
    s, denoise = schedule("cosine", 400), gaussian(schedule("cosine", 400))
    fast = dict.fromkeys(("ddim", "dpmpp_2m", "dpmpp_2m_sde", "heun"), grids.uniform(400, 50))
    for method, want in {"ddpm": grids.uniform(400, 400), **fast}.items():
        seen = []
        sampling.sample(denoise, s, (1, 1), method, callback=lambda d, seen=seen: seen.append((d["t"], d["s"])))
        assert seen == want, method
    assert sampling.METHODS["ddim"].steps(20) == 20
