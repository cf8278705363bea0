"""RePaint on Gaussians: every move is linear, so the law of the result is known, with its bias, and where it leads."""

import math
from itertools import pairwise

import pytest
import torch

from ddpm_edu import oracles, parameterization, schedules
from ddpm_edu.errors import ConfigError, DataError, ScheduleError, ShapeError
from ddpm_edu.parameterization import Denoised
from ddpm_edu.sampling import grids, inpainting
from tests.sampling.closed_form import gaussian

S = schedules.cosine(100)
AB = S.alpha_bar.tolist()

# Two pixels with correlation 0.8; the first is given as 1.5, so the second is N(-0.5 + 0.8 (1.5 - 0.5), 1 - 0.8^2).
MEAN = torch.tensor([0.5, -0.5], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
GIVEN, TRUE_MEAN, TRUE_STD = 1.5, 0.3, 0.6


def seeded(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def pair_of_pixels(n, **options):
    """Draws of the second pixel, float64 (n,)."""
    denoise = oracles.FullGaussian(MEAN, COVARIANCE).denoiser(S)
    known = torch.tensor([[GIVEN, math.nan]], dtype=torch.float64).repeat(n, 1)  # what is not given is not looked at
    out = inpainting.repaint(denoise, S, known, ~known.isnan(), generator=seeded(0)[0], **options)
    assert (out[:, 0] == GIVEN).all()
    return out[:, 1]


def law(moves):
    """Mean and standard deviation of the second pixel after the moves, by matrices: no sample is drawn."""
    one = torch.eye(2, dtype=torch.float64)
    mean, cov = torch.zeros(2, dtype=torch.float64), one.clone()
    for here, there in moves:
        beta = 1 - AB[max(here, there)] / AB[min(here, there)]
        if there > here:
            mean, cov = math.sqrt(1 - beta) * mean, (1 - beta) * cov + beta * one
            continue
        root, rest = math.sqrt(AB[here]), 1 - AB[here]
        filter_ = root * COVARIANCE @ torch.linalg.inv(AB[here] * COVARIANCE + rest * one)
        from_x0, from_x = math.sqrt(AB[there]) * beta / rest, math.sqrt(1 - beta) * (1 - AB[there]) / rest
        factor = from_x0 * filter_ + from_x * one
        mean = factor @ mean + from_x0 * (MEAN - root * filter_ @ MEAN)
        cov = factor @ cov @ factor.T + (beta if there else 0.0) * one
        mean[0], cov[0, 1], cov[1, 0], cov[0, 0] = math.sqrt(AB[there]) * GIVEN, 0.0, 0.0, 1 - AB[there]
    return mean[1].item(), math.sqrt(cov[1, 1].item())


# ---------------------------------------------------------------- what comes out


def test_draws_have_the_mean_and_spread_of_the_law():
    """Within 4 standard errors of 20,000 draws."""
    n, grid = 20_000, [(100, 80), (80, 60), (60, 40), (40, 20), (20, 0)]
    for resamplings, jump in ((1, 1), (3, 1), (2, 2)):
        moves = []
        for first in range(0, 5, jump):
            part = grid[first : first + jump]
            moves += part + ([(s, t) for t, s in part[::-1]] + part) * (resamplings - 1)
        mean, std = law(moves)
        draws = pair_of_pixels(n, steps=5, resamplings=resamplings, jump=jump)
        assert abs(draws.mean().item() - mean) < 4 * std / math.sqrt(n), (resamplings, jump)
        assert abs(draws.std().item() - std) < 4 * std / math.sqrt(2 * n), (resamplings, jump)


def test_replacement_alone_is_biased_and_resampling_mends_it():
    """Of the 0.8 by which the given pixel should pull the other, replacement alone misses 0.32; 10 resamplings 0.04."""
    n = 3000
    missing = {r: TRUE_MEAN - pair_of_pixels(n, steps=30, resamplings=r, jump=3).mean().item() for r in (1, 3, 10)}
    error = 4 * 0.7 / math.sqrt(n)
    assert abs(missing[1] - 0.32) < error
    assert missing[3] < missing[1] - 0.1
    assert missing[10] < missing[3] - 0.03 and abs(missing[10] - 0.04) < error
    spread = pair_of_pixels(n, steps=30, resamplings=10, jump=3).std().item()
    assert abs(spread - TRUE_STD) < 0.01 + error


def test_where_many_resamplings_lead():
    """By the law alone, with no error of sampling: near the conditional, if steps are many and jumps short."""
    grid = grids.uniform(100, 100)
    means, stds = zip(*(law(inpainting.itinerary(grid, r, 10)) for r in (1, 2, 5, 10, 50)), strict=True)
    errors = [TRUE_MEAN - mean for mean in means]
    assert errors == sorted(errors, reverse=True) and errors[0] > 0.3 and 0 < errors[-1] < 0.03
    assert [abs(std - TRUE_STD) for std in stds] == sorted((abs(std - TRUE_STD) for std in stds), reverse=True)
    assert abs(stds[-1] - TRUE_STD) < 0.02


def test_one_jump_over_everything_is_no_better_than_none():
    grid = grids.uniform(100, 10)
    once, again = (law(inpainting.itinerary(grid, r, 10))[0] for r in (1, 20))
    assert once == pytest.approx(again, abs=1e-6)
    assert law(inpainting.itinerary(grid, 20, 1))[0] > once + 0.2


def test_pixels_that_share_nothing_are_as_if_nothing_were_given():
    """With the exact reverse kernel they have the data's own mean, and its spread but for the last step's noise."""
    n, mean, std = 5000, 0.3, 0.5
    denoise = oracles.Gaussian(mean, std).denoiser(S)
    known = torch.full((n, 1, 2, 2), 2.0, dtype=torch.float64)
    mask = torch.tensor([[True, False], [False, False]]).expand(n, 1, 2, 2)
    for resamplings in (1, 3):
        out = inpainting.repaint(denoise, S, known, mask, steps=25, resamplings=resamplings, jump=5,
                                 variance="optimal", generator=seeded(1)[0])  # fmt: skip
        assert torch.equal(out[mask], known[mask])
        draws, signal = out[~mask], AB[4] * std**2
        left = std * math.sqrt(signal / (signal + 1 - AB[4]))  # of x0-hat at t = 4, where the last step begins
        assert abs(draws.mean().item() - mean) < 4 * left / math.sqrt(3 * n)
        assert abs(draws.std().item() - left) < 4 * left / math.sqrt(6 * n)


def test_the_given_part_is_as_noisy_as_its_time_says():
    """After each move back it is N(sqrt(ab_s) given, 1 - ab_s): the time that was reached, not that which was left."""
    n, seen = 10_000, []
    known, mask = torch.full((n, 2), GIVEN, dtype=torch.float64), torch.tensor([[True, False]]).expand(n, 2)
    inpainting.repaint(gaussian(S), S, known, mask, steps=5, resamplings=1, callback=seen.append,
                       generator=seeded(2)[0])  # fmt: skip
    for move in seen:
        signal, noise = math.sqrt(AB[move["s"]]), math.sqrt(1 - AB[move["s"]])
        first = move["x"][:, 0]
        assert abs(first.mean().item() - signal * GIVEN) <= 4 * noise / math.sqrt(n), move["s"]
        assert abs(first.std().item() - noise) <= 4 * noise / math.sqrt(2 * n), move["s"]


def test_what_is_given_comes_out_to_the_bit():
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        known = torch.randn(3, 1, 4, 4, generator=seeded(0)[0], dtype=torch.float64).to(dtype)
        mask = torch.rand(3, 1, 4, 4, generator=seeded(1)[0]) < 0.5
        out = inpainting.repaint(gaussian(S), S, known, mask, steps=6, resamplings=2, jump=2)
        assert out.dtype == dtype and torch.equal(out[mask], known[mask])
        assert (out[~mask] != known[~mask]).all()
    everything = torch.ones_like(mask)
    assert torch.equal(inpainting.repaint(gaussian(S), S, known, everything, steps=3), known)


# ---------------------------------------------------------------- the walk


def test_itineraries_by_hand():
    grid = [(9, 7), (7, 4), (4, 2), (2, 1), (1, 0)]
    assert inpainting.itinerary(grid, 1, 2) == grid
    assert inpainting.itinerary(grid, 2, 2) == [
        (9, 7), (7, 4), (4, 7), (7, 9), (9, 7), (7, 4),
        (4, 2), (2, 1), (1, 2), (2, 4), (4, 2), (2, 1),
        (1, 0), (0, 1), (1, 0),
    ]  # fmt: skip
    assert inpainting.itinerary(grid[-2:], 3, 1) == [
        (2, 1), (1, 2), (2, 1), (1, 2), (2, 1), (1, 0), (0, 1), (1, 0), (0, 1), (1, 0)
    ]  # fmt: skip


def test_every_itinerary_goes_from_T_to_0_without_a_gap():
    for steps in (1, 2, 7, 20, 100):
        for resamplings in (1, 2, 5):
            for jump in (1, 2, 3, 10, 1000):
                grid = grids.uniform(100, steps)
                moves = inpainting.itinerary(grid, resamplings, jump)
                assert moves[0][0] == 100 and moves[-1][1] == 0
                assert all(a[1] == b[0] for a, b in pairwise(moves))
                assert all(moves.count((t, s)) == resamplings for t, s in grid)
                assert all(moves.count((s, t)) == resamplings - 1 for t, s in grid)
                assert len(moves) == steps * (2 * resamplings - 1)


def test_the_denoiser_is_asked_at_every_move_back_and_at_none_forward():
    times, seen = [], []

    def denoise(x, t):
        times.append(t.tolist())
        return gaussian(S)(x, t)

    known, mask = torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool)
    inpainting.repaint(denoise, S, known, mask, steps=6, resamplings=4, jump=2, callback=seen.append)
    assert len(times) == 6 * 4
    assert times == [[d["t"]] * 2 for d in seen if d["s"] < d["t"]]
    assert [(d["t"], d["s"]) for d in seen] == inpainting.itinerary(grids.uniform(100, 6), 4, 2)
    assert [d["step"] for d in seen] == list(range(len(seen)))


def test_noise_from_any_time_to_any_later_one():
    """sqrt(ab_t / ab_s) of what there was, and what is missing to variance 1: read off x = 1 and noise = 1."""
    one, none = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    for s_, t in ((0, 1), (0, 100), (0, 0), (3, 3), (3, 4), (3, 60), (99, 100)):
        times = (torch.tensor([s_]), torch.tensor([t]))
        kept, added = inpainting.noised(S, one, *times, none).item(), inpainting.noised(S, none, *times, one).item()
        product = math.prod(1 - b for b in S.beta[s_ + 1 : t + 1].tolist())
        assert kept == pytest.approx(math.sqrt(product), rel=1e-9)
        assert kept**2 + added**2 == pytest.approx(1)
    mixed = inpainting.noised(S, one.expand(3, 1), torch.tensor([0, 3, 3]), torch.tensor([0, 3, 60]), none.expand(3, 1))
    assert mixed.flatten().tolist() == pytest.approx([1, 1, math.sqrt(AB[60] / AB[3])])


def test_with_a_generator_each_an_image_does_not_depend_on_its_batch():
    known = torch.randn(3, 1, 2, 2, generator=seeded(0)[0])
    mask = torch.rand(3, 1, 2, 2, generator=seeded(1)[0]) < 0.5
    options = {"steps": 5, "resamplings": 2, "jump": 2}
    together = inpainting.repaint(gaussian(S, 0.3, 0.5), S, known, mask, generator=seeded(4, 5, 6), **options)
    alone = inpainting.repaint(gaussian(S, 0.3, 0.5), S, known[1:2], mask[1:2], generator=seeded(5), **options)
    torch.testing.assert_close(together[1:2], alone)
    a, b, c = (pair_of_pixels(2, **options) for _ in range(3))
    assert torch.equal(a, b) and torch.equal(b, c), "a seed decides all"


def test_the_default_is_250_steps_ten_times_and_no_gradient():
    known, mask = torch.zeros(1, 1), torch.zeros(1, 1, dtype=torch.bool)
    for T, options, expected in ((300, {"resamplings": 1}, 250), (20, {}, 20 * 10)):
        s, weight, calls = schedules.cosine(T), torch.ones((), requires_grad=True), []

        def denoise(x, t, weight=weight, calls=calls):
            calls.append(t)
            return Denoised(weight * x, x)

        out = inpainting.repaint(denoise, s, known, mask, **options)
        assert len(calls) == expected and not out.requires_grad


# ---------------------------------------------------------------- what is refused

KNOWN, MASK = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
ROWS = {
    "one mask for the batch": ({"mask": MASK[:1]}, ShapeError, r"\(2, 3\).*got torch.bool \(1, 3\).*expand_as"),
    "a mask of numbers": ({"mask": MASK.float()}, ShapeError, r"mask must be bool.*got torch\.float32"),
    "resamplings = 0": ({"resamplings": 0}, ConfigError, "resamplings must be >= 1, got 0"),
    "jump = 0": ({"jump": 0}, ConfigError, "jump must be >= 1, got 0"),
    "steps > T": ({"steps": 101}, ConfigError, "steps=101 > T=100"),
    "a typo in the variance": ({"variance": "fixd"}, ConfigError, "fixd"),
    "too few generators": ({"generator": seeded(1)}, ConfigError, "2 samples need 2 different generators"),
    "images of whole numbers": ({"known": KNOWN.byte()}, DataError, "known is uint8"),
    "another schedule": (
        {"denoise": parameterization.denoiser(lambda x, t: x, schedules.cosine(40), "eps")}, ScheduleError, "belongs",
    ),
}  # fmt: skip


def call(**changes):
    options = {"denoise": gaussian(S), "known": KNOWN, "mask": MASK, "steps": 3, "resamplings": 2, **changes}
    return inpainting.repaint(options.pop("denoise"), S, options.pop("known"), options.pop("mask"), **options)


@pytest.mark.parametrize(("changes", "error", "words"), ROWS.values(), ids=ROWS)
def test_refused(changes, error, words):
    with pytest.raises(error, match=words):
        call(**changes)


def test_the_same_call_without_the_mistake_works(capsys):
    assert torch.equal(call(progress=True), KNOWN)
    assert "9/9" in capsys.readouterr().err
