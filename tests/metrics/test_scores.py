"""Scores of a classifier against loops, their bounds, sums that are known; and what the inception score cannot see."""

import functools
import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ddpm_edu import data, metrics
from ddpm_edu.errors import ConfigError, DataError, ShapeError


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def near(a, b, relative=1e-12):
    assert math.isclose(a, b, rel_tol=relative), (a, b)


def by_loops(logits):
    """exp(E sum_y p(y|x) log(p(y|x) / p(y))), number by number."""
    each = []
    for row in logits.tolist():
        weights = [math.exp(v) for v in row]
        each.append([w / sum(weights) for w in weights])
    mean = [sum(p[y] for p in each) / len(each) for y in range(len(each[0]))]
    return math.exp(sum(p[y] * math.log(p[y] / mean[y]) for p in each for y in range(len(mean))) / len(each))


# ---------------------------------------------------------------- inception score


def test_the_score_is_a_sum_over_images_and_classes():
    for n, k, scale in ((1, 3, 1), (7, 4, 0.1), (20, 10, 3)):
        logits = scale * draws(n, k)
        near(metrics.inception_score(logits), by_loops(logits))
        near(metrics.inception_score(logits.float()), by_loops(logits.float()))
        near(metrics.inception_score(logits + 5), by_loops(logits), 1e-10)


def test_one_class_in_two_by_hand():
    """Two images, p = (3/4, 1/4) and (1/4, 3/4): p(y) is even, and KL = 3/4 log 3/2 + 1/4 log 1/2."""
    logits = torch.tensor([[3.0, 1.0], [1.0, 3.0]]).log()
    near(metrics.inception_score(logits.double()), 1.5**0.75 * 0.5**0.25, 1e-7)


def test_its_bounds():
    """All classes, surely, equally often: K. The same answer always: 1. Half of the classes: K / 2."""
    sure = 50 * torch.eye(8, dtype=torch.float64)
    near(metrics.inception_score(sure.repeat(5, 1)), 8)
    near(metrics.inception_score(sure[:4].repeat(5, 1)), 4)
    near(metrics.inception_score(draws(1, 8).repeat(5, 1)), 1)


def test_answers_that_are_surer_than_numbers_can_say():
    """p underflows to 0 beside a logit of 10^4, and p log p is 0, not NaN."""
    near(metrics.inception_score(1e4 * torch.eye(3)), 3)


def test_splits_are_consecutive_parts():
    logits = 3 * draws(11, 4)
    parts = [by_loops(logits[i:j]) for i, j in ((0, 4), (4, 8), (8, 11))]
    near(metrics.inception_score(logits, splits=3), np.mean(parts))
    near(metrics.inception_score(logits, splits=11), 1)


def test_images_in_the_order_of_their_classes_must_be_shuffled_before_they_are_split():
    sure = 50 * torch.eye(4, dtype=torch.float64).repeat_interleave(5, 0)
    near(metrics.inception_score(sure, splits=4), 1)
    near(metrics.inception_score(sure[torch.arange(20).reshape(4, 5).T.flatten()], splits=5), 4)


# ---------------------------------------------------------------- what it sees, in digits


@functools.cache
def digits():
    found = data.digits()
    return found.model_range(), found.labels, metrics.features.load("digits")


def score(images):
    return metrics.inception_score(digits()[2].logits(images))


def frechet(images):
    x, _, extractor = digits()
    return metrics.frechet_distance(extractor.features(x), extractor.features(images))


def test_noise_blur_and_lost_classes_cost_score():
    x, labels, _ = digits()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    found = [score(images) for images in (x, *((x + std * noise).clamp(-1, 1) for std in (0.2, 0.4, 0.8)))]
    assert all(less < 0.9 * more for more, less in itertools.pairwise(found)), found
    assert score(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)) < 0.6 * found[0]
    assert score(x[labels < 5]) < 0.6 * found[0]


def test_it_cannot_see_that_each_class_is_one_image():
    """One training image a class, the surest, again and again: a better score than all digits, far as it is from them.

    Recall and the distance to the training set see it at once.
    """
    x, labels, extractor = digits()
    sure = extractor.logits(x).log_softmax(1)
    ten = torch.stack([x[labels == c][sure[labels == c, c].argmax()] for c in range(10)])
    again = ten.repeat(60, 1, 1, 1)
    assert score(again) > score(x) + 1
    assert frechet(again) > 20 * frechet(x[:600])
    assert metrics.precision_recall(extractor.features(x), extractor.features(again)).recall < 0.05
    assert metrics.nearest(again, x).distance.max() == 0


# ---------------------------------------------------------------- agreement


def test_agreement_is_a_share():
    logits = torch.tensor([[1.0, 2, 0], [5, 1, 1], [0, 0, 3], [2, 2, 1]])
    assert metrics.agreement(logits, torch.tensor([1, 0, 1, 0])) == 0.75
    assert metrics.agreement(logits, torch.tensor([1, 0, 2, 1])) == 0.75, "of equal ones the first"
    assert metrics.agreement(logits, torch.tensor([2, 2, 0, 2])) == 0


def test_agreement_with_digits_and_with_wrong_labels():
    x, labels, extractor = digits()
    logits = extractor.logits(x)
    right = metrics.agreement(logits, labels)
    assert right > 0.98
    assert right == np.mean([int(np.argmax(row)) == label for row, label in zip(logits.numpy(), labels, strict=True)])
    assert metrics.agreement(logits, (labels + 1) % 10) < 0.02
    half = torch.where(torch.arange(len(x)) % 2 == 0, labels, (labels + 1) % 10)
    assert abs(metrics.agreement(logits, half) - 0.5) < 0.02


# ---------------------------------------------------------------- bad inputs

GOOD = torch.zeros(3, 4)
BAD = {
    "probabilities of one image": (torch.zeros(4), {}, ShapeError, r"logits must be \(N, D\).*got \(4,\)"),
    "no images": (torch.zeros(0, 4), {}, DataError, "logits has 0 samples"),
    "infinity": (GOOD - math.inf, {}, DataError, "logits holds NaN or infinity in 12 of 12"),
    "no parts": (GOOD, {"splits": 0}, ConfigError, r"splits must be a whole number in 1\.\.3.* got 0"),
    "more parts than images": (GOOD, {"splits": 4}, ConfigError, "got 4"),
    "half a part": (GOOD, {"splits": 1.5}, ConfigError, "got 1.5"),
}


@pytest.mark.parametrize(("logits", "options", "error", "words"), BAD.values(), ids=BAD)
def test_logits_without_a_score(logits, options, error, words):
    with pytest.raises(error, match=f"(?s){words}"):
        metrics.inception_score(logits, **options)


BAD_LABELS = {
    "one-hot": (torch.zeros(3, 4, dtype=torch.int64), ShapeError, r"int64 \(3,\).* torch.int64 \(3, 4\).*argmax"),
    "floats": (torch.zeros(3), ShapeError, "got torch.float32"),
    "another batch": (torch.zeros(2, dtype=torch.int64), ShapeError, r"got torch.int64 \(2,\)"),
    "a list": ([0, 1, 2], ShapeError, "got list"),
    "no class": (torch.tensor([0, 1, 4]), DataError, r"span \[0, 4\].* 0\.\.3"),
    "negative": (torch.tensor([0, -1, 3]), DataError, r"span \[-1, 3\]"),
}


@pytest.mark.parametrize(("labels", "error", "words"), BAD_LABELS.values(), ids=BAD_LABELS)
def test_labels_that_cannot_be(labels, error, words):
    with pytest.raises(error, match=f"(?s){words}"):
        metrics.agreement(GOOD, labels)
