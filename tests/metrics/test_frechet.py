"""The Frechet distance against closed forms, scipy's matrix root, and singular values of the data themselves."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from ddpm_edu import metrics
from ddpm_edu.errors import DataError, ShapeError


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(dim, seed=0):
    return torch.linalg.qr(draws(dim, dim, seed=seed))[0]


def covariance(dim, seed):
    root = draws(dim, dim, seed=seed)
    return root @ root.T / dim


def near(a, b, relative=1e-9, absolute=0.0):
    assert math.isclose(a, b, rel_tol=relative, abs_tol=absolute), (a, b)


# ---------------------------------------------------------------- closed forms


def test_one_dimension():
    """(m_a - m_b)^2 + (s_a - s_b)^2, from moments and from four points that have them."""
    for m, n, s, r in ((0.0, 3.0, 1.0, 1.0), (-1.0, 1.5, 2.0, 0.5), (0.0, 0.0, 0.0, 2.0), (5.0, 5.0, 0.3, 0.3)):
        wanted = (m - n) ** 2 + (s - r) ** 2
        at = [torch.tensor(v, dtype=torch.float64) for v in ([m], [[s * s]], [n], [[r * r]])]
        near(metrics.frechet_distance_of(*at), wanted, absolute=1e-12)
        unit = torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64)[:, None] * math.sqrt(3 / 4)  # variance 1
        near(metrics.frechet_distance(m + s * unit, n + r * unit), wanted, absolute=1e-12)


def test_dimensions_that_do_not_correlate_add_up():
    m, n, s, r = draws(6), draws(6, seed=1), draws(6, seed=2).abs(), draws(6, seed=3).abs()
    wanted = ((m - n) ** 2 + (s - r) ** 2).sum().item()
    near(metrics.frechet_distance_of(m, (s * s).diag(), n, (r * r).diag()), wanted)


def test_covariances_that_commute_in_rotated_axes():
    """The same numbers along common axes, whichever way these point: here the diagonals alone do not suffice."""
    q, s, r = rotation(5), draws(5, seed=1).abs(), draws(5, seed=2).abs()
    zero = torch.zeros(5)
    got = metrics.frechet_distance_of(zero, q @ (s * s).diag() @ q.T, zero, q @ (r * r).diag() @ q.T)
    near(got, ((s - r) ** 2).sum().item())


def test_two_by_two_by_hand():
    """Tr (AB)^(1/2) = sqrt(Tr AB + 2 sqrt(det AB)) in two dimensions, by Cayley and Hamilton."""
    a = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    b = torch.tensor([[1.0, -0.5], [-0.5, 4.0]])
    # Tr AB = 2 - 0.5 - 0.5 + 12 = 13, det A = 5, det B = 3.75; the means are (3, 4) apart.
    wanted = 25 + 5 + 5 - 2 * math.sqrt(13 + 2 * math.sqrt(18.75))
    near(metrics.frechet_distance_of(torch.zeros(2), a, torch.tensor([3.0, 4.0]), b), wanted)


def test_against_scipys_matrix_root():
    """Covariances that do not commute: Tr of the root of A B, as the usual codes have it."""
    for dim in (2, 7, 40):
        a, b, m, n = covariance(dim, 1), covariance(dim, 2), draws(dim, seed=3), draws(dim, seed=4)
        assert (a @ b - b @ a).abs().max() > 1e-3
        root = scipy.linalg.sqrtm((a @ b).numpy())
        wanted = ((m - n) ** 2).sum().item() + np.trace(a.numpy() + b.numpy() - 2 * root.real)
        near(metrics.frechet_distance_of(m, a, n, b), wanted, 1e-8)


# ---------------------------------------------------------------- from samples


def test_moments_are_numpys():
    f = draws(30, 4) @ draws(4, 4, seed=1) + draws(4, seed=2)
    mean, cov = metrics.moments(f.float())
    assert mean.dtype == cov.dtype == torch.float64
    np.testing.assert_allclose(mean, f.float().double().numpy().mean(0), atol=1e-12)
    np.testing.assert_allclose(cov, np.cov(f.float().double().numpy(), rowvar=False), atol=1e-12)


def test_features_far_from_zero_keep_their_digits():
    x, y = draws(50, 3), draws(60, 3, seed=1)
    near(metrics.frechet_distance(x + 1e6, y + 1e6), metrics.frechet_distance(x, y), 1e-6)


def test_fewer_samples_than_dimensions():
    """Singular covariances: Tr of the root is the nuclear norm of X_a X_b^T, which needs no covariance at all."""
    x, y = draws(5, 40), 0.5 + 2 * draws(9, 40, seed=1)
    u, v = x - x.mean(0), y - y.mean(0)
    trace = torch.linalg.matrix_norm(u @ v.T, "nuc") / math.sqrt(4 * 8)
    spread = u.square().sum() / 4 + v.square().sum() / 8 - 2 * trace
    wanted = (x.mean(0) - y.mean(0)).square().sum() + spread
    near(metrics.frechet_distance(x, y), wanted.item(), 1e-12)


def test_covariances_with_nothing_in_common():
    """Each is flat where the other is not: nothing is shared, and the traces stay."""
    q, zero = rotation(4), torch.zeros(4)
    a, b = (q @ torch.tensor(d, dtype=torch.float64).diag() @ q.T for d in ([4.0, 1, 0, 0], [0.0, 0, 2, 3]))
    near(metrics.frechet_distance_of(zero, a, zero, b), 10.0, 1e-12)


def test_a_set_is_at_no_distance_from_itself():
    """Also where the covariance is singular, where roots of rounding errors would show; and never below zero."""
    for shape in ((200, 8), (4, 60), (300, 64), (2, 1)):
        x = 10 * draws(*shape)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
        for other in (x, x[order]):
            got = metrics.frechet_distance(x, other)
            assert isinstance(got, float) and 0 <= got < 1e-10, got


def test_sets_of_one_point():
    """Covariances of zero: the distance of the points."""
    near(metrics.frechet_distance(torch.zeros(3, 2), torch.tensor([[3.0, 4.0]]).repeat(5, 1)), 25.0)


def test_it_is_symmetric_and_does_not_see_rotations_shifts_or_order():
    x, y, q, c = draws(50, 6), 1 + 2 * draws(70, 6, seed=1) @ covariance(6, 2), rotation(6, 3), 5 * draws(6, seed=4)
    d = metrics.frechet_distance(x, y)
    near(metrics.frechet_distance(y, x), d)
    near(metrics.frechet_distance(x @ q + c, y @ q + c), d)
    near(metrics.frechet_distance(3 * x, 3 * y), 9 * d)
    near(metrics.frechet_distance(x.flip(0), y.roll(7, 0)), d)


def test_its_bias_falls_as_one_over_n():
    """Two sets of one distribution: four times the samples, a quarter of the distance."""

    def mean_at(n):
        return np.mean([metrics.frechet_distance(draws(n, 8, seed=i), draws(n, 8, seed=1000 + i)) for i in range(30)])

    few, many = mean_at(200), mean_at(800)
    assert 3.4 < few / many < 4.6
    assert many > 0.02


def test_single_precision_and_gradients_are_taken():
    x, y = draws(50, 6), 1 + draws(70, 6, seed=1)
    d = metrics.frechet_distance(x, y)
    near(
        metrics.frechet_distance(x.float().requires_grad_(), y), metrics.frechet_distance(x.float().double(), y), 1e-12
    )
    low = [v.float() for v in (*metrics.moments(x), *metrics.moments(y))]
    near(metrics.frechet_distance_of(*low), d, 1e-5)


# ---------------------------------------------------------------- bad inputs

NAN = torch.tensor([[1.0, 2.0], [float("nan"), 0.0]])
GOOD = torch.zeros(3, 2)
BAD_SETS = {
    "one row": (torch.zeros(5), GOOD, ShapeError, r"a must be \(N, D\).*got \(5,\)"),
    "images": (GOOD, torch.zeros(3, 1, 8, 8), ShapeError, r"b must be \(N, D\).*features\.load"),
    "no features": (torch.zeros(3, 0), torch.zeros(3, 0), ShapeError, r"a must be \(N, D\)"),
    "another number of features": (GOOD, torch.zeros(3, 4), ShapeError, r"one shape, got \(2,\) and \(4,\)"),
    "NaN": (NAN, GOOD, DataError, "a holds NaN or infinity in 1 of 4"),
    "infinity": (GOOD, GOOD + float("inf"), DataError, "b holds NaN or infinity in 6 of 6"),
    "one sample": (GOOD, torch.zeros(1, 2), DataError, "b has 1 samples; at least 2"),
    "no sample": (torch.zeros(0, 2), GOOD, DataError, "a has 0 samples"),
    "numpy": (np.zeros((3, 2)), GOOD, DataError, r"got ndarray.*as_tensor\(a\)"),
    "complex": (GOOD, GOOD + 0j, DataError, "b must be .* real numbers, got torch.complex64"),
}


@pytest.mark.parametrize(("a", "b", "error", "words"), BAD_SETS.values(), ids=BAD_SETS)
def test_sets_that_cannot_be_compared(a, b, error, words):
    with pytest.raises(error, match=f"(?s){words}"):
        metrics.frechet_distance(a, b)


ZERO, EYE = torch.zeros(2), torch.eye(2)
BAD_MOMENTS = {
    "standard deviations": (ZERO, torch.ones(2), ShapeError, r"cov_a \(D, D\), got \(2,\) and \(2,\)"),
    "another size": (torch.zeros(3), EYE, ShapeError, r"got \(3,\) and \(2, 2\)"),
    "a mean with a row too many": (ZERO[None], EYE, ShapeError, r"mean_a must be \(D,\)"),
    "not symmetric": (ZERO, torch.tensor([[1.0, 0.5], [0.0, 1.0]]), DataError, "cov_a is no covariance"),
    "not positive": (ZERO, torch.tensor([[1.0, 2.0], [2.0, 1.0]]), DataError, "cov_a is no covariance"),
    "NaN": (ZERO * float("nan"), EYE, DataError, "mean_a holds NaN"),
}


@pytest.mark.parametrize(("mean", "cov", "error", "words"), BAD_MOMENTS.values(), ids=BAD_MOMENTS)
def test_moments_that_cannot_be(mean, cov, error, words):
    with pytest.raises(error, match=f"(?s){words}"):
        metrics.frechet_distance_of(mean, cov, ZERO, EYE)


def test_moments_of_different_sizes():
    with pytest.raises(ShapeError, match=r"the means of a and b .* \(2,\) and \(3,\)"):
        metrics.frechet_distance_of(ZERO, EYE, torch.zeros(3), torch.eye(3))


def test_one_sample_has_no_covariance():
    with pytest.raises(DataError, match="at least 2"):
        metrics.moments(torch.zeros(1, 2))
