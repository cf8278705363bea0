"""DDIM the other way: on a Gaussian every step is affine, so latents are known; and what went out comes back."""

import math
from itertools import pairwise

import pytest
import torch

from ddpm_edu import oracles, parameterization, sampling, schedules
from ddpm_edu.errors import ConfigError, DataError, ScheduleError, TimestepError
from ddpm_edu.sampling import grids, inversion
from tests.sampling.closed_form import gaussian

S = schedules.cosine(1000)
MEAN, STD = 0.3, 0.5
DENOISE = gaussian(S, MEAN, STD)
X0 = torch.tensor([[-1.0, 0.3], [0.2, 0.5], [1.3, -0.7]], dtype=torch.float64)
MIXTURE = oracles.Mixture(torch.tensor([0.3, 0.7]), torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), torch.tensor([0.3, 0.5]))


def round_trip(denoise, steps, refinements=0, x0=X0):
    x_T = inversion.invert(denoise, S, x0, steps, refinements=refinements)
    back = sampling.sample(denoise, S, x0.shape, "ddim", steps, x_T=x_T, dtype=x0.dtype)
    return (back - x0).abs().max().item()


# ---------------------------------------------------------------- there and back


def test_the_round_trip_is_of_first_order():
    """Twice the steps, half the error; and it is small enough at last to be of use."""
    errors = [round_trip(DENOISE, steps) for steps in (50, 100, 200)]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert orders == pytest.approx([1, 1], abs=0.05)
    assert errors[0] < 0.08


def test_a_refinement_raises_the_order_by_one():
    for refinements in (1, 2):
        errors = [round_trip(DENOISE, steps, refinements) for steps in (50, 100, 200)]
        orders = [math.log2(a / b) for a, b in pairwise(errors)]
        assert orders == pytest.approx([1 + refinements] * 2, abs=0.1), refinements


def test_refined_it_is_exact():
    for denoise in (DENOISE, MIXTURE.denoiser(S)):
        for steps, refinements in ((20, 20), (50, 10)):
            assert round_trip(denoise, steps, refinements) < 1e-10
            assert round_trip(denoise, steps) > 0.05
    assert round_trip(DENOISE, 50, 10, X0.float()) < 1e-5


def test_refinements_need_short_steps():
    """For data on sharp points (std 0.05) they do not help: the error of a round trip stays near 1."""
    sharp = oracles.Mixture(MIXTURE.weights, MIXTURE.means, torch.tensor([0.05, 0.05])).denoiser(S)
    assert round_trip(sharp, 20, 30) > 0.5
    assert round_trip(gaussian(S, 0.0, 2.0), 1, 30) > 1e6


# ---------------------------------------------------------------- latents in closed form


def turned(pairs, at_the_later_time):
    """The factor of x0 - mean in x_T - sqrt(ab_T) mean, step by step, with eps in x_s of time s, or in x_t of time t.

    In the first step eps is that of time 1 in x_0; then the factor is of x_0 itself, and some of the mean is left over.
    """
    ab, factor, rest = S.alpha_bar.tolist(), 1.0, 0.0
    for t, s in reversed(pairs):
        v_t = ab[t] * STD**2 + 1 - ab[t]
        both = math.sqrt(ab[s] * ab[t]) * STD**2 + math.sqrt((1 - ab[s]) * (1 - ab[t]))
        if at_the_later_time:
            factor *= v_t / both
        elif s > 0:
            step = both / (ab[s] * STD**2 + 1 - ab[s])
            factor, rest = step * factor, step * rest
        else:
            gain = math.sqrt((1 - ab[1]) * (1 - ab[t])) / (ab[1] * STD**2 + 1 - ab[1])
            factor, rest = math.sqrt(ab[t]) + gain, gain * (1 - math.sqrt(ab[1])) * MEAN
    return factor, rest


def test_latents_are_those_of_the_closed_form():
    grid = grids.uniform(1000, 25)
    for refinements in (0, 30):
        x_T = inversion.invert(DENOISE, S, X0, grid=grid, refinements=refinements)
        factor, rest = turned(grid, at_the_later_time=refinements > 0)
        expected = S.alpha_bar[-1].sqrt() * MEAN + factor * (X0 - MEAN) + rest
        torch.testing.assert_close(x_T, expected, rtol=0, atol=1e-11)


def test_latents_come_near_those_of_the_exact_flow():
    """sqrt(ab_T) mean + sqrt(v_T) / std (x_0 - mean): data of spread 0.5 become noise of spread 1."""
    v_T = (S.alpha_bar[-1] * STD**2 + 1 - S.alpha_bar[-1]).item()
    exact = S.alpha_bar[-1].sqrt() * MEAN + math.sqrt(v_T) / STD * (X0 - MEAN)
    errors = [(inversion.invert(DENOISE, S, X0, steps) - exact).abs().max().item() for steps in (50, 200, 1000)]
    assert errors[0] < 0.1 and errors[1] < errors[0] / 3.5 and errors[2] < 0.004


def test_one_step_by_hand():
    """eps = 2 in x_s = 3, from ab_s = 0.64 to ab_t = 0.36: x0 = (3 - 0.6 * 2) / 0.8 = 2.25, x_t = 0.6 x0 + 0.8 eps."""
    with pytest.warns(UserWarning, match="signal"):
        s = schedules.from_alpha_bar([1.0, 0.64, 0.36])
    x, one = torch.tensor([[3.0]], dtype=torch.float64), torch.tensor([1])
    seen = parameterization.Denoised(torch.tensor([[2.25]]).double(), torch.tensor([[2.0]]).double())
    assert inversion.step(s, x, one, one + 1, seen).item() == pytest.approx(0.6 * 2.25 + 0.8 * 2)
    # and its refinement finds the x_t from which DDIM's step with these x0 and eps, seen in x_t, leads to x_s
    x_t = inversion.refine(s, x, one, one + 1, seen).item()
    cos, sin = 0.6 * 0.8 + 0.8 * 0.6, 0.8 * 0.8 - 0.6 * 0.6
    assert cos * x_t - sin * (0.6 * 2 - 0.8 * 2.25) == pytest.approx(3)


# ---------------------------------------------------------------- the walk


def test_what_is_asked_when():
    """Unrefined at s (1 for s = 0) in x_s; each refinement at t in the last x_t."""
    asked = []

    def denoise(x, t):
        asked.append((x.clone(), t.tolist()))
        return DENOISE(x, t)

    grid = [(1000, 400), (400, 100), (100, 0)]
    x_T = inversion.invert(denoise, S, X0, grid=grid)
    assert [t for _, t in asked] == [[1] * 3, [100] * 3, [400] * 3]
    assert torch.equal(asked[0][0], X0)
    asked.clear()
    refined = inversion.invert(denoise, S, X0, grid=grid, refinements=2)
    assert [t[0] for _, t in asked] == [1, 100, 100, 100, 400, 400, 400, 1000, 1000]
    assert not torch.allclose(refined, x_T)


def test_the_callback_sees_every_step():
    seen, grid = [], [(1000, 400), (400, 100), (100, 0)]
    for refinements in (0, 3):
        seen.clear()
        x_T = inversion.invert(DENOISE, S, X0, grid=grid, refinements=refinements, callback=seen.append)
        assert [(d["step"], d["t"], d["s"]) for d in seen] == [(0, 100, 0), (1, 400, 100), (2, 1000, 400)]
        assert torch.equal(seen[-1]["x"], x_T)
        assert all(d["denoised"].x0.shape == X0.shape for d in seen)
    assert grid == [(1000, 400), (400, 100), (100, 0)], "the caller's grid stays as it was"


def test_no_gradient_and_the_dtype_of_the_data():
    weight = torch.ones((), requires_grad=True)
    x_T = inversion.invert(lambda x, t: parameterization.Denoised(x, weight * x), S, X0.float(), 3)
    assert not x_T.requires_grad and x_T.dtype == torch.float32


def test_the_default_is_50_steps_or_T():
    for s, n in ((S, 50), (schedules.cosine(20), 20)):
        seen = []
        inversion.invert(gaussian(s), s, X0, callback=seen.append)
        assert len(seen) == n


def test_a_way_that_ends_before_T():
    """SDEdit's start: only to t = 400, and back from there."""
    grid = grids.uniform(400, 40)
    x_t = inversion.invert(DENOISE, S, X0, grid=grid, refinements=20)
    back = sampling.sample(DENOISE, S, X0.shape, "ddim", grid=grid, x_T=x_t, dtype=X0.dtype)
    torch.testing.assert_close(back, X0)


def test_zero_terminal_snr():
    s = schedules.zero_terminal_snr(schedules.linear(1000))
    for refinements in (0, 5):
        assert inversion.invert(gaussian(s, MEAN, STD), s, X0, 20, refinements=refinements).isfinite().all()
    assert inversion.invert(gaussian(s, MEAN, STD), s, X0, 1).isfinite().all()
    with pytest.raises(ConfigError, match="has no inverse"):
        inversion.invert(gaussian(s, MEAN, STD), s, X0, 1, refinements=1)


ROWS = {
    "refinements < 0": ({"refinements": -1}, ConfigError, "refinements must be >= 0, got -1"),
    "steps and grid": ({"steps": 5, "grid": [(1000, 0)]}, ConfigError, "steps or grid, not both"),
    "steps = 0": ({"steps": 0}, ConfigError, "steps must be an integer >= 1, got 0"),
    "steps > T": ({"steps": 1001}, ConfigError, "steps=1001 > T=1000"),
    "a grid with a gap": ({"grid": [(1000, 500), (400, 0)]}, TimestepError, "gap"),
    "a grid in the order of the inversion": ({"grid": [(100, 0), (1000, 100)]}, TimestepError, "gap"),
    "images of whole numbers": (
        {"x0": torch.zeros(2, 2, dtype=torch.uint8)}, DataError, "x0 is uint8",
    ),
    "another schedule": (
        {"denoise": parameterization.denoiser(lambda x, t: x, schedules.cosine(40), "eps")}, ScheduleError, "belongs",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "error", "words"), ROWS.values(), ids=ROWS)
def test_refused(changes, error, words):
    options = {"denoise": DENOISE, "x0": X0, **changes}
    with pytest.raises(error, match=words):
        inversion.invert(options.pop("denoise"), S, options.pop("x0"), **options)
