"""Guidance by a classifier: with the exact posterior of a mixture it is exactly the conditional model, by Bayes."""

import math

import pytest
import torch

from ddpm_edu import oracles, parameterization, sampling, schedules
from ddpm_edu.errors import ConfigError, GuidanceWarning, ScheduleError, ShapeError, TimestepError
from ddpm_edu.sampling import guidance
from tests.sampling.closed_form import gaussian

S = schedules.cosine(100)
WEIGHTS, MEANS, STDS = (0.3, 0.7), ((-1.0, 0.0), (1.0, 0.5)), (0.3, 0.5)
MIXTURE = oracles.Mixture(*(torch.tensor(part, dtype=torch.float64) for part in (WEIGHTS, MEANS, STDS)))
PLAIN = MIXTURE.denoiser(S)
EVERY_T = torch.arange(1, 101)


def conditional(k):
    """The best denoiser of class k alone, from the other closed form."""
    return gaussian(S, torch.tensor(MEANS[k], dtype=torch.float64), STDS[k])


def of_class(k):
    return lambda x, t: MIXTURE.class_posterior(S, x, t)[:, k].log()


def points(n, seed=0):
    return 1.5 * torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_with_the_exact_posterior_it_is_the_conditional_model():
    """At every t and 5 points of each, for both classes."""
    for k in (0, 1):
        guided = guidance.by_classifier(PLAIN, S, of_class(k))
        for seed in range(5):
            x = points(100, seed)
            seen, exact = guided(x, EVERY_T), conditional(k)(x, EVERY_T)
            torch.testing.assert_close(seen.eps, exact.eps, rtol=0, atol=1e-10)
            # x0 is eps times sqrt((1 - ab) / ab), up to 20,000 here, so its error is measured on that scale
            scale = ((1 - S.alpha_bar) / S.alpha_bar).sqrt()[1:, None].clamp(min=1)
            torch.testing.assert_close(seen.x0 / scale, exact.x0 / scale, rtol=0, atol=1e-10)


def test_unguided_it_is_the_plain_model():
    x = points(100)
    seen, plain = guidance.by_classifier(PLAIN, S, of_class(0), 0.0)(x, EVERY_T), PLAIN(x, EVERY_T)
    assert torch.equal(seen.eps, plain.eps)
    torch.testing.assert_close(seen.x0, plain.x0, rtol=1e-8, atol=1e-8)


def test_by_hand():
    """log p = 2 x + 3 y has the gradient (2, 3) everywhere: eps falls by scale sqrt(1 - ab) (2, 3)."""
    x, t = points(3), torch.tensor([1, 50, 90])
    seen = guidance.by_classifier(PLAIN, S, lambda x, t: 2 * x[:, 0] + 3 * x[:, 1], 1.5)(x, t)
    for i, (time, before) in enumerate(zip(t.tolist(), PLAIN(x, t).eps, strict=True)):
        root = math.sqrt(1 - S.alpha_bar[time].item())
        torch.testing.assert_close(seen.eps[i], before - 1.5 * root * torch.tensor([2.0, 3.0], dtype=torch.float64))
    ab = S.alpha_bar[t][:, None]
    torch.testing.assert_close(ab.sqrt() * seen.x0 + (1 - ab).sqrt() * seen.eps, x)


def test_every_sample_is_pushed_by_its_own_gradient():
    x, t = points(4), torch.tensor([10, 30, 50, 70])
    guided = guidance.by_classifier(PLAIN, S, of_class(1), 3.0)
    together = guided(x, t)
    for i in range(4):
        torch.testing.assert_close(together.eps[i], guided(x[i : i + 1], t[i : i + 1]).eps[0])


def test_the_gradient_is_taken_where_none_is_kept():
    """sample() runs without gradients, the classifier needs one; and none is left on what comes out."""
    x, t = points(4).requires_grad_(), torch.tensor([10, 30, 50, 70])
    with torch.no_grad():
        seen = guidance.by_classifier(PLAIN, S, of_class(0))(x, t)
        torch.testing.assert_close(seen.eps, conditional(0)(x, t).eps)
    assert not seen.eps.requires_grad and x.grad is None


def test_the_classifier_sees_the_noisy_x_and_its_time():
    asked = []

    def note(x, t):
        asked.append((x.detach().clone(), t))
        return of_class(0)(x, t)

    x, t = points(4), torch.tensor([10, 30, 50, 70])
    guidance.by_classifier(PLAIN, S, note)(x, t)
    assert len(asked) == 1 and torch.equal(asked[0][0], x) and torch.equal(asked[0][1], t)


AWAY = (WEIGHTS, ((-2.0, 0.0), (2.0, 0.0)), (0.3, 0.3))
APART = oracles.Mixture(*(torch.tensor(part, dtype=torch.float64) for part in AWAY))


def share_of_first_class(scale, n=2000):
    guided = guidance.by_classifier(
        APART.denoiser(S), S, lambda x, t: APART.class_posterior(S, x, t)[:, 0].log(), scale
    )
    x_T = torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    x = sampling.sample(guided, S, (n, 2), "ddim", 50, x_T=x_T, dtype=torch.float64)
    return (x[:, 0] < 0).double().mean().item(), x


def test_samples_are_of_the_class():
    """Unguided 30 % are, within 4 standard errors; at scale 1 all, with the class's mean and spread."""
    plain, _ = share_of_first_class(0.0)
    assert abs(plain - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 2000)
    guided, x = share_of_first_class(1.0)
    assert guided == 1.0
    alone = gaussian(S, torch.tensor([-2.0, 0.0], dtype=torch.float64), 0.3)
    x_T = torch.randn(2000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    expected = sampling.sample(alone, S, (2000, 2), "ddim", 50, x_T=x_T, dtype=torch.float64)
    torch.testing.assert_close(x, expected, rtol=1e-8, atol=1e-8)


def test_a_stronger_push_goes_further_than_the_class():
    """Negative control of "scale 1 is exact": at 3 the first coordinate overshoots the class's mean."""
    assert share_of_first_class(3.0, 200)[1][:, 0].mean() < -2.1


def test_a_classifier_of_clean_data_will_not_do():
    """It is asked about noisy x, and answers as if they were clean: at t = 1 alone that is nearly right."""
    clean = guidance.by_classifier(PLAIN, S, lambda x, t: of_class(0)(x, torch.ones_like(t)))
    x = torch.tensor([[0.8, 0.2]], dtype=torch.float64).expand(100, 2)  # where class 1 is
    error = (clean(x, EVERY_T).eps - conditional(0)(x, EVERY_T).eps).abs().amax(1)
    assert error[0] < 1e-10 and error[1] < 0.1
    assert (error[20:] > 1).all()


ROWS = {
    "a scale NaN": (lambda: guidance.by_classifier(PLAIN, S, of_class(0), float("nan")), ConfigError, "got nan"),
    "another schedule": (
        lambda: guidance.by_classifier(PLAIN, schedules.cosine(40), of_class(0)), ScheduleError, "belongs to",
    ),
    "no signal left at T": (
        lambda: guidance.by_classifier(MIXTURE.denoiser(ZERO), ZERO, of_class(0))(points(1), torch.tensor([100])),
        TimestepError, "x_0 cannot be found from eps at t = 100",
    ),
}  # fmt: skip
ZERO = schedules.zero_terminal_snr(schedules.linear_scaled(100))


def test_one_number_a_sample_is_needed():
    """All classes' logits, or a mean over the batch, would have a gradient too: another one."""
    for log_probability, words in (
        (lambda x, t: MIXTURE.class_posterior(S, x, t), r"\(4, 2\) for 4 samples; it must be \(4,\)"),
        (lambda x, t: x.mean(), r"gave \(\) for 4"),
    ):
        with pytest.raises(ShapeError, match=words):
            guidance.by_classifier(PLAIN, S, log_probability)(points(4), torch.tensor([1, 2, 3, 4]))


@pytest.mark.parametrize(("make", "error", "words"), ROWS.values(), ids=ROWS)
def test_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_a_negative_scale_is_warned_of():
    with pytest.warns(GuidanceWarning, match="scale -1"):
        away = guidance.by_classifier(PLAIN, S, of_class(0), -1.0)
    x = points(100)
    push = PLAIN(x, EVERY_T).eps - conditional(0)(x, EVERY_T).eps
    torch.testing.assert_close(away(x, EVERY_T).eps, PLAIN(x, EVERY_T).eps + push)


def test_a_network_and_a_trained_classifier_in_single_precision():
    """What a learner has: float32, a small network, logits; eps keeps its dtype."""
    torch.manual_seed(0)
    classifier = torch.nn.Linear(2, 3)
    plain = parameterization.denoiser(lambda x, t: 0.1 * x, S, "eps")
    guided = guidance.by_classifier(plain, S, lambda x, t: classifier(x).log_softmax(1)[:, 2], 2.0)
    out = sampling.sample(guided, S, (5, 2), "ddim", 5, generator=torch.Generator().manual_seed(0))
    assert out.dtype == torch.float32 and out.isfinite().all()
    assert all(weight.grad is None for weight in classifier.parameters())
