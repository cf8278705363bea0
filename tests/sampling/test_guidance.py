"""Guidance without a classifier: the convention of the weight, the interval, what is asked of whom, and contrast."""

import math

import pytest
import torch
from torch import nn

from ddpm_edu import models, parameterization, sampling, schedules
from ddpm_edu.errors import ConfigError, GuidanceWarning, ScheduleError, ShapeError
from ddpm_edu.parameterization import Denoised
from ddpm_edu.sampling import guidance
from tests.sampling.closed_form import gaussian

S = schedules.cosine(100)
CONDITIONAL, UNCONDITIONAL = gaussian(S, 1.0, 0.5), gaussian(S, 0.0, 1.0)
TIMES = torch.tensor([1, 20, 60, 99])


def noisy(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


class Counted:
    """A denoiser that knows how often it was asked."""

    def __init__(self, denoise):
        self.denoise, self.calls = denoise, 0

    def __call__(self, x_t, t):
        self.calls += 1
        return self.denoise(x_t, t)


def add_up(x_t, t, seen):
    ab = S.alpha_bar[t].reshape(-1, *[1] * (x_t.ndim - 1))
    return (ab.sqrt() * seen.x0 + (1 - ab).sqrt() * seen.eps - x_t).abs().max().item()


# ---------------------------------------------------------------- the convention of the weight


def test_off_is_the_conditional_model_to_the_bit_and_the_other_is_not_asked():
    x, other = noisy(4, 1, 3, 3), Counted(UNCONDITIONAL)
    seen, alone = guidance.classifier_free(CONDITIONAL, other, S, 0.0)(x, TIMES), CONDITIONAL(x, TIMES)
    assert torch.equal(seen.x0, alone.x0) and torch.equal(seen.eps, alone.eps)
    assert other.calls == 0


def test_minus_one_is_the_unconditional_model_and_is_warned_of():
    x = noisy(4, 2)
    with pytest.warns(GuidanceWarning, match=r"strength -1.*away.*s = 1 \+ w"):
        guided = guidance.classifier_free(CONDITIONAL, UNCONDITIONAL, S, -1.0)
    seen, alone = guided(x, TIMES), UNCONDITIONAL(x, TIMES)
    torch.testing.assert_close(seen.x0, alone.x0)
    torch.testing.assert_close(seen.eps, alone.eps)


def test_by_hand():
    """w = 1.5: eps 2 against 1 gives 2 + 1.5 (2 - 1), x0 3 against 5 gives 3 + 1.5 (3 - 5)."""
    constant = [lambda x, t, a=a, b=b: Denoised(a + 0 * x, b + 0 * x) for a, b in ((3.0, 2.0), (5.0, 1.0))]
    seen = guidance.classifier_free(*constant, S, 1.5)(torch.zeros(2, 3), torch.tensor([5, 50]))
    assert (seen.x0 == 0).all() and (seen.eps == 3.5).all()


def test_the_scale_of_others_is_one_more():
    """Imagen's and diffusers' s: eps_u + s (eps_c - eps_u), at s = 7.5."""
    x = noisy(4, 2)
    seen = guidance.classifier_free(CONDITIONAL, UNCONDITIONAL, S, 6.5)(x, TIMES)
    with_, without = CONDITIONAL(x, TIMES).eps, UNCONDITIONAL(x, TIMES).eps
    torch.testing.assert_close(seen.eps, without + 7.5 * (with_ - without))
    assert add_up(x, TIMES, seen) < 1e-12


def test_every_sample_is_guided_as_it_is_alone():
    x = noisy(4, 1, 3, 3)
    guided = guidance.classifier_free(CONDITIONAL, UNCONDITIONAL, S, 2.0)
    together, plain = guided(x, TIMES), CONDITIONAL(x, TIMES)
    for i in range(4):
        alone = guided(x[i : i + 1], TIMES[i : i + 1])
        torch.testing.assert_close(together.x0[i], alone.x0[0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(together.eps[i], alone.eps[0], rtol=1e-12, atol=1e-12)
        assert (together.eps[i] - plain.eps[i]).abs().min() > 0, "every number of every sample is guided"


def test_what_the_networks_predict_makes_no_difference():
    """The same two models as networks of eps, of x0 and of v, all nine pairs."""

    def network(mean, std, predicts):
        def net(x, t):
            seen, ab = gaussian(S, mean, std)(x, t), S.alpha_bar[t][:, None]
            return {"eps": seen.eps, "x0": seen.x0, "v": ab.sqrt() * seen.eps - (1 - ab).sqrt() * seen.x0}[predicts]

        return parameterization.denoiser(net, S, predicts)

    x, kinds = noisy(4, 2), ("eps", "x0", "v")
    expected = guidance.classifier_free(CONDITIONAL, UNCONDITIONAL, S, 3.0)(x, TIMES)
    for a in kinds:
        for b in kinds:
            seen = guidance.classifier_free(network(1.0, 0.5, a), network(0.0, 1.0, b), S, 3.0)(x, TIMES)
            torch.testing.assert_close(seen.x0, expected.x0, rtol=1e-8, atol=1e-8, msg=f"{a}, {b}")
            torch.testing.assert_close(seen.eps, expected.eps, rtol=1e-8, atol=1e-8, msg=f"{a}, {b}")


# ---------------------------------------------------------------- the interval


def test_guided_inside_the_interval_and_conditional_to_the_bit_outside():
    """All in one batch, both ends of the interval included."""
    t, x = torch.tensor([19, 20, 21, 59, 60, 61]), noisy(6, 2)
    seen = guidance.classifier_free(CONDITIONAL, UNCONDITIONAL, S, 2.0, interval=(20, 60))(x, t)
    always, plain = guidance.classifier_free(CONDITIONAL, UNCONDITIONAL, S, 2.0)(x, t), CONDITIONAL(x, t)
    inside = [False, True, True, True, True, False]
    for i, guided in enumerate(inside):
        right, wrong = (always, plain) if guided else (plain, always)
        assert torch.equal(seen.x0[i], right.x0[i]) and torch.equal(seen.eps[i], right.eps[i]), t[i]
        assert not torch.allclose(seen.eps[i], wrong.eps[i]), t[i]


def test_outside_the_interval_the_second_model_is_not_asked():
    conditional, unconditional = Counted(CONDITIONAL), Counted(UNCONDITIONAL)
    guided = guidance.classifier_free(conditional, unconditional, S, 2.0, interval=(20, 60))
    sampling.sample(guided, S, (3, 2), "ddim", 100)
    assert (conditional.calls, unconditional.calls) == (100, 41)


# ---------------------------------------------------------------- contrast


def spreading(x, t):
    """Another x0 for each sample, of another spread and mean; eps so that they add up."""
    ab = S.alpha_bar[t].reshape(-1, 1, 1, 1)
    x0 = torch.arange(1.0, len(x) + 1, dtype=x.dtype).reshape(-1, 1, 1, 1) * torch.sin(5 * x) + 0.3
    return Denoised(x0, (x - ab.sqrt() * x0) / (1 - ab).sqrt())


def deviation(x0):
    """Of each sample by itself, in plain Python."""
    out = []
    for sample in x0.flatten(1).tolist():
        mean = sum(sample) / len(sample)
        out.append(math.sqrt(sum((v - mean) ** 2 for v in sample) / len(sample)))
    return out


def test_rescaled_in_full_every_sample_has_the_conditional_spread():
    x, plain = noisy(4, 1, 5, 5), gaussian(S, 0.0, 1.0)
    guided = guidance.classifier_free(spreading, plain, S, 3.0)
    seen, before = guidance.rescaled(guided, 1.0)(x, TIMES), guided(x, TIMES)
    assert deviation(seen.x0) == pytest.approx(deviation(spreading(x, TIMES).x0), rel=1e-10)
    assert all(abs(a - b) > 0.1 for a, b in zip(deviation(before.x0), deviation(seen.x0), strict=True))
    ratio = seen.x0 / before.x0
    torch.testing.assert_close(ratio, ratio[:, :1, :1, :1].expand_as(ratio), msg="one factor a sample")
    assert add_up(x, TIMES, seen) < 1e-10


def test_rescaled_by_a_share_by_hand():
    """Spreads 1 and 4: at phi = 0.7 the factor is 0.7 / 4 + 0.3 = 0.475."""
    pattern = torch.tensor([[1.0, -1.0, 1.0, -1.0]], dtype=torch.float64)
    one, other = (lambda x, t, size=size: Denoised(size * pattern, 0 * x) for size in (1.0, -2.0))
    guided = guidance.classifier_free(one, other, S, 1.0)  # 1 + (1 - -2) = 4
    x, t = noisy(1, 4), torch.tensor([50])
    torch.testing.assert_close(guidance.rescaled(guided, 0.7)(x, t).x0, 0.475 * 4 * pattern)
    torch.testing.assert_close(guidance.rescaled(guided)(x, t).x0, 0.475 * 4 * pattern)
    assert torch.equal(guidance.rescaled(guided, 0.0)(x, t).x0, guided(x, t).x0)


def test_rescaling_nothing_is_the_guided_model():
    x, guided = noisy(4, 1, 3, 3), guidance.classifier_free(spreading, UNCONDITIONAL, S, 3.0)
    seen, before = guidance.rescaled(guided, 0.0)(x, TIMES), guided(x, TIMES)
    assert torch.equal(seen.x0, before.x0)
    torch.testing.assert_close(seen.eps, before.eps, rtol=1e-10, atol=1e-10)


def test_a_constant_image_stays_as_it_is():
    """Its spread is 0, and 0 / 0 made whole images of NaN elsewhere; samples of one number have no spread either."""
    flat = lambda x, t: Denoised(torch.full_like(x, 0.5), (x - 0.5) / 2)  # noqa: E731
    guided = guidance.classifier_free(flat, flat, S, 3.0)
    for shape in ((4, 1, 3, 3), (4, 1)):
        seen = guidance.rescaled(guided, 1.0)(noisy(*shape), TIMES)
        assert (seen.x0 == 0.5).all() and seen.eps.isfinite().all()


def test_rescaling_asks_each_model_once():
    conditional, unconditional = Counted(CONDITIONAL), Counted(UNCONDITIONAL)
    guidance.rescaled(guidance.classifier_free(conditional, unconditional, S, 3.0))(noisy(4, 3), TIMES)
    assert (conditional.calls, unconditional.calls) == (1, 1)


# ---------------------------------------------------------------- one network with labels


class Classes(nn.Module):
    """eps of N(label, 0.5^2) for labels 0..2 and of N(0, 1) without, and a note of what it was asked."""

    no_label = 3

    def __init__(self):
        super().__init__()
        self.asked = []

    def forward(self, x, t, labels):
        self.asked.append((t, labels))
        column = [-1, *[1] * (x.ndim - 1)]
        none = (labels == 3).reshape(column)
        ab = S.alpha_bar[t].reshape(column)
        mean, std = torch.where(none, 0.0, labels.reshape(column).double()), torch.where(none, 1.0, 0.5)
        return (1 - ab).sqrt() * (x - ab.sqrt() * mean) / (ab * std**2 + 1 - ab)


LABELS = torch.tensor([0, 2, 1, 2])


def test_a_network_is_asked_with_the_labels_and_without():
    net, x = Classes(), noisy(4, 2)
    seen = guidance.of_network(net, S, "eps", LABELS, 1.5)(x, TIMES)
    assert [labels.tolist() for _, labels in net.asked] == [[0, 2, 1, 2], [3, 3, 3, 3]]
    assert all(torch.equal(t, TIMES) for t, _ in net.asked)
    for i, label in enumerate(LABELS.tolist()):
        one, t = x[i : i + 1], TIMES[i : i + 1]
        with_, without = gaussian(S, float(label), 0.5)(one, t).eps, gaussian(S, 0.0, 1.0)(one, t).eps
        torch.testing.assert_close(seen.eps[i : i + 1], 2.5 * with_ - 1.5 * without)
    assert add_up(x, TIMES, seen) < 1e-10


def test_a_network_is_told_the_interval_and_its_own_first_time():
    net, x = Classes(), noisy(4, 2)
    guided = guidance.of_network(net, S, "eps", LABELS, 1.5, interval=(50, 100), first_t=0)
    guided(x, torch.tensor([10, 20, 30, 40]))
    assert len(net.asked) == 1 and net.asked[0][0].tolist() == [9, 19, 29, 39]


def test_a_real_network_guides_and_refuses_wrong_labels():
    options = {"channels": 1, "width": 8, "multipliers": (1,), "blocks": 1, "groups": 4, "attention": (), "T": 100}
    torch.manual_seed(0)
    net = models.UNet(models.UNetConfig(**options, classes=2)).eval()
    for weight in net.parameters():  # an untrained network is silent
        nn.init.normal_(weight, std=0.3)
    x, t, labels = noisy(2, 1, 4, 4, dtype=torch.float32), torch.tensor([30, 70]), torch.tensor([0, 1])
    with torch.no_grad():
        eps = guidance.of_network(net, S, "eps", labels, 2.0)(x, t).eps
        with_, without = net(x, t, labels), net(x, t, torch.full((2,), net.no_label))
        torch.testing.assert_close(eps, 3 * with_ - 2 * without)
        assert (with_ - without).abs().max() > 0.1
        for wrong, error in ((torch.tensor([1]), ShapeError), (torch.tensor([0, 7]), ConfigError),
                             (torch.tensor([0.0, 1.0]), ShapeError)):  # fmt: skip
            with pytest.raises(error, match="labels"):
                guidance.of_network(net, S, "eps", wrong, 2.0)(x, t)
    with pytest.raises(ConfigError, match="knows no classes"):
        guidance.of_network(models.UNet(models.UNetConfig(**options)), S, "eps", labels, 2.0)


def test_a_network_that_knows_no_absence_of_labels_is_refused():
    with pytest.raises(ConfigError, match=r"MLP has no label for 'none'.*label_dropout"):
        guidance.of_network(models.MLP(2), S, "eps", LABELS, 1.0)


# ---------------------------------------------------------------- what is refused

ELSEWHERE = parameterization.denoiser(lambda x, t: x, schedules.cosine(40), "eps")
GUIDED = guidance.classifier_free(CONDITIONAL, UNCONDITIONAL, S, 1.0)
ROWS = {
    "w NaN": (lambda: mixed(w=float("nan")), ConfigError, "must be a number, got nan"),
    "w infinite": (lambda: mixed(w=float("inf")), ConfigError, "got inf"),
    "an interval from 0": (lambda: mixed(interval=(0, 50)), ConfigError, r"1 <= low <= high <= 100.*\(0, 50\)"),
    "an interval beyond T": (lambda: mixed(interval=(1, 101)), ConfigError, r"\(1, 101\)"),
    "an interval the wrong way": (lambda: mixed(interval=(60, 20)), ConfigError, r"\(60, 20\)"),
    "another schedule's conditional": (lambda: mixed(conditional=ELSEWHERE), ScheduleError, "belongs to"),
    "another schedule's unconditional": (lambda: mixed(unconditional=ELSEWHERE), ScheduleError, "belongs to"),
    "phi > 1": (lambda: guidance.rescaled(GUIDED, 1.5), ConfigError, r"phi must lie in 0\.\.1.*1\.5"),
    "phi NaN": (lambda: guidance.rescaled(GUIDED, float("nan")), ConfigError, "nan"),
    "no labels": (lambda: guidance.of_network(Classes(), S, "eps", None, 1.0), ConfigError, "needs labels.*got None"),
    "w NaN for a network": (
        lambda: guidance.of_network(Classes(), S, "eps", LABELS, float("nan")), ConfigError, "got nan",
    ),
}  # fmt: skip


def mixed(conditional=CONDITIONAL, unconditional=UNCONDITIONAL, w=1.0, interval=None):
    return guidance.classifier_free(conditional, unconditional, S, w, interval)


@pytest.mark.parametrize(("make", "error", "words"), ROWS.values(), ids=ROWS)
def test_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_the_same_without_the_mistake_works():
    mixed(interval=(1, 100))
    guidance.rescaled(GUIDED, 1.0)


def test_a_guided_denoiser_belongs_to_its_schedule():
    with pytest.raises(ScheduleError):
        sampling.sample(GUIDED, schedules.cosine(40), (2, 2))
    with pytest.raises(ScheduleError):
        sampling.sample(guidance.rescaled(GUIDED), schedules.cosine(40), (2, 2))


def test_one_samples_answer_is_not_taken_for_a_batchs():
    """The mixture of a right answer and a broadcast one has the right shape, so the loop cannot see it."""

    def one_for_all(x, t):
        return Denoised(x[:1], x[:1])

    def right(x, t):
        return Denoised(x, x)

    s, x, t = schedules.linear(1000), torch.zeros(3, 2), torch.full((3,), 500)
    for pair in ((right, one_for_all), (one_for_all, right)):
        with pytest.raises(ShapeError, match="nothing is broadcast"):
            guidance.classifier_free(*pair, s, 1.0)(x, t)
    with pytest.raises(ShapeError, match="nothing is broadcast"):
        guidance.by_classifier(one_for_all, s, lambda x, t: x.sum(1))(x, t)
