"""sample() itself: generators, options, the callback, and what it refuses."""

import pytest
import torch

from ddpm_edu import parameterization, sampling, schedules
from ddpm_edu.errors import ConfigError, ScheduleError, ShapeError, TimestepError
from ddpm_edu.parameterization import Denoised
from tests.sampling.closed_form import gaussian, trajectory

S = schedules.linear_scaled(40)
DENOISE = gaussian(S, 0.3, 0.5)


def seeded(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_a_seed_decides_all():
    runs = [sampling.sample(DENOISE, S, (3, 2), generator=seeded(seed)[0]) for seed in (7, 7, 8)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.allclose(runs[0], runs[2])


def test_with_a_generator_each_an_image_does_not_depend_on_its_batch():
    for method, eta in (("ddpm", 0.0), ("ddim", 0.0), ("ddim", 0.5)):
        together = sampling.sample(DENOISE, S, (3, 1, 2, 2), method, eta=eta, generator=seeded(4, 5, 6))
        alone = sampling.sample(DENOISE, S, (1, 1, 2, 2), method, eta=eta, generator=seeded(5))
        torch.testing.assert_close(together[1:2], alone)
        assert not torch.allclose(together[0], together[1])


def test_a_generator_draws_x_T_first_and_then_each_step():
    """By hand, draw by draw: for data N(0, 1) the way back is the way forth."""
    (a, b) = seeded(3, 3)
    out = sampling.sample(gaussian(S, 0.0, 1.0), S, (1, 1), steps=2, generator=[a], dtype=torch.float64)
    x_T, z = (torch.randn(1, generator=b, dtype=torch.float64) for _ in range(2))
    ab_T, ab_s = S.alpha_bar[40], S.alpha_bar[20]
    x_s = (ab_T / ab_s).sqrt() * x_T + (1 - ab_T / ab_s).sqrt() * z
    torch.testing.assert_close(out[0], ab_s.sqrt() * x_s)


def test_ddim_without_noise_does_not_depend_on_the_steps_draws():
    x_T = torch.randn(3, 2, generator=seeded(0)[0])
    runs = [sampling.sample(DENOISE, S, (3, 2), "ddim", 7, x_T=x_T, generator=seeded(seed)[0]) for seed in (1, 2)]
    assert torch.equal(*runs)


def test_the_callback_sees_every_step():
    seen = []
    x_T = torch.ones(2, 3)
    out = sampling.sample(DENOISE, S, (2, 3), "ddim", 4, x_T=x_T, callback=seen.append)
    assert [(d["step"], d["t"], d["s"]) for d in seen] == [(0, 40, 30), (1, 30, 20), (2, 20, 10), (3, 10, 0)]
    assert torch.equal(seen[-1]["x"], out)
    assert torch.equal(seen[0]["denoised"].x0, DENOISE(x_T, torch.full((2,), 40)).x0)
    assert torch.equal(seen[1]["denoised"].x0, DENOISE(seen[0]["x"], torch.full((2,), 30)).x0)
    assert torch.equal(x_T, torch.ones(2, 3)), "the caller's x_T stays as it was"


def test_the_default_is_every_step_of_ddpm():
    _, pairs = trajectory(sampling, DENOISE, S, (1, 1), x_T=torch.zeros(1, 1))
    assert pairs == [(t, t - 1) for t in range(40, 0, -1)]


def test_the_denoiser_gets_int64_times_of_the_batch_and_no_gradient_is_kept():
    def denoise(x, t):
        assert t.dtype == torch.int64 and t.shape == (2,) and (t == t[0]).all()
        return Denoised(weight * x, x)

    weight = torch.ones((), requires_grad=True)
    assert not sampling.sample(denoise, S, (2, 2), "ddim", 3).requires_grad


def test_nothing_is_clipped():
    out = sampling.sample(gaussian(S, 30.0, 0.1), S, (5, 2), generator=seeded(0)[0])
    assert (out - 30).abs().max() < 1


def test_an_own_table_of_variances_is_used():
    runs = [
        sampling.sample(DENOISE, S, (4, 2), variance=variance, generator=seeded(0)[0])
        for variance in ("posterior", S.posterior_variance, S.posterior_variance * 1.5)
    ]
    torch.testing.assert_close(runs[0], runs[1])
    assert not torch.allclose(runs[0], runs[2])


def test_a_learned_variance_lies_between_its_bounds():
    x_T = torch.randn(4, 2, generator=seeded(1)[0])

    def run(variance, fraction=None):
        def denoise(x, t):
            return DENOISE(x, t)._replace(variance_fraction=None if fraction is None else torch.full_like(x, fraction))

        return sampling.sample(denoise, S, (4, 2), steps=5, variance=variance, x_T=x_T, generator=seeded(0)[0])

    torch.testing.assert_close(run("learned", 1.0), run("beta"))
    torch.testing.assert_close(run("learned", 0.0), run("posterior"))
    with pytest.raises(ConfigError, match="variance_fraction"):
        run("learned")


def test_zero_terminal_snr_is_no_obstacle_to_a_denoiser_that_gives_both():
    s = schedules.zero_terminal_snr(schedules.linear(1000))
    for method, options in (("ddpm", {}), ("ddim", {}), ("ddim", {"eta": 1.0})):
        assert sampling.sample(gaussian(s, 0.3, 0.5), s, (4, 2), method, 20, **options).isfinite().all()


def test_a_start_on_the_way():
    x_t = torch.randn(4, 2, generator=seeded(0)[0])
    out = sampling.sample(DENOISE, S, (4, 2), "ddim", x_T=x_t, grid=[(20, 10), (10, 0)])
    assert out.shape == (4, 2)


def call(**changes):
    options = {"denoise": DENOISE, "s": S, "shape": (2, 2), **changes}
    return sampling.sample(options.pop("denoise"), options.pop("s"), options.pop("shape"), **options)


OTHER = parameterization.denoiser(lambda x, t: x, schedules.cosine(40), "eps")
ROWS = {
    "steps > T": ({"steps": 41}, ConfigError, "steps=41 > T=40"),
    "steps = 0": ({"steps": 0}, ConfigError, "steps must be an integer >= 1, got 0"),
    "steps < 0": ({"method": "ddim", "steps": -5}, ConfigError, "got -5"),
    "a typo in the variance": ({"variance": "fixd"}, ConfigError, "variance must be one of beta.*'fixd'"),
    "a method with another spelling": ({"method": "DDIM"}, ConfigError, "called 'DDIM'.*Did you mean 'ddim'"),
    "a typo in the method": ({"method": "dddim"}, ConfigError, "Did you mean 'ddim' or 'ddpm'"),
    "no method at all": ({"method": None}, ConfigError, "no sampling method is called None; there are ddpm, ddim"),
    "eta for ddpm": ({"eta": 0.5}, ConfigError, 'eta=0.5 is an option of "ddim"'),
    "eta out of range": ({"method": "ddim", "eta": 1.5}, ConfigError, r"eta must lie in 0\.\.1.*1\.5"),
    "eta NaN": ({"method": "ddim", "eta": float("nan")}, ConfigError, "eta must lie"),
    "variance for ddim": ({"method": "ddim", "variance": "posterior"}, ConfigError, 'variance is an option of "ddpm"'),
    "steps and grid": ({"steps": 2, "grid": [(40, 0)]}, ConfigError, "steps or grid, not both"),
    "a grid that starts below T": ({"grid": [(30, 0)]}, TimestepError, "starts at 30, not at T = 40"),
    "a table for jumps": ({"steps": 20, "variance": S.beta}, ConfigError, "single steps"),
    "the number of samples forgotten": ({"shape": (2,)}, ShapeError, r"\(N, \.\.\.\)"),
    "no samples": ({"shape": (0, 2)}, ShapeError, r"got \(0, 2\)"),
    "x_T of another shape": ({"x_T": torch.zeros(2, 3)}, ShapeError, r"x_T is torch\.float32 \(2, 3\)"),
    "x_T of another dtype": ({"x_T": torch.zeros(2, 2).double()}, ShapeError, r"dtype=x_T\.dtype"),
    "samples in whole numbers": ({"dtype": torch.int64}, ConfigError, r"got dtype=torch\.int64.*to_uint8"),
    "too few generators": ({"generator": seeded(1)}, ConfigError, "2 samples need 2 different generators"),
    "one generator twice": ({"generator": seeded(1) * 2}, ConfigError, r"Usual cause: \[generator\] \* n"),
    "a denoiser of another schedule": ({"denoise": OTHER}, ScheduleError, "belongs to"),
}


@pytest.mark.parametrize(("changes", "error", "words"), ROWS.values(), ids=ROWS)
def test_refused(changes, error, words):
    with pytest.raises(error, match=words):
        call(**changes)


def test_the_result_has_the_dtype_asked_for():
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        for method in sampling.METHODS:
            assert call(method=method, dtype=dtype).dtype == dtype


def test_the_same_call_without_the_mistake_works():
    assert call().shape == call(method="ddim", eta=1.0, steps=40).shape == (2, 2)
    assert call(steps=27).isfinite().all(), "a number of steps that does not divide T"


def test_progress_shows_a_bar(capsys):
    call(steps=3, progress=True)
    assert "3/3" in capsys.readouterr().err
    call(steps=3)
    assert capsys.readouterr().err == ""
