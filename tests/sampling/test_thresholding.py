"""Limits on x0: Imagen's numbers by hand, what they leave alone, and the eps that goes with them."""

import numpy as np
import pytest
import torch

from ddpm_edu import parameterization, sampling, schedules
from ddpm_edu.errors import ConfigError, ScheduleError
from ddpm_edu.parameterization import Denoised
from ddpm_edu.sampling import guidance, thresholding
from tests.sampling.closed_form import gaussian

S = schedules.cosine(100)
TIMES = torch.tensor([1, 20, 60, 99])


def normal(*shape, scale=1.0, dtype=torch.float64):
    return scale * torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


def test_by_hand():
    """|x0| sorted: 0, 0.5, 1, 2, 4. Three quarters of the way stands 2: what is beyond becomes 2, all is halved."""
    x0 = torch.tensor([[0.5, -4.0, 1.0, 0.0, 2.0]], dtype=torch.float64)
    for percentile, expected in (
        (0.75, [0.25, -1.0, 0.5, 0.0, 1.0]),
        (1.0, [0.125, -1.0, 0.25, 0.0, 0.5]),  # by the largest
        (0.875, [0.5 / 3, -1.0, 1 / 3, 0.0, 2 / 3]),  # 3, half way from 2 to 4
        (0.5, [0.5, -1.0, 1.0, 0.0, 1.0]),  # 1: the static clip
        (0.25, [0.5, -1.0, 1.0, 0.0, 1.0]),  # 0.5, but never below 1
    ):
        assert thresholding.dynamic(x0, percentile)[0].tolist() == pytest.approx(expected, abs=1e-15), percentile


def test_what_lies_in_the_range_stays_to_the_bit():
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        x0 = 0.9 * normal(3, 2, 4, 4, dtype=torch.float64).clamp(-1, 1).to(dtype)
        out = thresholding.dynamic(x0)
        assert torch.equal(out, x0) and out.dtype == dtype


def test_each_sample_by_itself_with_numpys_quantile():
    x0 = normal(3, 1, 5, 5, scale=2.0) * torch.tensor([0.2, 1.0, 5.0], dtype=torch.float64).reshape(3, 1, 1, 1)
    for percentile in (0.9, 0.995):
        out = thresholding.dynamic(x0, percentile)
        for sample, limited in zip(x0.numpy(), out.numpy(), strict=True):
            limit = max(1.0, np.quantile(np.abs(sample), percentile))
            np.testing.assert_allclose(limited, np.clip(sample, -limit, limit) / limit, rtol=1e-12)


def test_it_lands_in_the_range_and_keeps_the_order():
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        out = thresholding.dynamic(normal(4, 1, 8, 8, scale=10.0, dtype=torch.float64).to(dtype), 0.9)
        assert out.abs().max() <= 1 and out.dtype == dtype
    x0 = normal(1, 100, scale=5.0).sort(1).values
    out = thresholding.dynamic(x0, 0.9)
    assert (out.diff(dim=1) >= 0).all()
    assert len(out.unique()) > 85


def test_it_is_not_the_static_clip():
    """diffusers limits r to sample_max_value, which is 1.0 unless set: no pixel beyond 1 keeps its place."""
    x0 = normal(1, 100, scale=5.0)
    assert len(parameterization.static_clip(x0).unique()) < 30
    assert not torch.allclose(thresholding.dynamic(x0), parameterization.static_clip(x0), atol=0.1)


# ---------------------------------------------------------------- as a denoiser

STRONG = guidance.classifier_free(gaussian(S, 0.8, 0.3), gaussian(S, 0.0, 1.0), S, 4.0)


def test_x_t_is_still_the_sum():
    x, ab = normal(4, 1, 3, 3), S.alpha_bar[TIMES].reshape(4, 1, 1, 1)
    for clip in (thresholding.dynamic, parameterization.static_clip):
        seen, before = thresholding.limited(STRONG, S, clip)(x, TIMES), STRONG(x, TIMES)
        assert torch.equal(seen.x0, clip(before.x0))
        torch.testing.assert_close(ab.sqrt() * seen.x0 + (1 - ab).sqrt() * seen.eps, x)
        assert (seen.eps - before.eps).abs().max() > 0.1, "eps has changed too"


def test_limits_come_last():
    """Of the guided x0: limits on each part before guidance do not hold after it."""
    x = normal(4, 1, 3, 3)
    clip = parameterization.static_clip
    first = [thresholding.limited(gaussian(S, mean, 0.3), S, clip) for mean in (0.8, -0.5)]
    assert guidance.classifier_free(*first, S, 4.0)(x, TIMES).x0.max() > 2
    assert thresholding.limited(STRONG, S, clip)(x, TIMES).x0.abs().max() <= 1


def test_samples_of_strong_guidance_stay_in_the_range():
    """And without limits they do not."""
    x_T, strong = normal(50, 1, 4, 4), guidance.classifier_free(gaussian(S, 0.9, 0.5), gaussian(S, 0.0, 1.0), S, 2.0)
    for clip, low, high in ((None, 1.3, 9), (parameterization.static_clip, 0.5, 1), (thresholding.dynamic, 0.5, 1)):
        denoise = strong if clip is None else thresholding.limited(strong, S, clip)
        out = sampling.sample(denoise, S, (50, 1, 4, 4), "ddim", 20, x_T=x_T, dtype=torch.float64)
        assert low < out.max() <= high, clip


def test_what_else_the_denoiser_says_is_passed_on():
    fraction = torch.rand(4, 2)
    plain = lambda x, t: Denoised(3 * x, x, variance_fraction=fraction)  # noqa: E731
    seen = thresholding.limited(plain, S, thresholding.dynamic)(torch.randn(4, 2), TIMES)
    assert seen.variance_fraction is fraction


def test_refused():
    for percentile in (-0.1, 1.1, 99.5, float("nan")):
        with pytest.raises(ConfigError, match=rf"percentile must lie in 0\.\.1, got {percentile}"):
            thresholding.dynamic(normal(2, 3), percentile)
    elsewhere = parameterization.denoiser(lambda x, t: x, schedules.cosine(40), "eps")
    with pytest.raises(ScheduleError, match="belongs to"):
        thresholding.limited(elsewhere, S, thresholding.dynamic)
    with pytest.raises(ScheduleError, match="belongs to"):
        sampling.sample(thresholding.limited(STRONG, S, thresholding.dynamic), schedules.cosine(40), (2, 2))
