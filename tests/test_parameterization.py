"""Noise, clean data, velocity, score: one fact in four units. Held to identities and to numbers worked out in NumPy."""

import itertools

import numpy as np
import pytest
import torch

from ddpm_edu import parameterization as P
from ddpm_edu import schedules
from ddpm_edu.errors import ConfigError, ScheduleError, ShapeError, TimestepError

S = schedules.linear(1000)
T1000 = torch.arange(1, 1001)
ZERO_SNR = schedules.zero_terminal_snr(schedules.linear_scaled(200))
NAMES = ("eps", "x0", "v", "score")


def triple(s=S, dtype=torch.float64):
    """x_0, eps and x_t at every t of the schedule, x_t by NumPy."""
    g = torch.Generator().manual_seed(0)
    x0, eps = (torch.randn(s.T, 2, 3, generator=g, dtype=torch.float64) for _ in range(2))
    ab = s.alpha_bar[1:].numpy()[:, None, None]
    x_t = torch.from_numpy(np.sqrt(ab) * x0.numpy() + np.sqrt(1 - ab) * eps.numpy())
    return x0.to(dtype), eps.to(dtype), x_t.to(dtype), torch.arange(1, s.T + 1)


def outputs(s=S):
    """What a perfect network of each kind would say, by NumPy."""
    x0, eps, _, _ = triple(s)
    ab = s.alpha_bar[1:, None, None]
    return {"eps": eps, "x0": x0, "v": ab**0.5 * eps - (1 - ab) ** 0.5 * x0, "score": -eps / (1 - ab) ** 0.5}


# ---------------------------------------------------------------- conversions


def test_every_meaning_gives_back_x0_and_eps_at_every_t():
    x0, eps, x_t, t = triple()
    for name, output in outputs().items():
        got = P.by_name(name).denoised(S, x_t, t, output)
        # eps says less and less about x_0: its rounding is divided by sqrt(alpha_bar), 157 at the end
        torch.testing.assert_close(got.x0, x0, atol=1e-12, rtol=1e-12, msg=name)
        # and x_0 about eps at the start: divided by sqrt(1 - alpha_bar), 100 at t = 1
        torch.testing.assert_close(got.eps, eps, atol=1e-12, rtol=1e-12, msg=name)


def test_targets_are_what_a_perfect_network_says():
    x0, eps, _, t = triple()
    for name, output in outputs().items():
        torch.testing.assert_close(P.by_name(name).target(S, x0, t, eps), output, atol=1e-12, rtol=1e-12, msg=name)


def test_round_trips_of_all_pairs():
    """From any meaning to any other and back, for predictions that are wrong: no truth needed."""
    x_t, t = triple()[2:]
    g = torch.Generator().manual_seed(3)
    for first, second in itertools.product(NAMES, NAMES):
        guess = torch.randn(x_t.shape, generator=g, dtype=torch.float64)
        there = P.by_name(first).denoised(S, x_t, t, guess)
        other = P.by_name(second).target(S, there.x0, t, there.eps)
        back = P.by_name(second).denoised(S, x_t, t, other)
        scale = guess.abs().max() * 200  # of x_0 read from eps at T
        assert (back.x0 - there.x0).abs().max() < 1e-12 * scale, (first, second)
        assert (P.by_name(first).target(S, back.x0, t, back.eps) - guess).abs().max() < 1e-12 * scale, (first, second)


def test_identities_of_v():
    """x_t = sqrt(ab) x0 + sqrt(1 - ab) eps and v are one rotation: lengths are kept; golden v_T = -x0 at zero SNR."""
    x0, eps, x_t, t = triple()
    v = P.v_from(S, x0, t, eps)
    torch.testing.assert_close(v**2 + x_t**2, x0**2 + eps**2, atol=1e-12, rtol=1e-12)
    angle = torch.atan2((1 - S.alpha_bar[1:]).sqrt(), S.alpha_bar[1:].sqrt())[:, None, None]
    torch.testing.assert_close(P.x0_from_v(S, x_t, t, v), angle.cos() * x_t - angle.sin() * v, atol=1e-12, rtol=0)
    torch.testing.assert_close(P.eps_from_v(S, x_t, t, v), angle.sin() * x_t + angle.cos() * v, atol=1e-12, rtol=0)
    x0, eps, _, t = triple(ZERO_SNR)
    torch.testing.assert_close(P.v_from(ZERO_SNR, x0, t, eps)[-1], -x0[-1], atol=1e-15, rtol=0)


def test_errors_are_one_error_in_three_units():
    """|d eps|^2 = SNR |d x0|^2 and |d v|^2 = (1 + SNR) |d x0|^2, at every t."""
    x0, eps, x_t, t = triple()
    wrong = x0 + 0.1 * torch.randn(x0.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wrong_eps = P.eps_from_x0(S, x_t, t, wrong)
    square = [
        (a - b).square().sum((1, 2))
        for a, b in ((x0, wrong), (eps, wrong_eps), (P.v_from(S, x0, t, eps), P.v_from(S, wrong, t, wrong_eps)))
    ]
    snr = S.alpha_bar[1:] / (1 - S.alpha_bar[1:])
    torch.testing.assert_close(square[1], snr * square[0], rtol=1e-7, atol=1e-15)
    torch.testing.assert_close(square[2], (1 + snr) * square[0], rtol=1e-7, atol=1e-15)


def test_the_score_of_noise_alone():
    """q(x_t | x_0) is Gaussian: its score, by autograd, is that of the eps in x_t."""
    x0, eps, x_t, t = triple()
    ab = S.alpha_bar[1:, None, None]
    x = x_t.clone().requires_grad_()
    log = torch.distributions.Normal(ab.sqrt() * x0, (1 - ab).sqrt()).log_prob(x).sum()
    (score,) = torch.autograd.grad(log, x)
    torch.testing.assert_close(P.score_from_eps(S, t, eps), score, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(P.eps_from_score(S, t, score), eps, atol=1e-10, rtol=1e-10)


def test_at_zero_snr_eps_says_nothing_about_x0():
    x0, eps, x_t, t = triple(ZERO_SNR)
    for name in ("eps", "score"):
        with pytest.raises(TimestepError, match=r"t = 200, where alpha_bar is 0"):
            P.by_name(name).denoised(ZERO_SNR, x_t, t, outputs(ZERO_SNR)[name])
        P.by_name(name).denoised(ZERO_SNR, x_t[:-1], t[:-1], outputs(ZERO_SNR)[name][:-1])
    for name in ("v", "x0"):
        got = P.by_name(name).denoised(ZERO_SNR, x_t, t, outputs(ZERO_SNR)[name])
        torch.testing.assert_close(got.x0, x0, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(got.eps, eps, atol=1e-12, rtol=1e-12)


def test_half_precision_is_kept_and_right():
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x0, eps, x_t, t = triple(dtype=dtype)
        keep = t <= 300  # later, x_0 read from a rounded eps is not known well in any arithmetic
        for name, output in outputs().items():
            x, k, o = x_t[keep], t[keep], output.to(dtype)[keep]
            got = P.by_name(name).denoised(S, x, k, o)
            assert got.x0.dtype == got.eps.dtype == dtype
            assert P.by_name(name).target(S, x0, t, eps).dtype == dtype
            want = P.by_name(name).denoised(S, x.double(), k, o.double())  # the same rounded input
            unit = torch.finfo(dtype).eps  # a score goes by way of eps, rounded once more
            atol = 8 * unit if name == "score" else 1e-5
            torch.testing.assert_close(got.x0.double(), want.x0, atol=atol, rtol=4 * unit, msg=f"{name} {dtype}")


def test_the_first_steps_in_bfloat16():
    """1 - alpha_bar_1 = 1e-4 is no bfloat16 beside 1: worked out there, eps would be divided by 0."""
    x0 = torch.zeros(5, 1, dtype=torch.bfloat16)
    t = torch.arange(1, 6)
    x_t = torch.full((5, 1), 0.01, dtype=torch.bfloat16)
    want = 0.01 / (1 - S.alpha_bar[1:6]).sqrt()
    torch.testing.assert_close(P.eps_from_x0(S, x_t, t, x0)[:, 0].double(), want, rtol=0.01, atol=0)


# ---------------------------------------------------------------- from network to denoiser


def perfect(name, s=S):
    """A network that knows the answers, by position in the batch."""
    return lambda x_t, t, **condition: outputs(s)[name][: len(x_t)]


def test_a_denoiser_of_each_kind():
    x0, eps, x_t, t = triple()
    for name in NAMES:
        denoise = P.denoiser(perfect(name), S, name)
        got = denoise(x_t, t)
        torch.testing.assert_close(got.x0, x0, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(got.eps, eps, atol=1e-12, rtol=1e-12)
        assert denoise.schedule is S and got.variance_fraction is None


def test_clipping_derives_eps_anew():
    """After clipping x_0, x_t must still be the sum of the two: else DDIM walks to a place that never was."""
    _, eps, x_t, t = triple()
    for name in NAMES:
        got = P.denoiser(perfect(name), S, name, clip=P.static_clip)(x_t, t)
        assert got.x0.abs().max() == 1
        ab = S.alpha_bar[1:, None, None]
        torch.testing.assert_close(ab.sqrt() * got.x0 + (1 - ab).sqrt() * got.eps, x_t, atol=1e-12, rtol=1e-12)
        assert (got.eps - eps).abs().max() > 0.1  # something was clipped


def test_clipping_keeps_the_variance_fraction_and_what_is_inside():
    x0, _, x_t, t = triple()
    both = P.Denoised(x0 / 10, P.eps_from_x0(S, x_t, t, x0 / 10), torch.full_like(x0, 0.3))
    got = P.clipped(S, x_t, t, both, P.static_clip)
    assert torch.equal(got.x0, both.x0) and torch.equal(got.eps, both.eps)
    assert got.variance_fraction is both.variance_fraction


def test_the_network_sees_its_own_numbering_and_its_condition():
    seen = []

    def net(x, t, labels=None, scale=1.0):
        seen.append((t.tolist(), labels, scale))
        return x

    x, t, labels = torch.zeros(3, 2), torch.tensor([1, 7, 1000]), torch.tensor([4, 5, 6])
    P.denoiser(net, S, "eps")(x, t)
    P.denoiser(net, S, "eps", first_t=0, labels=labels, scale=2.0)(x, t)
    assert seen == [([1, 7, 1000], None, 1.0), ([0, 6, 999], labels, 2.0)]
    assert t.tolist() == [1, 7, 1000]


def test_the_conversion_keeps_the_papers_t_whatever_the_network_counts_from():
    x0, _, x_t, t = triple()
    torch.testing.assert_close(P.denoiser(perfect("eps"), S, "eps", first_t=0)(x_t, t).x0, x0, atol=1e-12, rtol=1e-12)


def test_a_network_with_twice_the_channels_is_refused():
    x = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ShapeError, match="learned variance"):
        P.denoiser(lambda x, t: torch.cat([x, x], 1), S, "eps")(x, torch.tensor([1, 2]))


def test_names():
    assert [P.by_name(n).name for n in NAMES] == list(NAMES) == [p.name for p in (P.EPS, P.X0, P.V, P.SCORE)]
    with pytest.raises(ConfigError, match="v_prediction"):
        P.by_name("v_prediction")


def test_a_denoiser_belongs_to_its_schedule():
    denoise = P.denoiser(perfect("eps"), S, "eps")
    P.check_schedule(denoise, S)
    P.check_schedule(denoise, schedules.linear(1000))  # the same numbers, made anew
    P.check_schedule(lambda x, t: None, S)  # a plain callable belongs to nobody
    for other in (schedules.cosine(1000), schedules.linear_scaled(400)):
        with pytest.raises(ScheduleError, match="belongs to"):
            P.check_schedule(denoise, other)
