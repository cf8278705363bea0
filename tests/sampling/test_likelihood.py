"""log p by the flow: on a Gaussian and a mixture, whose density is known, as that of the data blurred by sigma_1."""

import math
import warnings

import pytest
import torch

from ddpm_edu import oracles, parameterization, schedules
from ddpm_edu.errors import ConfigError, DataError, ScheduleError, ScheduleWarning, ShapeError, TimestepError
from ddpm_edu.parameterization import Denoised
from ddpm_edu.sampling import grids, inversion, likelihood
from tests.sampling.closed_form import gaussian

COSINE, LINEAR = schedules.cosine(1000), schedules.linear(1000)
ZERO = schedules.zero_terminal_snr(LINEAR)
MEAN, STD = 0.3, 0.5
X0 = torch.tensor([[-1.0, 0.3], [0.2, 0.5], [1.3, -0.7]], dtype=torch.float64)


def sigma_1(s):
    return math.sqrt(1 / s.alpha_bar[1].item() - 1)


def normal(x, mean, std):
    """log N(x; mean, std^2), summed over the dimensions."""
    return (-0.5 * ((x - mean) / std) ** 2 - math.log(std) - 0.5 * math.log(2 * math.pi)).sum(1)


def blurred(s):
    return normal(X0, MEAN, math.hypot(STD, sigma_1(s)))


def error(s, steps, **options):
    log_p, _ = likelihood.log_likelihood(gaussian(s, MEAN, STD), s, X0, steps, **options)
    return (log_p - blurred(s)).abs().max().item()


def seeded(seed):
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- against closed forms


def test_on_a_gaussian_it_is_the_density_of_the_blurred_data():
    """The rest at 400 steps is that of the prior: on DDPM's schedule x_T is not quite N(0, 1)."""
    assert error(COSINE, 400) < 2e-4
    assert error(ZERO, 400) < 4e-4
    assert 4e-3 < error(LINEAR, 400) < 1e-2
    assert sigma_1(LINEAR) == pytest.approx(0.01, rel=1e-3)


def test_and_not_that_of_the_data_themselves():
    """Negative control, where the blur is plain to see: data of spread 0.02, sigma_1 = 0.01."""
    x0 = MEAN + torch.tensor([[0.0, 0.01], [0.02, -0.03]], dtype=torch.float64)
    found = likelihood.log_likelihood(gaussian(LINEAR, MEAN, 0.02), LINEAR, x0, 1000).log_p
    assert (found - normal(x0, MEAN, math.hypot(0.02, sigma_1(LINEAR)))).abs().max() < 0.03
    assert (found - normal(x0, MEAN, 0.02)).abs().min() > 0.09


def test_the_error_is_of_second_order():
    """Half the step, a quarter of the error; zero terminal SNR leaves no error of the prior beside it."""
    errors = [error(ZERO, steps) for steps in (50, 100, 200)]
    assert errors[0] < 0.02
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.15)
    assert math.log2(errors[1] / errors[2]) == pytest.approx(2, abs=0.15)


WEIGHTS, MEANS, STDS = (0.3, 0.7), ((-1.0, 0.0), (1.0, 0.5)), (0.3, 0.5)


def mixture(blur=0.0):
    parts = (WEIGHTS, MEANS, [math.hypot(std, blur) for std in STDS])
    return oracles.Mixture(*(torch.tensor(part, dtype=torch.float64) for part in parts))


def test_on_a_mixture_it_is_a_density():
    """It integrates to 1 over the plane, and at every point of some weight it is the blurred mixture's own."""
    line = torch.arange(-3, 3.01, 0.2, dtype=torch.float64)
    points = torch.cartesian_prod(line, line)
    log_p, _ = likelihood.log_likelihood(mixture().denoiser(COSINE), COSINE, points, 60)
    assert log_p.exp().sum().item() * 0.2**2 == pytest.approx(1, abs=1e-3)
    exact = mixture(sigma_1(COSINE)).log_likelihood(points)
    seen = exact > -6
    assert seen.sum() > 100
    assert (log_p - exact)[seen].abs().max() < 0.02


def test_latents_are_those_of_a_fine_inversion():
    """Euler's steps forward and (refined) backward are off by as much on either side: their mean is nearer."""
    d, grid = mixture().denoiser(COSINE), grids.linspace(1000, 200)
    fine = sum(inversion.invert(d, COSINE, X0, grid=grid, refinements=n) for n in (0, 5)) / 2
    errors = [(likelihood.log_likelihood(d, COSINE, X0, n).latent - fine).abs().max().item() for n in (20, 200)]
    assert 0.005 < errors[0] < 0.02 and errors[1] < 1e-3, errors


def test_latents_of_a_gaussian():
    v = [(s.alpha_bar * STD**2 + 1 - s.alpha_bar).tolist() for s in (COSINE, ZERO)]
    for s, (v_1, v_T) in zip((COSINE, ZERO), ((table[1], table[-1]) for table in v), strict=True):
        ab_1, ab_T = s.alpha_bar[1].item(), s.alpha_bar[-1].item()
        exact = math.sqrt(ab_T) * MEAN + math.sqrt(v_T / v_1) * math.sqrt(ab_1) * (X0 - MEAN)
        latent = likelihood.log_likelihood(gaussian(s, MEAN, STD), s, X0, 300).latent
        torch.testing.assert_close(latent, exact, rtol=0, atol=2e-4)


def test_pure_noise_is_worth_what_the_normal_density_says():
    """Data N(0, 1) stay N(0, 1): the flow is at rest (v-hat = 0), whatever the steps; the blur is left in the scale."""
    for s in (COSINE, LINEAR, ZERO):
        out = likelihood.log_likelihood(gaussian(s), s, X0, 3)
        root = math.sqrt(s.alpha_bar[1].item())
        torch.testing.assert_close(out.latent, root * X0)
        torch.testing.assert_close(out.log_p, normal(X0, 0.0, 1 / root))


def test_in_single_precision_for_images():
    """float32 in, float32 latents, float64 nats."""
    x0 = MEAN + STD * torch.randn(4, 1, 3, 3, generator=seeded(0))
    log_p, latent = likelihood.log_likelihood(gaussian(COSINE, MEAN, STD), COSINE, x0)
    assert log_p.dtype == torch.float64 and log_p.shape == (4,)
    assert latent.dtype == torch.float32 and latent.shape == x0.shape
    assert not latent.requires_grad
    exact = normal(x0.double().flatten(1), MEAN, math.hypot(STD, sigma_1(COSINE)))
    assert (log_p - exact).abs().max() < 0.02


# ---------------------------------------------------------------- the divergence

MATRIX = torch.tensor([[0.5, 2.0, -1.0], [0.3, -1.0, 0.7], [1.1, 0.0, 2.0]], dtype=torch.float64)


def linear_field(x):
    return x @ MATRIX.T


def test_the_exact_divergence():
    """Of a linear field the trace, and of sin(x_i) + x_1 x_2 in each coordinate by hand."""
    x = torch.randn(4, 3, dtype=torch.float64, generator=seeded(0))
    value, divergence = likelihood.exact(linear_field, x)
    torch.testing.assert_close(value, linear_field(x))
    torch.testing.assert_close(divergence, torch.full((4,), 1.5, dtype=torch.float64))
    _, divergence = likelihood.exact(lambda x: x.sin() + x[:, :1] * x[:, 1:2], x)
    torch.testing.assert_close(divergence, x.cos().sum(1) + x[:, 1] + x[:, 0])
    with torch.no_grad():
        assert not likelihood.exact(linear_field, x)[0].requires_grad


def test_hutchinsons_is_unbiased():
    """With signs v, v . A v = tr A + sum over i < j of (A_ij + A_ji) v_i v_j: mean and variance by hand, 4 errors."""
    n = 20_000
    x = torch.zeros(n, 3, dtype=torch.float64)
    cross = sum((MATRIX[i, j] + MATRIX[j, i]).item() ** 2 for i in range(3) for j in range(i))
    for probes in (1, 5):
        _, found = likelihood.hutchinson(probes, seeded(0))(linear_field, x)
        assert abs(found.mean().item() - 1.5) < 4 * math.sqrt(cross / probes / n)
        assert found.var().item() == pytest.approx(cross / probes, rel=0.05)


def test_hutchinsons_is_exact_where_the_dimensions_do_not_mix():
    exact = likelihood.log_likelihood(gaussian(COSINE, MEAN, STD), COSINE, X0, 20)
    drawn = likelihood.log_likelihood(
        gaussian(COSINE, MEAN, STD), COSINE, X0, 20, divergence=likelihood.hutchinson(1, seeded(0))
    )
    torch.testing.assert_close(drawn.log_p, exact.log_p, rtol=1e-10, atol=1e-10)
    assert torch.equal(drawn.latent, exact.latent)


def test_log_p_with_many_probes_comes_near_the_exact():
    """A full covariance with eigenvalues 1.8 and 0.2: one probe is off by +-(log 1.8 - log 0.2) / 2, for signs v_1 v_2.

    (Along an eigenvector the divergence adds up to half of -log of its eigenvalue.)
    """
    denoise = oracles.FullGaussian(torch.zeros(2), torch.tensor([[1.0, 0.8], [0.8, 1.0]])).denoiser(COSINE)
    x0, steps = X0[:1].expand(400, 2), 20
    exact = likelihood.log_likelihood(denoise, COSINE, X0[:1], steps).log_p.item()
    for probes in (1, 16):
        out = likelihood.log_likelihood(
            denoise, COSINE, x0, steps, divergence=likelihood.hutchinson(probes, seeded(0))
        ).log_p
        assert abs(out.mean().item() - exact) < 4 * out.std().item() / math.sqrt(400)
        assert out.std().item() == pytest.approx(math.log(1.8 / 0.2) / 2 / math.sqrt(probes), rel=0.15)


def test_the_generator_decides_and_the_signs_are_kept():
    x = torch.zeros(6, 3, dtype=torch.float64)
    a, b, c = (likelihood.hutchinson(1, seeded(seed)) for seed in (1, 1, 2))
    first = a(linear_field, x)[1]
    assert torch.equal(first, b(linear_field, x)[1])
    assert not torch.equal(first, c(linear_field, x)[1])
    assert torch.equal(first, a(linear_field, x)[1]), "the same signs along the flow"
    assert a(linear_field, x[:2])[1].shape == (2,), "the last batch of a data set is smaller"


# ---------------------------------------------------------------- where it starts, what is refused


def test_on_a_grid_that_ends_later_more_is_blurred():
    """From t = 200, by hand in every part: x_200 = sqrt(ab_200) x_0, and the data blurred by sigma_200 = 0.7."""
    grid = [(t, t - 10) for t in range(1000, 200, -10)] + [(200, 0)]
    found, latent = likelihood.log_likelihood(gaussian(ZERO, MEAN, STD), ZERO, X0, grid=grid)
    ab = ZERO.alpha_bar[200].item()
    sigma = math.sqrt(1 / ab - 1)
    assert (found - normal(X0, MEAN, math.hypot(STD, sigma))).abs().max() < 0.002
    assert (latent - (X0 - MEAN) / math.hypot(STD, sigma)).abs().max() < 0.002
    assert sigma > 0.5 and (found - blurred(ZERO)).abs().max() > 0.2


def test_the_times_that_are_asked_about():
    times = []

    def denoise(x, t):
        times.append(t.tolist())
        return gaussian(COSINE)(x, t)

    likelihood.log_likelihood(denoise, COSINE, X0, grid=[(1000, 300), (300, 20), (20, 1), (1, 0)])
    assert [t[0] for t in times] == [1, 20, 20, 300, 300, 1000, 1000]
    assert all(t == t[:1] * 3 for t in times)
    times.clear()
    likelihood.log_likelihood(denoise, COSINE, X0)
    assert len(times) == 199, "100 times by default, two calls a step"


def test_a_chain_of_one_step():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScheduleWarning)
        s = schedules.from_betas([0.5])
    out = likelihood.log_likelihood(lambda x, t: Denoised(x, x), s, X0).log_p
    torch.testing.assert_close(out, normal(X0, 0.0, math.sqrt(2)))


ROWS = {
    "steps and grid": ({"steps": 2, "grid": [(1000, 0)]}, ConfigError, "steps or grid, not both"),
    "steps = 1": ({"steps": 1}, ConfigError, "steps must be >= 2"),
    "steps = 0": ({"steps": 0}, ConfigError, "got 0"),
    "a grid that starts below T": ({"grid": [(300, 1), (1, 0)]}, TimestepError, "starts at 300, not at T"),
    "images of whole numbers": ({"x0": torch.zeros(2, 1, 4, 4, dtype=torch.uint8)}, DataError, "x0 is uint8"),
    "no sample": ({"x0": torch.zeros(0, 2)}, ShapeError, "empty batch"),
    "another schedule": (
        {"denoise": parameterization.denoiser(lambda x, t: x, schedules.cosine(40), "eps")}, ScheduleError, "belongs",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "error", "words"), ROWS.values(), ids=ROWS)
def test_refused(changes, error, words):
    options = {"denoise": gaussian(COSINE), "x0": X0, **changes}
    with pytest.raises(error, match=words):
        likelihood.log_likelihood(options.pop("denoise"), COSINE, options.pop("x0"), **options)


def test_no_probes_are_refused():
    with pytest.raises(ConfigError, match="probes must be >= 1, got 0"):
        likelihood.hutchinson(0)
