"""Schedules held to golden values, to formulas written a second time in plain Python, and to their own
definitions."""

import math
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddpm_edu import schedules
from ddpm_edu.errors import ScheduleError, ScheduleWarning

# name: (schedule, alpha_bar_T, SNR_T, first t with alpha_bar < 0.5); the first four digits are published
# (Lin et al. 2024, Table 1) for linear, cosine and Stable Diffusion.
GOLDEN = {
    "linear-1000": (lambda: schedules.linear(1000), 4.0358e-5, 4.036e-5, 260),
    "linear-400": (lambda: schedules.linear(400), 1.7473e-2, 1.7784e-2, 165),
    "linear_scaled-400": (lambda: schedules.linear_scaled(400), 3.6360e-5, 3.636e-5, 104),
    "linear-200": (lambda: schedules.linear(200), 0.1322, 0.152, 118),
    "linear-100": (lambda: schedules.linear(100), 0.3636, 0.571, 83),
    "cosine-1000": (lambda: schedules.cosine(1000), 2.4288e-9, 2.429e-9, 497),
    "cosine-400": (lambda: schedules.cosine(400), 1.5180e-8, 1.518e-8, 199),
    "stable_diffusion": (schedules.stable_diffusion, 4.6601e-3, 4.682e-3, 355),
}


def quietly(make, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScheduleWarning)
        return make(*args)


def significant(x, like):
    """x rounded to as many significant digits as the golden value was printed with."""
    digits = len(f"{like:e}".split("e")[0].rstrip("0").replace(".", ""))
    return float(f"{x:.{max(digits, 3) - 1}e}")


def check_golden(name):
    make, end, snr, half = GOLDEN[name]
    s = quietly(make)
    assert significant(s.alpha_bar[-1].item(), end) == end
    assert significant(s.snr[-1].item(), snr) == snr
    assert int((s.alpha_bar < 0.5).nonzero()[0]) == half


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_values(name):
    check_golden(name)


def test_linear_400_leaves_441_times_the_signal_of_ddpm():
    assert round((quietly(schedules.linear, 400).snr[-1] / schedules.linear(1000).snr[-1]).item()) == 441


def test_share_of_steps_with_hardly_any_signal():
    linear, cosine = [
        (make(1000).alpha_bar[1:] < 0.01).double().mean().item() for make in (schedules.linear, schedules.cosine)
    ]
    assert round(linear, 2) == 0.33 and round(cosine, 3) == 0.065


def test_ddpm_sigma_range():
    """In variance-exploding units DDPM trains on sigma from 0.0100 to 157.4."""
    sigma = schedules.linear(1000).snr[1:].rsqrt()
    assert f"{sigma[0]:.4f}" == "0.0100" and f"{sigma[-1]:.1f}" == "157.4"


@pytest.mark.parametrize("make", [*schedules.FAMILIES.values(), lambda T: schedules.stable_diffusion()])
def test_tables_have_entry_zero_for_the_clean_image(make):
    s = quietly(make, 1000)
    for table in (s.beta, s.alpha, s.alpha_bar, s.snr, s.log_snr, s.posterior_variance):
        assert table.dtype == torch.float64 and table.shape == (s.T + 1,) == (1001,)
    assert s.beta[0] == 0 and s.alpha_bar[0] == 1 and s.snr[0] == math.inf and s.posterior_variance[1] == 0
    assert (s.alpha_bar[1:] < s.alpha_bar[:-1]).all() and (s.log_snr[1:] < s.log_snr[:-1]).all()


def test_tables_have_entry_zero_for_the_clean_image_everywhere():
    for make in schedules.FAMILIES.values():
        test_tables_have_entry_zero_for_the_clean_image(make)


def test_alpha_bar_is_the_running_product_of_one_minus_beta():
    for make in (schedules.linear, schedules.cosine, schedules.sigmoid, schedules.quadratic):
        s = make(1000)
        by_hand, product = [1.0], 1.0
        for beta in s.beta[1:].tolist():
            product *= 1 - beta
            by_hand.append(product)
        torch.testing.assert_close(s.alpha_bar, torch.tensor(by_hand, dtype=torch.float64), rtol=1e-12, atol=0)


def test_linear_and_quadratic_betas_by_hand():
    s, q = schedules.linear(1000), schedules.quadratic(1000)
    for t in (1, 2, 500, 999, 1000):
        share = (t - 1) / 999
        assert math.isclose(s.beta[t], 1e-4 + share * (0.02 - 1e-4), rel_tol=1e-12)
        assert math.isclose(q.beta[t], (0.01 + share * (0.02**0.5 - 0.01)) ** 2, rel_tol=1e-12)


def test_cosine_follows_its_formula_and_only_the_last_step_is_clipped():
    s = schedules.cosine(1000)
    f = [math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(1001)]
    torch.testing.assert_close(s.alpha_bar[:-1], torch.tensor(f[:-1], dtype=torch.float64) / f[0], rtol=1e-9, atol=0)
    assert (s.beta[:-1] < 0.999).all() and s.beta[-1] == 0.999


def test_sigmoid_follows_its_formula():
    s = schedules.sigmoid(1000, -3, 3, 0.7)
    logistic = [1 / (1 + math.exp((-3 + 6 * t / 1000) / 0.7)) for t in range(1001)]
    want = [(v - logistic[-1]) / (logistic[0] - logistic[-1]) for v in logistic]
    torch.testing.assert_close(s.alpha_bar[:-1], torch.tensor(want[:-1], dtype=torch.float64), rtol=1e-9, atol=0)


def test_linear_scaled_keeps_the_end_when_T_changes():
    """The sum of betas, hence about the same alpha_bar_T, whatever T; `linear` itself never rescales."""
    reference = schedules.linear(1000)
    for T in (100, 400, 1000, 4000):
        s = schedules.linear_scaled(T)
        assert math.isclose(s.beta.sum(), reference.beta.sum(), rel_tol=1e-9)
        series = sum((s.beta**n).sum() / n for n in range(1, 6))  # -log(1 - beta) = beta + beta^2 / 2 + ...
        assert math.isclose(-s.alpha_bar[-1].log(), series, rel_tol=1e-3)
    torch.testing.assert_close(schedules.linear_scaled(1000).beta, reference.beta)
    assert quietly(schedules.linear, 400).beta[-1] == 0.02


def test_twenty_scaled_steps_end_in_exactly_nothing():
    s = schedules.linear_scaled(20)
    assert s.beta[-1] == 1 and s.alpha_bar[-1] == 0 and s.log_snr[-1] == -math.inf


def test_too_few_scaled_steps_are_refused():
    with pytest.raises(ScheduleError, match=r"T = 10 makes beta_T = 2.*needs T >= 20"):
        schedules.linear_scaled(10)


def test_respaced_chain_has_the_old_alpha_bars():
    s = schedules.linear(1000)
    steps = [1, 7, 100, 500, 1000]
    r = schedules.respace(s, steps)
    assert r.T == 5 and torch.equal(r.alpha_bar[1:], s.alpha_bar[steps])
    torch.testing.assert_close(torch.cumprod(1 - r.beta, 0)[1:], s.alpha_bar[steps], rtol=1e-10, atol=0)


def test_zero_terminal_snr():
    raw = quietly(schedules.linear, 400)
    z = schedules.zero_terminal_snr(raw)
    assert z.alpha_bar[-1] == 0 and z.beta[-1] == 1 and z.alpha_bar[0] == 1
    torch.testing.assert_close(z.beta[1], raw.beta[1], rtol=1e-9, atol=0)
    assert round(z.beta[-2].item(), 3) == 0.752
    root, moved = raw.alpha_bar.sqrt(), z.alpha_bar.sqrt()
    slope = (moved[2:] - moved[1:-1]) / (root[2:] - root[1:-1])
    torch.testing.assert_close(slope, slope[:1].expand_as(slope))  # a straight line in sqrt(alpha_bar)


@given(st.lists(st.floats(1e-6, 0.999), min_size=1, max_size=50))
def test_betas_and_alpha_bars_are_two_ways_to_say_the_same(betas):
    s = quietly(schedules.from_betas, betas)
    assert len(betas) == s.T and s.beta[1:].tolist() == betas
    if len(set(s.alpha_bar.tolist())) == s.T + 1:  # else float64 has run out of room
        again = quietly(schedules.from_alpha_bar, s.alpha_bar)
        torch.testing.assert_close(again.beta, s.beta, rtol=1e-9, atol=1e-15)


def test_schedules_keep_their_own_copy():
    betas = torch.full((1000,), 0.02, dtype=torch.float64)
    s = schedules.from_betas(betas)
    betas[0] = 0.5
    assert s.beta[1] == 0.02


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: schedules.linear(400),
            r"linear, T = 400: signal is left at T, sqrt\(alpha_bar_T\) = 0\.1322",
        ),
        (schedules.stable_diffusion, r"sqrt\(alpha_bar_T\) = 0\.0683"),
        (lambda: schedules.from_betas([0.1] * 5), r"signal is left at T"),
        (lambda: schedules.linear(1, 0.9999, 0.9999), r"one-step chain"),
    ],
)
def test_a_warning_with_the_number_points_at_the_caller(make, text):
    with pytest.warns(ScheduleWarning, match=text) as caught:
        make()
    assert all(w.filename == __file__ or "test_schedules" in w.filename for w in caught)


def test_no_warning_where_nothing_is_left():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for make in (
            schedules.linear,
            schedules.linear_scaled,
            schedules.cosine,
            schedules.sigmoid,
            schedules.quadratic,
        ):
            make(1000)
        schedules.linear_scaled(400)
        schedules.zero_terminal_snr(schedules.linear_scaled(400))
