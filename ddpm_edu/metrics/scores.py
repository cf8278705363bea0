"""What a classifier says of generated images: how sure and how varied its answers are, and whether it was obeyed.

Neither number looks at a real image. Computed in float64 on the CPU, from logits, such as those of
``metrics.features.load(...).logits(images)``.

Shapes: N images, K classes.
"""

import math

import torch
from torch import Tensor

from ddpm_edu.errors import ConfigError, DataError, ShapeError
from ddpm_edu.metrics.inputs import feature_set


def inception_score(logits: Tensor, splits: int = 1) -> float:
    """exp of the mean over images of KL(p(y | x) || p(y)), from ``logits`` (N, K): Salimans et al. 2016, section 4.

    p(y) is the mean of p(y | x) over the same images. The score lies in 1..K: K where every image is surely of one
    class and all classes are equally frequent, 1 where all answers are the same. With ``splits`` > 1 it is the mean of
    the scores of that many consecutive parts (the paper: 10 of 5,000 images); images in the order of their classes must
    then be shuffled first. It is biased downwards for few images: a single one scores 1.

    It never looks at the reference data, and at images only through the classifier. It cannot see that images are
    copies of training images, that each class is a single image, that classes have the wrong shares where these should
    differ, or that images are unlike any real one while the classifier is sure of them (guidance raises the score
    while the Frechet distance grows). Use it beside a distance, never alone. With any other classifier than the
    Inception network it compares only with values of the same classifier. Raises ShapeError unless logits are (N, K),
    DataError for NaN and infinity, ConfigError unless splits is in 1..N.
    """
    logits = feature_set(logits, "logits", least=1)
    if not isinstance(splits, int) or not 1 <= splits <= len(logits):
        raise ConfigError(f"splits must be a whole number in 1..{len(logits)}, the images; got {splits!r}. Fix: 1.")
    return sum(score(part) for part in logits.tensor_split(splits)) / splits


def score(logits: Tensor) -> float:
    """The inception score of one part, from float64 ``logits`` (N, K)."""
    log_each = logits.log_softmax(1)
    log_mean = log_each.logsumexp(0) - math.log(len(logits))
    # An answer so sure that p underflows to 0 counts 0 here, as p log p does in the limit: log p itself is finite.
    return (log_each.exp() * (log_each - log_mean)).sum(1).mean().exp().item()


def agreement(logits: Tensor, labels: Tensor) -> float:
    """The share of images that the classifier takes for the class that was asked for, in 0..1.

    ``logits``: (N, K); ``labels``: int64 (N,), 0..K-1, with which the images were sampled. Of equal logits the first
    counts. The classifier errs, too: give its accuracy on real images beside this. Images of one kind for each class
    score as well as varied ones. Raises ShapeError for other shapes or dtypes, DataError for labels that are no class,
    for no images, NaN and infinity.
    """
    logits = feature_set(logits, "logits", least=1)
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.shape != logits.shape[:1]:
        given = f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
        raise ShapeError(
            f"labels must be int64 ({len(logits)},), one for each row of logits; got {given}. Usual cause: one-hot "
            "labels, or those of another batch. Fix: labels.argmax(1) for one-hot, labels.long() for whole numbers."
        )
    labels, classes = labels.cpu(), logits.shape[1]
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"labels span [{int(labels.min())}, {int(labels.max())}]; a classifier of {classes} classes knows "
            f"0..{classes - 1}. Usual cause: guidance's label for no class. Fix: leave such images out."
        )
    return (logits.argmax(1) == labels).double().mean().item()
