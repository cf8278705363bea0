"""What holds for every method alike: generators, calls, the callback, precision, devices, options and refusals."""

import itertools
import math

import pytest
import torch

from ddpm_edu import oracles, parameterization, reverse, sampling, schedules
from ddpm_edu.errors import ConfigError, ScheduleError, ShapeError, TimestepError
from ddpm_edu.parameterization import Denoised
from ddpm_edu.sampling import grids, loop
from tests.sampling.closed_form import gaussian

S = schedules.linear_scaled(40)
KNOWN = oracles.Gaussian(0.3, 0.5)
FLOOR = KNOWN.eps_floor(S)
NO_SIGNAL = schedules.zero_terminal_snr(schedules.linear(1000))


def denoise(x, t):
    """With all that a method could ask for."""
    return gaussian(S, 0.3, 0.5)(x, t)._replace(variance_fraction=torch.full_like(x, 0.4))


WAYS = [
    *(("ddpm", {"variance": v}) for v in ("beta", "posterior", "learned", reverse.Optimal(FLOOR))),
    *(("ddim", {"eta": eta}) for eta in (0.0, 0.5, 1.0)),
    *((method, {}) for method in sampling.METHODS if method not in ("ddpm", "ddim")),
]
NOISY = [(method, options) for method, options in WAYS if method in ("ddpm", "dpmpp_2m_sde") or options.get("eta")]


def seeded(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_with_a_generator_each_an_image_does_not_depend_on_its_batch_by_any_method():
    for method, options in WAYS:
        together = sampling.sample(denoise, S, (3, 1, 2, 2), method, 9, generator=seeded(4, 5, 6), **options)
        for i, seed in enumerate((4, 5, 6)):
            alone = sampling.sample(denoise, S, (1, 1, 2, 2), method, 9, generator=seeded(seed), **options)
            torch.testing.assert_close(together[i : i + 1], alone, msg=lambda m, name=method: f"{name}: {m}")


def test_every_method_draws_alike():
    """One draw for x_T and one a step, used or not: after S steps all generators stand at the same place."""
    places = set()
    for method, options in WAYS:
        (generator,) = seeded(1)
        sampling.sample(denoise, S, (2, 3), method, 7, generator=generator, **options)
        places.add(torch.rand(1, generator=generator).item())
    assert len(places) == 1


def test_the_callback_sees_every_step_of_every_method():
    for method, options in WAYS:
        seen, grid, x_T = [], grids.linspace(40, 6), torch.ones(2, 3)
        out = sampling.sample(denoise, S, (2, 3), method, grid=grid, x_T=x_T, callback=seen.append, **options)
        assert [(d["step"], d["t"], d["s"]) for d in seen] == [(i, *pair) for i, pair in enumerate(grid)], method
        assert torch.equal(seen[-1]["x"], out), method
        for x, d in zip([x_T, *(d["x"] for d in seen)], seen, strict=False):
            assert torch.equal(d["denoised"].x0, denoise(x, torch.full((2,), d["t"])).x0), method
        assert torch.equal(x_T, torch.ones(2, 3)), "the caller's x_T stays as it was"


def asked(method, grid):
    times = []

    def note(x, t):
        times.append(int(t[0]))
        return denoise(x, t)

    sampling.sample(note, S, (2, 3), method, grid=grid)
    return times


def test_the_denoiser_is_asked_at_t_and_by_heun_at_s_too():
    """Once a step; twice by Heun, but for the last: no network knows t = 0."""
    for grid in (grids.uniform(40, 5), grids.linspace(40, 8), grids.uniform(40, 1)):
        for method in sampling.METHODS:
            if method != "heun":
                assert asked(method, grid) == [t for t, _ in grid], method
        twice = [time for pair in grid for time in pair]
        assert asked("heun", grid) == twice[:-1]


def test_no_method_reads_a_value_from_the_device():
    """On "meta" there are no values: whoever asks for one, and so would wait for a GPU, gets an error."""

    def nothing(x, t):
        assert x.device.type == t.device.type == "meta" and t.dtype == torch.int64
        return Denoised(x / 2, x / 3, torch.empty_like(x))

    for (method, options), dtype in itertools.product(WAYS, (torch.float32, torch.bfloat16)):
        for generator in (None, seeded(1)[0], seeded(1, 2)):
            out = sampling.sample(
                nothing, S, (2, 1, 2, 2), method, 5, generator=generator, device="meta", dtype=dtype, **options
            )
            assert out.device.type == "meta" and out.shape == (2, 1, 2, 2) and out.dtype == dtype, method


def test_the_last_step_of_every_method_adds_no_noise():
    """From the same x, other noise: the same x_0."""
    for (method, options), t in itertools.product([*WAYS, ("ddpm", {"variance": S.beta})], (1, 25)):
        if t > 1 and isinstance(options.get("variance"), torch.Tensor):
            continue  # a table is for single steps
        x_t, grid = torch.randn(4, 2, generator=seeded(0)[0]), [(t, 0)]
        out = [
            sampling.sample(denoise, S, (4, 2), method, grid=grid, x_T=x_t, generator=generator, **options)
            for generator in seeded(1, 2)
        ]
        assert torch.equal(*out), method
        torch.testing.assert_close(out[0], denoise(x_t, torch.full((4,), t)).x0, msg=method)


def test_half_precision_gets_the_right_noise():
    """Data and x at 0: a step lands on sigma z, sigma as small as 0.007. In bf16 1 - alpha_bar is 0 until t = 10."""
    s, n = schedules.linear(1000), 4000
    point = gaussian(s, 0.0, 0.0)

    def with_fraction(x, t):
        return point(x, t)._replace(variance_fraction=torch.full_like(x, 0.5))

    ways = [("ddpm", {"variance": v}) for v in ("beta", "posterior", "learned")]
    ways += [("ddim", {"eta": 1.0}), ("dpmpp_2m_sde", {})]
    for (method, options), (t, s_) in itertools.product(ways, ((2, 1), (8, 7), (12, 3), (1000, 999))):
        ab_t, ab_s = s.alpha_bar[t].item(), s.alpha_bar[s_].item()
        large = 1 - ab_t / ab_s
        small = large * (1 - ab_s) / (1 - ab_t)
        sigma = {"beta": math.sqrt(large), "learned": (large * small) ** 0.25}.get(
            options.get("variance"), math.sqrt(small)
        )
        for dtype in (torch.bfloat16, torch.float16, torch.float32):
            seen = []
            sampling.sample(
                with_fraction, s, (n, 1), method, grid=[(t, s_), (s_, 0)], x_T=torch.zeros(n, 1, dtype=dtype),
                dtype=dtype, generator=seeded(3)[0], callback=seen.append, **options,
            )  # fmt: skip
            assert abs(seen[0]["x"].float().std().item() / sigma - 1) < 0.04, (method, options, t, dtype)


def test_half_precision_ends_near_the_exact_result():
    s = schedules.linear(1000)
    x_T = torch.randn(50, 2, generator=seeded(0)[0]).bfloat16()
    for method in ("ddim", "dpmpp_2m", "heun"):
        exact, half = (
            sampling.sample(gaussian(s, 0.3, 0.5), s, (50, 2), method, 20, x_T=x_T.to(dtype), dtype=dtype).double()
            for dtype in (torch.float64, torch.bfloat16)
        )
        assert (exact - half).abs().max() < 0.03, method


def test_a_denoiser_of_another_schedule_is_refused_by_every_method():
    other = schedules.cosine(40)
    for method in sampling.METHODS:
        for wrong in (KNOWN.denoiser(other), parameterization.denoiser(lambda x, t: x, other, "eps")):
            with pytest.raises(ScheduleError, match="belongs to"):
                sampling.sample(wrong, S, (2, 2), method)
        sampling.sample(KNOWN.denoiser(schedules.linear_scaled(40)), S, (2, 2), method, 3)


def test_zero_terminal_snr_by_every_method():
    """Finite with any number of steps, and with 50 the data's mean and spread, to sampling error."""
    for method in sampling.METHODS:
        for s, counts in ((NO_SIGNAL, (1, 2, 3)), (schedules.from_betas([0.3, 1.0]), (1, 2))):
            for n in counts:
                assert sampling.sample(KNOWN.denoiser(s), s, (4, 2), method, n).isfinite().all(), (method, n)
        known = KNOWN.denoiser(NO_SIGNAL)
        x = sampling.sample(known, NO_SIGNAL, (4000, 1), method, 50, generator=seeded(0)[0])
        assert abs(x.mean().item() - 0.3) < 0.04 and abs(x.std().item() - 0.5) < 0.08, method


# ---------------------------------------------------------------- options: finite, or refused

ETAS = (0.0, 0.4, 1.0, -0.1, 1.1, math.nan, math.inf, "1", None)
VARIANCES = {
    **{name: name for name in (*reverse.VARIANCES, "fixd", "fixed_small", "")},
    "none": None,
    "a number": 0.5,
    "a table": S.posterior_variance,
    "a table of logarithms": S.beta.log(),
    "a table of NaN": S.beta * math.nan,
    "an error": reverse.Optimal(FLOOR),
    "an error below 0": reverse.Optimal(-1e3 * FLOOR),
    "an error that is NaN": reverse.Optimal(math.nan * FLOOR),
}
FINE = {("ddim", eta, "beta") for eta in (0.0, 0.4, 1.0)}
FINE |= {(method, 0.0, "beta") for method in sampling.METHODS}
FINE |= {("ddpm", 0.0, v) for v in ("posterior", "optimal", "learned", "a table", "an error")}


def test_every_option_runs_or_is_refused():
    """Nothing in between: no NaN, no foreign exception, no option that is not looked at."""
    known = KNOWN.denoiser(S)

    def with_both(x, t):
        return known(x, t)._replace(variance_fraction=torch.full_like(x, 0.5))

    with_both.eps_mse = FLOOR
    for method, variance, eta, steps in itertools.product(sampling.METHODS, VARIANCES, ETAS, (40, 3)):
        fine = (method, eta, variance) in FINE and not (variance == "a table" and steps < 40)
        try:
            out = sampling.sample(with_both, S, (3, 2), method, steps, eta, variance=VARIANCES[variance])
            found = "finite" if out.isfinite().all() else "not finite"
        except ConfigError:
            found = "refused"
        assert found == ("finite" if fine else "refused"), (method, variance, eta, steps)


def test_the_optimal_variance_is_refused_where_eps_says_nothing():
    known = KNOWN.denoiser(NO_SIGNAL)
    with pytest.raises(ConfigError, match="alpha_bar_T is 0"):
        sampling.sample(known, NO_SIGNAL, (3, 2), steps=5, variance="optimal")
    assert sampling.sample(known, NO_SIGNAL, (3, 2), steps=1, variance="optimal").isfinite().all(), "0 is drawn"


@pytest.mark.parametrize("method", sampling.METHODS)
@pytest.mark.parametrize(
    ("steps", "words"), [(41, "steps=41 > T=40"), (0, "got 0"), (-5, "got -5"), (2.5, r"got 2\.5")]
)
def test_numbers_of_steps_that_no_chain_has(method, steps, words):
    with pytest.raises(ConfigError, match=words):
        sampling.sample(denoise, S, (2, 2), method, steps)


@pytest.mark.parametrize("method", sampling.METHODS)
def test_any_number_of_steps_starts_at_T_and_ends_clean(method):
    for steps in (1, 2, 3, 27, 39, 40):
        seen = []
        out = sampling.sample(denoise, S, (2, 2), method, steps, callback=seen.append)
        assert out.isfinite().all() and len(seen) == steps
        assert seen[0]["t"] == 40 and seen[-1]["s"] == 0


@pytest.mark.parametrize("method", sampling.METHODS)
def test_bad_input_to_any_method(method):
    def one_for_all(x, t):
        return Denoised(x[:1] / 2, x[:1] / 2)

    for call, error, words in (
        (lambda: sampling.sample(one_for_all, S, (3, 2), method, 4), ShapeError, "nothing is broadcast"),
        (lambda: sampling.sample(denoise, S, (3, 2), method, grid=[(30, 0)]), TimestepError, "starts at 30"),
        (lambda: sampling.sample(denoise, S, (3, 2), method, grid=grids.uniform), TimestepError, "list of pairs"),
        (lambda: sampling.sample(denoise, S, (3, 2), method, generator=seeded(1)), ConfigError, "3 different"),
        (lambda: sampling.sample(denoise, S, (3, 2), method.upper()), ConfigError, f"Did you mean '{method}'"),
        (lambda: sampling.sample(denoise, S, (3,), method), ShapeError, "number of samples"),
    ):
        with pytest.raises(error, match=words):
            call()


def test_a_second_answer_of_another_shape_is_refused():
    """Heun's second call is looked at as the first is."""

    answers = []

    def shrinking(x, t):
        answers.append(denoise(x, t) if len(answers) != 1 else Denoised(x[:1], x[:1]))
        return answers[-1]

    with pytest.raises(ShapeError, match=r"x0 \(1, 2\).*x \(3, 2\)"):
        sampling.sample(shrinking, S, (3, 2), "heun", 3)
    assert len(answers) == 2
    assert loop.ask(denoise, torch.zeros(3, 2), torch.full((3,), 40)).x0.shape == (3, 2)
