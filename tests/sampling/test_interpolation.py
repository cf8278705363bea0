"""Between latents: along the sphere, at a constant pace, and finite where there is no angle."""

import math

import pytest
import torch

from ddpm_edu.errors import ConfigError, ShapeError
from ddpm_edu.sampling import interpolation

SEVENTHS = [i / 7 for i in range(8)]


def latents(*shape, dtype=torch.float64):
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype) for _ in range(2)]


def on_circle(*degrees, radius=1.0):
    turns = [math.radians(d) for d in degrees]
    return radius * torch.tensor([[math.cos(a), math.sin(a)] for a in turns], dtype=torch.float64)


def test_by_hand():
    """A third of the way from 0 to 90 degrees is 30, from 20 to 140 it is 60; each row by itself."""
    out = interpolation.slerp(on_circle(0, 20, 10), on_circle(90, 140, -50), 1 / 3)
    torch.testing.assert_close(out, on_circle(30, 60, -10))


def test_the_ends_are_the_latents():
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        a, b = latents(3, 1, 4, 4, dtype=dtype)
        assert torch.equal(interpolation.slerp(a, b, 0.0), a)
        torch.testing.assert_close(interpolation.slerp(a, b, 1.0), b)
        assert interpolation.slerp(a, b, 0.3).dtype == dtype


def test_the_length_stays_where_both_have_it():
    """The straight line is shorter by up to a factor sqrt(2) at right angles: nothing that the denoiser has seen."""
    a, b = latents(4, 1, 16, 16)
    b = b * (a.flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)).reshape(4, 1, 1, 1)
    for f in SEVENTHS:
        torch.testing.assert_close(interpolation.slerp(a, b, f).flatten(1).norm(dim=1), a.flatten(1).norm(dim=1))
    straight = (a + b) / 2
    shrunk = straight.flatten(1).norm(dim=1) / a.flatten(1).norm(dim=1)
    assert ((shrunk - math.sqrt(0.5)).abs() < 0.05).all()


def test_noise_keeps_the_spread_of_noise():
    """Two latents N(0, 1) that share nothing: half way the pixels still have variance 1, where the mean has 1 / 2."""
    a, b = latents(1, 40_000)
    assert interpolation.slerp(a, b, 0.5).var().item() == pytest.approx(1, abs=0.05)
    assert ((a + b) / 2).var().item() == pytest.approx(0.5, abs=0.03)


def test_the_angle_grows_evenly():
    """Between latents of one length; the angles measured from sides and not from the inner product."""
    a, b = (x / x.norm(dim=1, keepdim=True) for x in latents(4, 6))

    def angle(x, y):
        return 2 * torch.atan2((x - y).norm(dim=1), (x + y).norm(dim=1))

    for f in SEVENTHS:
        torch.testing.assert_close(angle(a, interpolation.slerp(a, b, f)), f * angle(a, b))
        torch.testing.assert_close(angle(interpolation.slerp(a, b, f), b), (1 - f) * angle(a, b))


def test_each_sample_has_its_own_angle():
    a, b = latents(5, 3)
    together = interpolation.slerp(a, b, 0.4)
    for i in range(5):
        torch.testing.assert_close(
            together[i : i + 1], interpolation.slerp(a[i : i + 1], b[i : i + 1], 0.4), rtol=1e-12, atol=0
        )


def test_there_and_back_is_the_same_way():
    a, b = latents(5, 3)
    torch.testing.assert_close(interpolation.slerp(a, b, 0.2), interpolation.slerp(b, a, 0.8))


def test_no_angle_no_nan():
    """Parallel (also of another length), opposite, and no latent at all: mixed linearly. Nearly so: finite as well."""
    a, _ = latents(1, 5)
    for b in (a, 3 * a, -a, -2 * a, 0 * a):
        torch.testing.assert_close(interpolation.slerp(a, b, 0.25), 0.75 * a + 0.25 * b)
        torch.testing.assert_close(interpolation.slerp(b, a, 0.25), 0.75 * b + 0.25 * a)
    assert (interpolation.slerp(0 * a, 0 * a, 0.5) == 0).all()
    bump = torch.tensor([[1.0, 0, 0, 0, 0]], dtype=torch.float64)
    for tiny in (1e-3, 1e-6, 1e-8, 1e-12):
        torch.testing.assert_close(interpolation.slerp(a, a + tiny * bump, 0.5), a + tiny / 2 * bump)
        assert interpolation.slerp(a, -a + tiny * bump, 0.5).isfinite().all()
    a, b = latents(3, 5)
    b[1] = a[1]
    torch.testing.assert_close(
        interpolation.slerp(a, b, 0.5)[0], interpolation.slerp(a[:1], b[:1], 0.5)[0]
    )  # one such row spoils no other


@pytest.mark.parametrize("fraction", [-0.1, 1.1, 50, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(ConfigError, match=rf"fraction must lie in 0\.\.1.*got {fraction}"):
        interpolation.slerp(*latents(2, 3), fraction)


@pytest.mark.parametrize(("a", "b"), [((2, 3), (1, 3)), ((2, 3), (2, 1)), ((2, 3), (3,)), ((3,), (3,))])
def test_other_shapes_are_refused(a, b):
    with pytest.raises(ShapeError, match=r"two latents of one shape \(N, \.\.\.\)"):
        interpolation.slerp(torch.ones(a), torch.ones(b), 0.5)
