"""Path length against arcs, derivatives and DDIM for a Gaussian; in float32 and float64; what must be refused."""

import copy
import functools
import math

import pytest
import torch

from ddpm_edu import metrics, models, oracles, parameterization, sampling, schedules
from ddpm_edu.errors import ConfigError, DataError, ShapeError
from ddpm_edu.metrics import path


def draws(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def length(generate, features, a, b, eps=1e-4, seed=0):
    return metrics.path_length(generate, features, a, b, eps, torch.Generator().manual_seed(seed))


def flat(images):
    return images.flatten(1)


def as_it_is(latents):
    return latents


def near(a, b, relative):
    assert math.isclose(a, b, rel_tol=relative), (a, b)


def of_one_length(n, *shape, seed=0, radius=3.0):
    a = draws(n, *shape, seed=seed)
    return a * radius / a.flatten(1).norm(dim=1).reshape(-1, *[1] * len(shape))


def angle(a, b):
    return torch.cosine_similarity(a.flatten(1), b.flatten(1)).acos()


# ---------------------------------------------------------------- closed forms


def test_on_a_circle_it_is_the_angle():
    """From (r, 0) to (0, r), a quarter turn: the chord of an angle of eps pi / 2, whatever the moment."""
    a, b = torch.tensor([[3.0, 0.0]]).double(), torch.tensor([[0.0, 3.0]]).double()
    for eps in (0.5, 0.1, 1e-4):
        wanted = (2 * 3 * math.sin(eps * math.pi / 4) / eps) ** 2
        for seed in range(3):
            near(length(as_it_is, flat, a, b, eps, seed), wanted, 1e-9)


def test_on_a_sphere_it_is_the_mean_of_squared_arcs():
    a, b = of_one_length(20, 1, 4, 4), of_one_length(20, 1, 4, 4, seed=1)
    near(length(as_it_is, flat, a, b), (3 * angle(a, b)).square().mean().item(), 1e-6)
    near(length(as_it_is, lambda x: 5 * flat(x), a, b), 25 * (3 * angle(a, b)).square().mean().item(), 1e-6)


def test_it_is_the_squared_derivative_at_the_moment():
    """Of a map that is not linear, by autograd through the sphere's formula, written for one pair; here a = e_1."""
    a, b = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[0.0, 2.0]]).double()
    moment = torch.rand(1, generator=torch.Generator().manual_seed(5)).double().requires_grad_()
    turn = moment * math.pi / 2
    latent = torch.stack([turn.cos(), 2 * turn.sin()])
    seen = [torch.autograd.grad(one, moment, retain_graph=True)[0].item() for one in (latent**3).sum(1)]
    near(length(lambda x: x**3, flat, a, b, 1e-6, seed=5), sum(v * v for v in seen), 1e-4)


def test_moments_are_uniform_along_the_path():
    """Features that change only in the last fifth of the quarter turn: a mean over moments, and none beyond the end."""
    a, b = torch.tensor([[1.0, 0.0]]).double().expand(3000, 2), torch.tensor([[0.0, 1.0]]).double().expand(3000, 2)

    def late(x):
        return (torch.atan2(x[:, 1], x[:, 0]) / (math.pi / 2) - 0.8).clamp(min=0)[:, None]

    near(length(as_it_is, late, a, b, 1e-3), 0.2, 0.1)
    # A step of a half ends v = u - 0.3 inside the last fifth: twice the integral of v^2 from 0 to 0.2, over 0.5^2.
    near(length(as_it_is, late, a, b, 0.5), 2 * 0.2**3 / 3 / 0.5**2, 0.1)


def test_a_constant_map_has_no_length():
    a, b = draws(5, 1, 2, 2), draws(5, 1, 2, 2, seed=1)
    assert length(torch.zeros_like, flat, a, b) == 0


def test_ddim_for_a_gaussian_stretches_the_path():
    """The denoiser is linear, and so is DDIM: its factor is what it makes of a latent of ones less one of zeros."""
    s = schedules.linear_scaled(50)
    denoise = oracles.Gaussian(0.3, 0.5).denoiser(s)

    def generate(x):
        return sampling.sample(denoise, s, x.shape, "ddim", 10, x_T=x, dtype=x.dtype)

    ones = torch.ones(1, 1, 4, 4).double()
    factor = (generate(ones) - generate(0 * ones))[0, 0, 0, 0].item()
    assert 0.3 < factor < 0.6
    a, b = of_one_length(12, 1, 4, 4), of_one_length(12, 1, 4, 4, seed=1)
    near(length(generate, flat, a, b), (3 * factor * angle(a, b)).square().mean().item(), 1e-5)


def test_a_generator_makes_it_repeatable():
    a, b = draws(5, 2), draws(5, 2, seed=1)
    got = [length(lambda x: x**3, flat, a, b, seed=seed) for seed in (0, 0, 1)]
    assert got[0] == got[1] != got[2]
    before = torch.get_rng_state()
    length(as_it_is, flat, a, b)
    assert torch.equal(torch.get_rng_state(), before), "the global stream is left alone"


# ---------------------------------------------------------------- digits, by DDIM


@functools.cache
def digits():
    """DDIM by the digits' U-Net in float32 and in float64, and features in both."""
    net, config = models.load("digits_unet")
    s = schedules.linear(config["schedule"]["T"])
    labels = torch.arange(8)
    extractor = metrics.features.load("digits")
    fine = copy.deepcopy(extractor.net).double()

    def by(net):
        denoise = parameterization.denoiser(net, s, config["predicts"], labels=labels)
        return lambda x: sampling.sample(denoise, s, x.shape, "ddim", 5, x_T=x, dtype=x.dtype).clamp(-1, 1)

    return by(net), by(copy.deepcopy(net).double()), extractor.features, fine.embed


def test_float32_suffices_at_the_default_step():
    single, double, features, fine = digits()
    a, b = draws(8, 1, 8, 8, dtype=torch.float32), draws(8, 1, 8, 8, seed=1, dtype=torch.float32)
    exact = length(double, fine, a.double(), b.double(), 1e-4)
    near(metrics.path_length(single, features, a, b, generator=torch.Generator().manual_seed(0)), exact, 0.01)
    near(length(single, features, a, b, 1e-4), exact, 0.05)
    assert abs(length(single, features, a, b, 1e-6) / exact - 1) > 0.05, "rounding is all that is left"


def test_images_rounded_to_bytes_have_no_path():
    """At most steps nothing changes, and at a few a whole grey level does."""
    _, double, _, fine = digits()
    a, b = draws(8, 1, 8, 8), draws(8, 1, 8, 8, seed=1)
    smooth = length(double, fine, a, b)
    rounded = length(lambda x: (double(x) * 127.5).round() / 127.5, fine, a, b)
    assert not 0.5 < rounded / smooth < 2


def test_noise_in_the_sampler_is_refused():
    a, b = draws(8, 1, 8, 8, dtype=torch.float32), draws(8, 1, 8, 8, seed=1, dtype=torch.float32)
    s = schedules.linear_scaled(20)
    denoise = oracles.Gaussian(0.0, 0.5).denoiser(s)
    for eta in (1.0, 0.01):
        with pytest.raises(ConfigError, match=r"differently when asked twice.*eta=0"):
            length(lambda x, eta=eta: sampling.sample(denoise, s, x.shape, "ddim", 5, eta, x_T=x), flat, a, b, 1e-3)


# ---------------------------------------------------------------- bad inputs


def test_latents_keep_their_dtype_and_need_no_gradient():
    seen = []
    a, b = draws(3, 2, dtype=torch.float32).requires_grad_(), draws(3, 2, seed=1, dtype=torch.float32)

    def generate(x):
        seen.append((x.dtype, torch.is_grad_enabled()))
        return x

    length(generate, flat, a, b)
    assert seen == [(torch.float32, False)] * 3


GOOD = torch.zeros(3, 1, 2, 2)
BAD = {
    "another shape": (GOOD, torch.zeros(3, 1, 2, 3), 1e-3, ShapeError, r"x_T_a and x_T_b .* \(1, 2, 2\) and"),
    "another number": (GOOD, GOOD[:2], 1e-3, ShapeError, "got 3 and 2"),
    "plain numbers": (torch.zeros(3), torch.zeros(3), 1e-3, ShapeError, r"must be \(N, \.\.\.\)"),
    "no pairs": (GOOD[:0], GOOD[:0], 1e-3, DataError, "x_T_a has 0 samples"),
    "whole numbers": (GOOD.long(), GOOD.long(), 1e-3, DataError, "one floating dtype"),
    "two dtypes": (GOOD, GOOD.double(), 1e-3, DataError, "torch.float32 and torch.float64"),
    "NaN": (GOOD, GOOD * float("nan"), 1e-3, DataError, "x_T_b holds NaN"),
    "a list": ([[1.0]], GOOD, 1e-3, DataError, "got list"),
    "no step": (GOOD, GOOD, 0, ConfigError, "eps must lie between 0 and 1"),
    "the whole way": (GOOD, GOOD, 1, ConfigError, "got 1"),
    "no number": (GOOD, GOOD, math.nan, ConfigError, "got nan"),
}


@pytest.mark.parametrize(("a", "b", "eps", "error", "words"), BAD.values(), ids=BAD)
def test_paths_that_cannot_be(a, b, eps, error, words):
    with pytest.raises(error, match=f"(?s){words}"):
        length(as_it_is, flat, a, b, eps)


def test_features_that_do_not_fit():
    a, b = draws(3, 1, 2, 2), draws(3, 1, 2, 2, seed=1)
    with pytest.raises(ShapeError, match=r"features must be \(N, D\)"):
        length(as_it_is, as_it_is, a, b)
    with pytest.raises(ShapeError, match="features of 3 images must have as many rows"):
        length(lambda x: x[:2], flat, a, b)


def test_latents_are_mixed_each_at_its_own_moment():
    a, b = draws(4, 3), draws(4, 3, seed=1)
    got = path.mixed(a, b, [0.0, 0.25, 0.5, 1.0])
    for row, fraction in enumerate([0.0, 0.25, 0.5, 1.0]):
        theta = angle(a[row : row + 1], b[row : row + 1]).item()
        wanted = (math.sin((1 - fraction) * theta) * a[row] + math.sin(fraction * theta) * b[row]) / math.sin(theta)
        torch.testing.assert_close(got[row], wanted)
