"""Every check says "not yet" to a blank, accepts the library's answer and one written differently, and names mistakes.

More wrong answers, the published ones, are in tests/mutants.
"""

import math

import torch

from ddpm_edu import forward, schedules
from ddpm_edu.exercises import forward_noising, start_here
from ddpm_edu.forward import at
from tests.exercises import proof


def column(values, x):
    return values.reshape(-1, *[1] * (x.ndim - 1)).to(x.dtype)


def step_by_addition(s, x_prev, t, noise):
    """x plus a small change; the tables indexed and reshaped by hand."""
    keep = column((1 - s.beta[t]) ** 0.5, x_prev)
    return x_prev + (keep - 1) * x_prev + column(s.beta[t] ** 0.5, x_prev) * noise


def product_by_logs(betas):
    return torch.tensor([math.exp(sum(math.log1p(-b) for b in betas[:t].tolist())) for t in range(len(betas) + 1)])


def jump_by_steps(s, x0, t, noise):
    """Signal and variance carried along the chain, sample by sample."""
    out = []
    for x, e, last in zip(x0, noise, t.tolist(), strict=True):
        signal, variance = 1.0, 0.0
        for beta in s.beta[1 : last + 1].tolist():
            signal, variance = signal * math.sqrt(1 - beta), variance * (1 - beta) + beta
        out.append(signal * x + math.sqrt(variance) * e)
    return torch.stack(out)


def loop_with_q_step(s, x0, noises):
    for t in range(1, s.T + 1):
        x0 = forward.q_step(s, x0, torch.full((len(x0),), t), noises[t - 1])
    return x0


def loop_in_one_sum(s, x0, noises):
    """No loop over states at all: each noise with the factor that the later steps leave of it."""
    x = s.alpha_bar[-1].sqrt() * x0
    for j in range(1, s.T + 1):
        x = x + (s.beta[j] * s.alpha[j + 1 :].prod()).sqrt() * noises[j - 1]
    return x


def correlation_by_snr(s, variance):
    return 1 / (1 + 1 / (variance * s.snr))


def posterior_by_precision(s, x0, x_t, t):
    """From the two precisions; in the form with eps for the mean; the variance in full shape."""
    eps = (x_t - at(s.alpha_bar, t, x0).sqrt() * x0) / at(1 - s.alpha_bar, t, x0).sqrt()
    mean = (x_t - at(s.beta, t, x0) / at(1 - s.alpha_bar, t, x0).sqrt() * eps) / at(s.alpha, t, x0).sqrt()
    precision = 1 / (1 - s.alpha_bar[t - 1]) + s.alpha[t] / s.beta[t]
    return mean, column(1 / precision, x0).expand_as(x0)


# check: (the library's answer, one written differently, {wrong answer: words of the message})
EXERCISES = {
    start_here.two_weights: (
        lambda keep: (keep**0.5, (1 - keep) ** 0.5),
        lambda keep: (math.cos(math.acos(math.sqrt(keep))), math.sin(math.acos(math.sqrt(keep)))),
        {
            "no roots": (lambda keep: (keep, 1 - keep), "take square roots"),
            "negative": (lambda keep: (keep**0.5, -((1 - keep) ** 0.5)), "positive roots"),
            "always the same": (lambda keep: (1.0, 0.0), "the image keeps 1 of the variance."),
            "swapped": (lambda keep: ((1 - keep) ** 0.5, keep**0.5), "swapped"),
            "one number": (lambda keep: keep**0.5, "Two numbers"),
            "nothing": (lambda keep: None, "Two numbers"),
        },
    ),
    forward_noising.one_step: (
        forward.q_step,
        step_by_addition,
        {
            "swapped": (
                lambda s, x, t, e: at(s.beta, t, x).sqrt() * x + at(s.alpha, t, x).sqrt() * e,
                "each other's coefficients",
            ),
            "no roots": (lambda s, x, t, e: at(s.alpha, t, x) * x + at(s.beta, t, x) * e, "Both square roots"),
            "no column": (lambda s, x, t, e: s.alpha[t].sqrt() * x, "use at(table, t, x)"),
            "clamped": (lambda s, x, t, e: forward.q_step(s, x, t, e).clamp(-1, 1), "clamped"),
            "for images only": (
                lambda s, x, t, e: x * s.alpha[t].sqrt().reshape(-1, 1, 1, 1),
                "(N, 1, 1, 1) fits images only",
            ),
            "nothing": (lambda s, x, t, e: None, "`return`"),
            "a number": (lambda s, x, t, e: 0.5, "expected a tensor, got float"),
            "one sample lost": (lambda s, x, t, e: forward.q_step(s, x, t, e)[1:], "expected shape"),
            "own noise": (
                lambda s, x, t, e: forward.q_step(s, x, t, torch.randn_like(x)),
                "noise of your own",
            ),
            "NaN": (lambda s, x, t, e: (0 * x - 1).sqrt(), "NaN or infinite"),
        },
    ),
    forward_noising.running_product: (
        schedules.cumulative,
        product_by_logs,
        {
            "betas multiplied": (lambda b: torch.cat([b.new_ones(1), torch.cumprod(b, 0)]), "You multiply the betas"),
            "the root": (lambda b: schedules.cumulative(b).sqrt(), "sqrt(alpha_bar)"),
            "no product": (lambda b: torch.cat([b.new_ones(1), 1 - b]), "by itself"),
            "one late": (
                lambda b: torch.cat([b.new_ones(2), torch.cumprod(1 - b, 0)[:-1]]),
                "one place too late",
            ),
            "in place": (lambda b: torch.cat([b.new_ones(1), torch.cumprod(b.neg_().add_(1), 0)]), "in place"),
            "a list": (lambda b: [1.0], "expected a tensor, got list"),
        },
    ),
    forward_noising.jump: (
        forward.q_sample,
        jump_by_steps,
        {
            "one step": (forward.q_step, "single step"),
            "no roots": (
                lambda s, x, t, e: at(s.alpha_bar, t, x) * x + at(1 - s.alpha_bar, t, x) * e,
                "Both square roots",
            ),
            "off by one": (
                lambda s, x, t, e: at(s.alpha_bar, t - 1, x).sqrt() * x + at(1 - s.alpha_bar, t - 1, x).sqrt() * e,
                "no t - 1",
            ),
            "article": (
                lambda s, x, t, e: (
                    at(torch.cumprod(s.alpha_bar, 0), t, x).sqrt() * x
                    + at(1 - torch.cumprod(s.alpha_bar, 0), t, x).sqrt() * e
                ),
                "multiplied up once more",
            ),
            "times sorted": (lambda s, x, t, e: forward.q_sample(s, x, t.sort()[0], e), "must get its own"),
        },
    ),
    forward_noising.mended_loop: (
        loop_with_q_step,
        loop_in_one_sum,
        {
            "stops early": (lambda s, x, n: loop_with_q_step(s, x, torch.cat([n[:-1], 0 * n[-1:]])), "last step"),
            "starts late": (lambda s, x, n: loop_with_q_step(s, x, torch.cat([0 * n[:1], n[1:]])), "first step"),
            "no shrinking": (lambda s, x, n: x + (s.beta[1:, None, None].sqrt() * n).sum(0), "All of x_0"),
            "beta for its root": (
                lambda s, x, n: loop_with_q_step(s, x, n * s.beta[1:, None, None].sqrt()),
                "variance of the noise is not",
            ),
            "own noise": (
                lambda s, x, n: loop_with_q_step(s, x, torch.randn_like(n)),
                "noise of your own",
            ),
            "one noise for all": (lambda s, x, n: loop_with_q_step(s, x, n[:1].expand_as(n)), "Only the first noise"),
            "nothing carried over": (
                lambda s, x, n: loop_with_q_step(s, x, 0 * n) + s.beta[-1].sqrt() * n[-1],
                "last step",
            ),
            "clamped": (lambda s, x, n: loop_with_q_step(s, x, n).clamp(-1, 1), "clamped"),
            "noise in reverse": (lambda s, x, n: loop_with_q_step(s, x, n.flip(0)), "expected"),
        },
    ),
    forward_noising.signal_left: (
        forward.squared_correlation,
        correlation_by_snr,
        {
            "the correlation": (lambda s, v: forward.squared_correlation(s, v).sqrt(), "Square it"),
            "variance ignored": (lambda s, v: s.alpha_bar, "variance 1 only"),
            "no denominator": (lambda s, v: s.alpha_bar * v, "whole variance"),
            "v squared": (lambda s, v: forward.squared_correlation(s, v * v), "already a square"),
            "SNR": (
                lambda s, v: torch.cat([s.beta.new_full((1,), 1e9), s.alpha_bar[1:] * v / (1 - s.alpha_bar[1:])]),
                "expected",
            ),
        },
    ),
    forward_noising.posterior: (
        forward.q_posterior,
        posterior_by_precision,
        {
            "swapped": (lambda s, x0, x, t: forward.q_posterior(s, x, x0, t), "swap them"),
            "standard deviation": (
                lambda s, x0, x, t: (forward.q_posterior(s, x0, x, t)[0], at(s.posterior_variance, t, x0).sqrt()),
                "standard deviation",
            ),
            "clamped": (lambda s, x0, x, t: (forward.q_posterior(s, x0, x, t)[0].clamp(-1, 1), x[:, :1]), "clamped"),
            "0/0 at t = 1": (
                lambda s, x0, x, t: (forward.q_posterior(s, x0, x, t)[0] * 0 / (1 - s.alpha_bar[t - 1])[:, None], x),
                "gives at t = 0",
            ),
            "mean only": (lambda s, x0, x, t: forward.q_posterior(s, x0, x, t)[0], "Two tensors"),
            "alpha_bar_t for alpha_bar_{t-1}": (
                lambda s, x0, x, t: (
                    at(s.alpha_bar, t, x0).sqrt() * at(s.beta, t, x0) / at(1 - s.alpha_bar, t, x0) * x0
                    + forward.q_posterior(s, 0 * x0, x, t)[0],
                    at(s.posterior_variance, t, x0),
                ),
                "where sqrt(alpha_bar_{t-1}) belongs",
            ),
            "crash": (lambda s, x0, x, t: x / 0 + undefined, "stopped with NameError"),  # noqa: F821
        },
    ),
}
(
    test_a_blank_is_told_kindly_and_raises_nothing,
    test_the_librarys_answer_and_another_correct_one_pass,
    test_a_wrong_answer_is_refused_with_the_likely_mistake,
    test_every_check_is_listed_here,
) = proof.of(
    (forward_noising, start_here), {check: ((one, other), wrong) for check, (one, other, wrong) in EXERCISES.items()}
)
