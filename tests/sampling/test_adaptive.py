"""Steps of the solver's own choosing: their error against the exact flow, their cost, and each sample by itself."""

import math

import pytest
import torch

from ddpm_edu import oracles, schedules
from ddpm_edu.errors import ConfigError, ScheduleError, ShapeError
from ddpm_edu.parameterization import Denoised, denoiser
from ddpm_edu.sampling import adaptive
from tests.sampling.closed_form import gaussian

COSINE, LINEAR = schedules.cosine(1000), schedules.linear(1000)
MEAN, STD = 0.3, 0.5


def noise(n, d=4):
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def run(s, n=16, tolerance=0.02, denoise=None, **options):
    """What came out, and what the callback saw."""
    seen, denoise = [], gaussian(s, MEAN, STD) if denoise is None else denoise
    x_T = options.pop("x_T", noise(n))
    out = adaptive.sample(
        denoise, s, x_T.shape, tolerance, x_T=x_T, dtype=x_T.dtype, callback=lambda d: seen.append(dict(d)), **options
    )
    return out, seen


def error(s, tolerance):
    """Root mean square distance from where the exact flow leads."""
    out, _ = run(s, tolerance=tolerance)
    ab = s.alpha_bar[-1].item()
    exact = MEAN + STD * (noise(16) - math.sqrt(ab) * MEAN) / math.sqrt(ab * STD**2 + 1 - ab)
    return (out.x - exact).square().mean().sqrt().item(), out.evaluations.double().mean().item()


def tries(seen):
    """(from, to, error, moved) of each try of the first sample, until it has arrived."""
    out, here = [], int(seen[0]["t"][0]) if not seen[0]["moved"][0] else None
    here = 1000 if here is None else here
    for d in seen:
        if here > 0:
            out.append((here, int(d["s"][0]), d["error"][0].item(), bool(d["moved"][0])))
            here = int(d["t"][0])
    return out


def test_a_tighter_tolerance_costs_more_and_is_nearer():
    """Ten times tighter: the error falls at least five times; it stays near the tolerance of a single step."""
    for s in (COSINE, LINEAR):
        errors, costs = zip(*(error(s, tolerance) for tolerance in (0.1, 0.01, 0.001)), strict=True)
        assert errors[0] > 5 * errors[1] > 25 * errors[2], s
        assert all(e < tolerance * 1.5 for e, tolerance in zip(errors, (0.1, 0.01, 0.001), strict=True)), s
        assert costs[0] < costs[1] < costs[2], s


def test_at_the_finest_it_takes_every_t():
    s, calls = schedules.cosine(50), []

    def denoise(x, t):
        calls.append(t)
        assert len(calls) < 500, "or it would go on for ever"
        return gaussian(s, MEAN, STD)(x, t)

    out, seen = run(s, n=2, tolerance=1e-12, denoise=denoise)
    assert [int(d["t"][0]) for d in seen if d["moved"][0]] == list(range(49, -1, -1))
    assert out.evaluations.min() >= 2 * 49 + 1


def test_a_try_counts_if_its_error_is_within_the_tolerance_or_it_is_a_single_t():
    for s in (COSINE, LINEAR):
        for here, there, wrong, moved in tries(run(s)[1]):
            assert moved == (wrong <= 0.02 or there == here - 1), (here, there)


def test_what_counts_is_heuns_result_and_the_error_is_eulers_distance():
    """Both written anew in z = x / sqrt(ab), sigma = sqrt((1 - ab) / ab), whose slope is eps."""
    denoise, ab = gaussian(LINEAR, MEAN, STD), LINEAR.alpha_bar.tolist()
    x, here, checked = noise(16), torch.full((16,), 1000), 0
    for d in run(LINEAR)[1]:
        for i in range(16):
            t, s_ = int(here[i]), int(d["s"][i])
            if t > 0 and s_ > 0:
                scale, sigma = [math.sqrt(ab[u]) for u in (t, s_)], [math.sqrt(1 / ab[u] - 1) for u in (t, s_)]
                slope = denoise(x[i : i + 1], torch.tensor([t])).eps[0]
                euler = x[i] / scale[0] + (sigma[1] - sigma[0]) * slope
                other = denoise((scale[1] * euler)[None], torch.tensor([s_])).eps[0]
                heun = x[i] / scale[0] + (sigma[1] - sigma[0]) * (slope + other) / 2
                apart = (scale[1] * (heun - euler)).square().mean().sqrt().item()
                assert d["error"][i].item() == pytest.approx(apart, rel=1e-6, abs=1e-12)
                expected = scale[1] * heun if d["moved"][i] else x[i]
                torch.testing.assert_close(d["x"][i], expected)
                checked += 1
        x, here = d["x"], d["t"]
    assert checked > 200


def test_evaluations_are_counted():
    """A sample alone: as many as the denoiser was called. In a batch each has its own number."""
    calls, plain = [], gaussian(COSINE, MEAN, STD)

    def denoise(x, t):
        calls.append(t)
        return plain(x, t)

    x_T = noise(6) * torch.tensor([0.1, 1, 1, 2, 3, 5], dtype=torch.float64)[:, None]
    together, _ = run(COSINE, x_T=x_T)
    alone = []
    for i in range(6):
        calls.clear()
        out, _ = run(COSINE, denoise=denoise, x_T=x_T[i : i + 1])
        assert out.evaluations.tolist() == [len(calls)]
        alone.append(len(calls))
    assert together.evaluations.tolist() == alone
    assert len(set(alone)) > 1, "they differ"


def test_an_image_does_not_depend_on_its_batch_though_its_neighbours_take_other_steps():
    mixture = oracles.Mixture(
        torch.tensor([0.5, 0.5]), torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), torch.tensor([0.1, 0.5])
    )
    x_T, d = noise(8, 2), mixture.denoiser(COSINE)
    together, seen = run(COSINE, denoise=d, x_T=x_T)
    assert any(len(step["s"].unique()) > 2 for step in seen), "different steps at once"
    for i in range(8):
        alone, _ = run(COSINE, denoise=d, x_T=x_T[i : i + 1])
        torch.testing.assert_close(together.x[i : i + 1], alone.x, rtol=0, atol=1e-12)


def test_steps_are_short_where_data_take_shape():
    """In half log SNR, short where the noise is as wide as the data (sigma = 0.5, at 0.7), and long beyond it."""
    for s in (COSINE, LINEAR):
        level = (s.log_snr / 2).tolist()
        taken = [
            (level[a], level[max(b, 1)] - level[a]) for a, b, _, moved in tries(run(s, tolerance=0.003)[1]) if moved
        ]
        middle = [length for start, length in taken if -0.5 < start < 1.5]
        late = [length for start, length in taken if start > 3]
        assert len(middle) >= 5
        assert max(middle) < 0.25 and max(late) > 3 * max(middle) and len(taken) < 50


# ---------------------------------------------------------------- where a step lands


def test_landing_by_hand():
    """Half log SNR falls by 1 with each t: 3, 2, 1, 0, -1 at t = 1..5."""
    s = schedules.from_alpha_bar([1.0, *(1 / (1 + math.exp(-2 * level)) for level in (3, 2, 1, 0, -1, -5))])
    for t, length, expected in (
        (5, 1.0, 4), (5, 0.4, 4), (5, 1.9, 4), (5, 2.001, 3), (5, 3.5, 2), (5, 4.1, 1), (5, 1e9, 1), (5, math.inf, 1),
        (6, 3.9, 5), (6, 5.1, 4), (2, 9.0, 1), (1, 0.1, 0), (1, math.inf, 0), (3, 0.0, 2),
    ):  # fmt: skip
        found = adaptive.landing(s, torch.tensor([t]), torch.tensor([length], dtype=torch.float64))
        assert found.tolist() == [expected], (t, length)
    several = adaptive.landing(s, torch.tensor([5, 5, 1]), torch.tensor([0.4, 2.001, 0.4], dtype=torch.float64))
    assert several.tolist() == [4, 3, 0]


def test_landing_is_within_the_length_at_least_one_t_on_and_at_0_from_1_alone():
    for s in (COSINE, LINEAR, schedules.zero_terminal_snr(LINEAR)):
        level = s.log_snr / 2
        t = torch.arange(1, 1001)
        for length in (0.0, 1e-3, 0.1, 0.7, 5.0, 100.0):
            s_ = adaptive.landing(s, t, torch.full((1000,), length, dtype=torch.float64))
            assert (s_ <= t - 1).all() and (s_ >= 0).all() and s_.dtype == torch.int64
            assert torch.equal(s_ == 0, t == 1)
            far = s_ < t - 1
            assert (level[s_[far]] <= level[t[far]] + length + 1e-9).all()
            more = s_ > 1
            assert (level[s_[more] - 1] > level[t[more]] + length).all(), "and one t further is beyond it"


# ---------------------------------------------------------------- all else


def test_the_callback_sees_every_try():
    x_T = noise(3)
    out, seen = run(COSINE, x_T=x_T.clone())
    assert set(seen[0]) == {"t", "s", "x", "error", "moved"}
    here, x = torch.full((3,), 1000), x_T
    for d in seen:
        assert all(d[name].shape == (3,) for name in ("t", "s", "error", "moved"))
        assert torch.equal(d["t"], torch.where(d["moved"], d["s"], here))
        stays = ~d["moved"]
        assert torch.equal(d["x"][stays], x[stays])
        here, x = d["t"], d["x"]
    assert torch.equal(x, out.x) and (here == 0).all()


def test_zero_terminal_snr():
    s = schedules.zero_terminal_snr(LINEAR)
    out, seen = run(s)
    assert (out.x - (MEAN + STD * noise(16))).square().mean().sqrt() < 0.03
    assert (seen[0]["s"] == 999).all() and all(d["error"].isfinite().all() for d in seen)


@pytest.mark.filterwarnings("ignore::ddpm_edu.errors.ScheduleWarning")
def test_a_chain_of_one_step_and_of_two():
    for T, steps in ((1, 1), (2, 3)):
        s = schedules.from_alpha_bar([1.0, *[0.5, 1e-5][-T:]])
        out, _ = run(s, n=2)
        assert out.x.isfinite().all() and out.evaluations.tolist() == [steps] * 2


def test_a_denoiser_that_fails_does_not_keep_it_waiting():
    """NaN compares with nothing, so a loop that waits for a small error would never end."""
    calls = []

    def denoise(x, t):
        calls.append(t)
        assert len(calls) < 500
        seen = gaussian(COSINE, MEAN, STD)(x, t)
        return Denoised(*(torch.where(x.new_tensor([[False], [True]]).bool(), math.nan, part) for part in seen[:2]))

    x = adaptive.sample(denoise, COSINE, (2, 3), generator=torch.Generator().manual_seed(0)).x
    assert x[1].isnan().all() and x[0].isfinite().all()


def test_dtype_seed_and_gradient():
    weight = torch.ones((), requires_grad=True)
    plain = gaussian(COSINE, MEAN, STD)

    def denoise(x, t):
        seen = plain(x, t)
        return Denoised(weight * seen.x0, seen.eps)

    draws = [torch.Generator().manual_seed(seed) for seed in (1, 1, 2)]
    a, b, c = (adaptive.sample(denoise, COSINE, (2, 3), generator=draw).x for draw in draws)
    assert torch.equal(a, b) and not torch.allclose(a, c)
    assert a.dtype == torch.float32 and not a.requires_grad
    each = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    assert adaptive.sample(plain, COSINE, (2, 3), generator=each, dtype=torch.float64).x.dtype == torch.float64


ROWS = {
    "tolerance = 0": ({"tolerance": 0.0}, ConfigError, r"tolerance must be > 0.*got 0\.0"),
    "tolerance < 0": ({"tolerance": -1}, ConfigError, "got -1"),
    "tolerance NaN": ({"tolerance": math.nan}, ConfigError, "got nan"),
    "x_T of another shape": ({"x_T": torch.zeros(2, 2)}, ShapeError, "x_T is"),
    "no samples": ({"shape": (0, 3)}, ShapeError, r"got \(0, 3\)"),
    "one generator for two": ({"generator": [torch.Generator()]}, ConfigError, "2 samples need 2"),
    "another schedule": (
        {"denoise": denoiser(lambda x, t: x, schedules.cosine(40), "eps")}, ScheduleError, "belongs",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "error", "words"), ROWS.values(), ids=ROWS)
def test_refused(changes, error, words):
    options = {"denoise": gaussian(COSINE), "shape": (2, 3), **changes}
    with pytest.raises(error, match=words):
        adaptive.sample(options.pop("denoise"), COSINE, options.pop("shape"), **options)
