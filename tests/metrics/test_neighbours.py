"""Neighbours against loops and scikit-learn, counts by hand, the law of the memorisation check; and what they see."""

import fractions
import functools
import itertools
import math
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import NearestNeighbors

from ddpm_edu import data, metrics
from ddpm_edu.errors import ConfigError, DataError, ShapeError
from ddpm_edu.metrics import neighbours


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def line(*numbers):
    return torch.tensor(numbers)[:, None]


# ---------------------------------------------------------------- precision and recall


def by_loops(real, generated, k):
    def inside(points, centres):
        reach = [sorted(math.dist(c, d) for j, d in enumerate(centres) if j != i)[k - 1] for i, c in enumerate(centres)]
        return np.mean([any(math.dist(p, c) <= r for c, r in zip(centres, reach, strict=True)) for p in points])

    real, generated = real.tolist(), generated.tolist()
    return inside(generated, real), inside(real, generated)


def test_precision_and_recall_are_counts_of_balls():
    for n, m, k, dim in ((12, 9, 1, 2), (9, 14, 3, 3), (30, 30, 2, 1), (5, 4, 3, 6)):
        real, generated = draws(n, dim), 0.8 + 1.5 * draws(m, dim, seed=1)
        assert metrics.precision_recall(real, generated, k) == by_loops(real, generated, k)
    assert 0 < by_loops(draws(30, 1), 0.8 + 1.5 * draws(30, 1, seed=1), 2)[0] < 1


def test_precision_and_recall_by_hand():
    """Balls about 0, 1, 4 reach to 1, 1, 3: all of [-1, 7]. Balls about 2, 6, 20 reach to 4, 4, 14: all of [-2, 34]."""
    assert metrics.precision_recall(line(0.0, 1.0, 4.0), line(2.0, 6.0, 20.0), k=1) == (2 / 3, 1)
    assert metrics.precision_recall(line(2.0, 6.0, 20.0), line(0.0, 1.0, 4.0), k=1) == (1, 2 / 3)


def test_the_surface_belongs_to_the_ball():
    """The ball about 1 reaches 2 and -1 to 3, not further."""
    assert metrics.precision_recall(line(-1.0, 1.0), line(3.0, 3.5), k=1).precision == 0.5


def test_against_scikit_learn():
    real, generated = draws(200, 8), 0.2 + draws(150, 8, seed=1)
    got = []
    for centres, points in ((real, generated), (generated, real)):
        reach = NearestNeighbors(n_neighbors=3).fit(centres.numpy()).kneighbors()[0][:, -1]
        apart = torch.cdist(points, centres).numpy()
        got.append((apart <= reach).any(1).mean())
    assert metrics.precision_recall(real, generated) == tuple(got)
    assert 0.1 < got[0] < 1 and 0.1 < got[1] < 1


def test_a_set_covers_itself_and_a_far_one_covers_nothing():
    x = draws(40, 3)
    assert metrics.precision_recall(x, x) == (1, 1)
    assert metrics.precision_recall(x, x.flip(0), k=1) == (1, 1)
    assert metrics.precision_recall(x, x + 100) == (0, 0)


def test_copies_are_neighbours_at_no_distance():
    """Thrice 0: with k = 2 its ball is a point, which still has itself. With k = 3 it reaches to 5."""
    real, generated = line(0.0, 0.0, 0.0, 5.0), line(0.0, 1.0, 9.0, 1e-9)
    assert metrics.precision_recall(real[:3], generated[:3], k=2).precision == 1 / 3
    assert metrics.precision_recall(real, generated, k=3).precision == 1
    assert metrics.precision_recall(real[:3], generated[[0, 3, 2]], k=1).precision == 1 / 3, "points are points"


def test_parts_change_nothing():
    real, generated = draws(23, 3), 0.8 + draws(17, 3, seed=1)
    whole = metrics.precision_recall(real, generated), metrics.nearest(generated, real)
    for pairs in (1, 40, 130):
        with mock.patch("ddpm_edu.metrics.neighbours.PAIRS", pairs):
            assert metrics.precision_recall(real, generated) == whole[0]
            assert all(map(torch.equal, metrics.nearest(generated, real), whole[1]))


# ---------------------------------------------------------------- the nearest


def test_the_nearest_by_loops():
    samples, training = draws(9, 2, 3), draws(14, 2, 3, seed=1)
    got = metrics.nearest(samples, training)
    for i, one in enumerate(samples.flatten(1).tolist()):
        apart = [math.dist(one, other) for other in training.flatten(1).tolist()]
        assert got.index[i] == int(np.argmin(apart))
        assert math.isclose(got.distance[i], min(apart), rel_tol=1e-12)
    assert got.distance.dtype == torch.float64 and got.index.dtype == torch.int64


def test_a_copy_is_at_zero_exactly():
    """Far from the origin, where |a|^2 + |b|^2 - 2 a.b leaves its rounding errors; and of two copies the first."""
    training = 100 + draws(300, 50)
    training[200] = training[7]
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    got = metrics.nearest(training[order], training)
    assert (got.distance == 0).all()
    assert torch.equal(got.index, torch.where(order == 200, 7, order))


def test_of_equally_near_ones_the_first():
    training = line(*[1.0, -1.0] * 200)
    assert metrics.nearest(line(0.0, 0.5, -0.5), training).index.tolist() == [0, 0, 1]


def test_bytes_are_taken_as_numbers():
    """Differences of uint8 would wrap around."""
    got = metrics.nearest(torch.tensor([[[3]], [[250]]], dtype=torch.uint8), torch.tensor([[[5]]], dtype=torch.uint8))
    assert got.distance.tolist() == [2, 245]


# ---------------------------------------------------------------- memorised: the law


def test_the_threshold_and_the_share_by_hand():
    """Of 9 held-out distances at level 0.2 the 2nd smallest is the threshold, 1 in 5 is expected; equal is not less."""
    held_out = torch.tensor([9.0, 3, 5, 1, 7, 8, 4, 6, 2]).double()
    got = neighbours.below(torch.tensor([2.0, 1.9, 0.5, 3.0]).double(), held_out, 0.2)
    assert (got.threshold, got.share, got.expected) == (2, 0.5, 0.2)
    assert got.which.tolist() == [False, True, True, False]
    assert neighbours.below(held_out, held_out, 0.29).threshold == 2
    # 0.29 * 100 is 28.999999999999996
    assert neighbours.below(held_out, torch.arange(1.0, 100), 0.29).threshold == 29


def test_its_p_value_is_a_count_of_orders():
    """All orders of n samples and H held-out are equally likely; in C(x + k - 1, x) C(n - x + H - k, n - x) of
    C(n + H, n) do x samples come before the k-th held-out one. In whole numbers.
    """
    held_out, h, k = torch.arange(1.0, 200).double(), 199, 2
    for n, seen in ((5, 0), (5, 1), (5, 5), (300, 3), (300, 12), (1500, 40)):
        orders = [math.comb(x + k - 1, x) * math.comb(n - x + h - k, n - x) for x in range(n + 1)]
        assert sum(orders) == math.comb(n + h, n)
        samples = torch.cat([torch.full((seen,), 0.5), torch.full((n - seen,), 50.0)]).double()
        wanted = float(fractions.Fraction(sum(orders[seen:]), sum(orders)))
        assert math.isclose(neighbours.below(samples, held_out, 0.01).p_value, wanted, rel_tol=1e-9), (n, seen)


def test_new_real_images_are_as_near_as_expected():
    """Draws of one distribution: the mean share is k / (H + 1), and p-values below 5% come in at most 5%."""
    g = torch.Generator().manual_seed(0)
    got = [neighbours.below(torch.rand(60, generator=g), torch.rand(39, generator=g), 0.1) for _ in range(3000)]
    share = np.array([one.share for one in got])
    assert got[0].expected == 0.1
    assert abs(share.mean() - 0.1) < 4 * share.std() / math.sqrt(len(share))
    assert 0.035 < np.mean([one.p_value <= 0.05 for one in got]) < 0.058


def test_the_ratio_by_hand():
    near = torch.tensor([[1.0, 2, 3], [2, 2, 2], [0, 1, 5], [0, 0, 0]]).double()
    assert neighbours.ratio(near).tolist() == [0.5, 1, 0, 0]


def test_the_ratio_is_to_the_fifty_nearest():
    training, samples = draws(120, 4), draws(7, 4, seed=1)
    apart = np.sort(np.linalg.norm(samples[:, None].numpy() - training[None].numpy(), axis=2), axis=1)
    got = metrics.memorised(samples, training, draws(99, 4, seed=2))
    np.testing.assert_allclose(got.ratios, apart[:, 0] / apart[:, :50].mean(1), rtol=1e-12)
    few = metrics.memorised(samples, training[:3], draws(99, 4, seed=2))
    assert ((few.ratios > 0) & (few.ratios < 1)).all()


def test_the_whole_check_by_loops():
    training, held_out = draws(60, 3), draws(99, 3, seed=1)
    samples = torch.cat([draws(10, 3, seed=2), training[:5] + 1e-3, 10 + draws(3, 3, seed=3)])
    got = metrics.memorised(samples, training, held_out, level=0.05)

    def closest(x):
        return np.linalg.norm(x[:, None].numpy() - training[None].numpy(), axis=2).min(1)

    threshold = np.sort(closest(held_out))[4]
    assert math.isclose(got.distance.threshold, threshold, rel_tol=1e-12)
    assert got.distance.which.tolist() == (closest(samples) < threshold).tolist()
    assert got.distance.share == (closest(samples) < threshold).mean() and got.distance.which[10:15].all()
    assert got.distance.expected == got.ratio.expected == 0.05
    assert all(map(torch.equal, got.nearest, metrics.nearest(samples, training)))


# ---------------------------------------------------------------- what they see, in digits


@functools.cache
def digits():
    """Real images in random order with their labels, and their features."""
    found = data.digits()
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(0))
    x = found.model_range()[order]
    return x, found.labels[order], metrics.features.load("digits")


def against_real(images):
    x, _, extractor = digits()
    return metrics.precision_recall(extractor.features(x[:600]), extractor.features(images))


def blurred(images):
    return F.avg_pool2d(images, 3, 1, 1, count_include_pad=False)


def noisy(images, std):
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + std * noise).clamp(-1, 1)


def test_noise_and_blur_cost_precision():
    x = digits()[0][600:1200]
    found = [against_real(images).precision for images in (x, noisy(x, 0.2), noisy(x, 0.4), noisy(x, 0.8))]
    assert found[0] > 0.85 and all(less < more - 0.05 for more, less in itertools.pairwise(found)), found
    assert against_real(blurred(x)).precision < 0.7


def test_a_lost_class_costs_recall_alone():
    x, labels, _ = digits()
    x, labels = x[600:1200], labels[600:1200]
    everything = against_real(x)
    for lost in (0, 3, 8):
        rest = against_real(x[labels != lost])
        assert rest.recall < everything.recall - 0.05, (lost, rest)
        assert abs(rest.precision - everything.precision) < 0.02, (lost, rest)


def test_few_images_again_and_again_cost_recall_alone():
    x, labels, _ = digits()
    few = torch.cat([x[600:][labels[600:] == c][:2] for c in range(10)]).repeat(30, 1, 1, 1)
    everything, got = against_real(x[600:1200]), against_real(few)
    assert abs(got.precision - everything.precision) < 0.05 and got.recall < 0.05
    assert metrics.nearest(few, x).distance.max() == 0


def test_copies_are_caught_and_new_images_are_not():
    x = digits()[0]
    training, held_out, new = x[:1200], x[1200:1500], x[1500:]
    for real in (metrics.memorised(new, training, held_out), metrics.memorised(held_out, training, new)):
        assert real.distance.share < 0.03 and real.ratio.share < 0.03
        assert real.distance.p_value > 0.05 and real.ratio.p_value > 0.05
    for images in (training[:300], noisy(training[:300], 0.05)):
        copies = metrics.memorised(images, training, held_out)
        assert copies.distance.share == copies.ratio.share == 1 and copies.distance.p_value < 1e-30
        assert torch.equal(copies.nearest.index, torch.arange(300))
    some = metrics.memorised(torch.cat([new, training[:15]]), training, held_out)
    assert some.distance.which[-15:].all() and some.ratio.which[-15:].all()
    assert some.distance.p_value < 0.01 and some.ratio.p_value < 0.01


def test_a_training_image_that_stands_twice_is_caught():
    """It is the likeliest to be memorised, and nearest and second nearest are then alike."""
    x = digits()[0]
    training, held_out = torch.cat([x[:1200], x[:20]]), x[1200:1500]
    twice = metrics.memorised(noisy(x[:20], 0.05), training, held_out)
    assert twice.distance.share == twice.ratio.share == 1


def test_a_plain_image_is_near_and_no_copy():
    """In 64 dimensions the mean is 8 from every normal draw, which are 11 from one another."""
    plain = metrics.memorised(0.05 * draws(50, 64), draws(500, 64, seed=1), draws(300, 64, seed=2))
    assert plain.distance.share == 1 and plain.ratio.share == 0


def test_precision_and_recall_do_not_see_copying():
    """What the check is for: the training set itself scores as well as new images do."""
    x, _, extractor = digits()
    f = extractor.features(x)
    copies, new = metrics.precision_recall(f[:600], f[:600]), metrics.precision_recall(f[:600], f[600:1200])
    assert copies.precision >= new.precision and copies.recall >= new.recall
    assert metrics.memorised(f[:600], f[:600], f[600:1200]).distance.share == 1


# ---------------------------------------------------------------- bad inputs

GOOD = torch.zeros(5, 2)
BAD_SETS = {
    "images": (torch.zeros(5, 1, 8, 8), GOOD, 3, ShapeError, r"real must be \(N, D\).*features\.load"),
    "another width": (GOOD, torch.zeros(5, 4), 3, ShapeError, r"real and generated .* \(2,\) and \(4,\)"),
    "too few": (GOOD, GOOD[:3], 3, DataError, "generated has 3 samples; at least 4"),
    "NaN": (GOOD, GOOD * float("nan"), 3, DataError, "generated holds NaN"),
    "k = 0": (GOOD, GOOD, 0, ConfigError, "k must be a whole number >= 1.* got 0"),
    "half a k": (GOOD, GOOD, 1.5, ConfigError, "got 1.5"),
}


@pytest.mark.parametrize(("real", "generated", "k", "error", "words"), BAD_SETS.values(), ids=BAD_SETS)
def test_sets_without_precision(real, generated, k, error, words):
    with pytest.raises(error, match=f"(?s){words}"):
        metrics.precision_recall(real, generated, k)


IMAGES = torch.zeros(5, 1, 2, 2)
BAD_IMAGES = {
    "plain numbers": (torch.zeros(5), torch.zeros(5), ShapeError, r"samples must be \(N, D\)"),
    "one image": (IMAGES[0], IMAGES, ShapeError, r"samples and training .* \(2, 2\) and \(1, 2, 2\)"),
    "flattened and not": (IMAGES.flatten(1), IMAGES, ShapeError, r"\(4,\) and \(1, 2, 2\)"),
    "no sample": (IMAGES[:0], IMAGES, DataError, "samples has 0 samples"),
    "no training": (IMAGES, IMAGES[:0], DataError, "training has 0 samples"),
    "NaN": (IMAGES, IMAGES * float("nan"), DataError, "training holds NaN"),
}


@pytest.mark.parametrize(("samples", "training", "error", "words"), BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_images_without_neighbours(samples, training, error, words):
    with pytest.raises(error, match=f"(?s){words}"):
        metrics.nearest(samples, training)
    with pytest.raises(error, match=f"(?s){words}"):
        metrics.memorised(samples, training, torch.zeros(99, *training.shape[1:]))


def test_held_out_images_that_cannot_judge():
    training = draws(20, 4)
    with pytest.raises(DataError, match="held_out has 98 samples; at least 99"):
        metrics.memorised(training, training, draws(98, 4, seed=1))
    with pytest.raises(DataError, match="20 of 119 held-out images stand in the training set"):
        metrics.memorised(training, training, torch.cat([training, draws(99, 4, seed=1)]))
    with pytest.raises(ShapeError, match="held_out and training"):
        metrics.memorised(training, training, draws(99, 5))
    with pytest.raises(DataError, match="training has 1 samples; at least 2"):
        metrics.memorised(training, training[:1], draws(99, 4, seed=1))


@pytest.mark.parametrize("level", [0, 1, -0.1, math.nan])
def test_levels_that_cannot_be(level):
    with pytest.raises(ConfigError, match="level must lie between 0 and 1"):
        metrics.memorised(draws(9, 2), draws(9, 2), draws(99, 2, seed=1), level)
