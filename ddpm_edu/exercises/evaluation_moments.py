"""The check of notebook 06 on moments, batch by batch. The oracle sums over rows, in plain floats."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from ddpm_edu.exercises.evaluation_judge import Row, judge, matrix, mean_and_products
from ddpm_edu.exercises.frame import CheckFailed, call, check, tensor_like

_SIZES = (6, 6, 6, 3)
Batches = Sequence[Sequence[Row]]


def _flat(mean: Row, covariance: list[Row]) -> Row:
    return [*mean, *itertools.chain(*covariance)]


def _whole(batches: Batches, less: float = 1) -> Row:
    rows = [row for batch in batches for row in batch]
    return _flat(*mean_and_products(rows, len(rows) - less))


def _averaged(parts: Sequence[Row], weights: Sequence[float]) -> Row:
    return [
        sum(w * v for w, v in zip(weights, column, strict=True)) / sum(weights) for column in zip(*parts, strict=True)
    ]


def _each(batches: Batches) -> list[Row]:
    return [_flat(*mean_and_products(batch, len(batch) - 1)) for batch in batches]


def _mixed(batches: Batches, mean: Row, covariance: Row) -> Row:
    d = len(batches[0][0])
    return [*mean[:d], *covariance[d:]]


def _about(mean: Row, rows: Sequence[Row], divisor: float) -> list[Row]:
    """Products of the deviations from ``mean``, summed over rows, over ``divisor``."""
    d = range(len(mean))
    return [[sum((row[i] - mean[i]) * (row[j] - mean[j]) for row in rows) / divisor for j in d] for i in d]


def _second_moments(batches: Batches, less: float, centred: bool = False) -> Row:
    """The mean, and sums of x x^T over n - ``less``; ``centred``: minus mean mean^T, as is right for less = 0 alone."""
    rows = [row for batch in batches for row in batch]
    mean, d = mean_and_products(rows, 1)[0], range(len(rows[0]))
    products = _about([0.0] * len(mean), rows, len(rows) - less)
    return _flat(mean, [[products[i][j] - centred * mean[i] * mean[j] for j in d] for i in d])


def _mean_of_means(batches: Batches) -> Row:
    """Everything about the mean of the batches' means."""
    rows = [row for batch in batches for row in batch]
    mean = _averaged([mean_and_products(batch, 1)[0] for batch in batches], [1] * len(batches))
    return _flat(mean, _about(mean, rows, len(rows) - 1))


def _within(batches: Batches) -> Row:
    """Deviations from the mean of each batch, summed over all batches, over n - 1."""
    parts = [_flat(*mean_and_products(batch, 1)) for batch in batches]
    return _mixed(batches, _whole(batches), [sum(c) / (sum(map(len, batches)) - 1) for c in zip(*parts, strict=True)])


def _each_over_its_own(batches: Batches) -> Row:
    """Deviations from the mean of all, but an average over batches of what each gives."""
    mean = _whole(batches)[: len(batches[0][0])]
    parts = [_flat(mean, _about(mean, batch, len(batch) - 1)) for batch in batches]
    return _averaged(parts, [1] * len(batches))


def _full_batches(batches: Batches) -> Row:
    """n is taken for the number of batches times the size of the first."""
    rows, n = [row for batch in batches for row in batch], len(batches) * len(batches[0])
    mean = [sum(column) / n for column in zip(*rows, strict=True)]
    return _flat(mean, _about(mean, rows, n - 1))


def _correlations(batches: Batches) -> Row:
    flat = _whole(batches)
    d = range(len(batches[0][0]))
    mean, covariance = flat[: len(d)], [flat[len(d) * (i + 1) : len(d) * (i + 2)] for i in d]
    return _flat(mean, [[covariance[i][j] / math.sqrt(covariance[i][i] * covariance[j][j]) for j in d] for i in d])


_WITHIN = (
    "It averages the covariances of the batches, and so misses how far the batches' means are apart: it is too small. "
    "Take deviations from the mean of all."
)
_WRONG_MOMENTS: list[tuple[Callable[[Batches], Row], str]] = [
    (
        lambda b: _averaged(_each(b), [1] * len(b)),
        f"The last batch is smaller and counts as much as the others. {_WITHIN}",
    ),
    (lambda b: _averaged(_each(b), [len(batch) for batch in b]), f"The mean is right. {_WITHIN}"),
    (lambda b: _averaged(_each(b), [len(batch) - 1 for batch in b]), f"{_WITHIN} (And weigh means by n.)"),
    (lambda b: _mixed(b, _whole(b), _averaged(_each(b), [1] * len(b))), f"The mean is right. {_WITHIN}"),
    (lambda b: _mixed(b, _whole(b), _averaged(_each(b), [len(x) - 1 for x in b])), f"The mean is right. {_WITHIN}"),
    (
        lambda b: _mixed(b, _averaged(_each(b), [1] * len(b)), _whole(b)),
        "The covariance is right. The mean is that of the batches' means, where the smaller last one counts as much.",
    ),
    (lambda b: _whole(b, 0), "The covariance is divided by n. FID divides by n - 1."),
    (lambda b: _whole(b[:-1]), "The last batch is missing. It is smaller, and belongs to the data like the others."),
    (lambda b: _whole(b[:1]), "Only the first batch counts."),
    *(
        (
            functools.partial(_second_moments, less=less),
            "The means are not taken off: those are second moments, not covariances.",
        )
        for less in (0, 1)
    ),
    (
        functools.partial(_second_moments, less=1, centred=True),
        "The sum of x x^T is divided by n - 1, and mean mean^T is not. (sum of x x^T - n mean mean^T) / (n - 1).",
    ),
    (_within, f"The mean is right. {_WITHIN}"),
    (
        _mean_of_means,
        "The mean is that of the batches' means, and deviations are taken from it. Sum all rows, and divide once.",
    ),
    (
        _each_over_its_own,
        "Deviations are from the mean of all, which is right, but each batch is divided by its own size. Divide once.",
    ),
    (
        _full_batches,
        "n is taken for batches times the size of the first. The last one is smaller: add up their lengths.",
    ),
    (_correlations, "Those are correlations: the diagonal is 1. Covariances."),
]


_WRONG_SHAPES = {
    (sum(_SIZES),)
    * 2: "A covariance between images came back, not between features: torch.cov takes variables as rows. "
    "Transpose first, rows.T.cov().",
    (2,): "Only variances came back. A covariance (D, D) is about each feature with each: away.T @ away.",
}


@check("6.6 find the bug: moments, batch by batch")
def moments_in_batches(f: Callable[..., Any]) -> None:
    """f(batches) must be the mean (D,) and the covariance (D, D), over n - 1, of all rows of all batches."""
    batches = [matrix(n, 2, n + 7 * i) * 2 + i for i, n in enumerate(_SIZES)]
    result = call(f, batches)
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise CheckFailed(f"Two tensors are expected, `return mean, covariance`; got {type(result).__name__}.")
    mean = tensor_like(result[0], (2,), "the mean")
    if isinstance(result[1], Tensor) and tuple(result[1].shape) in _WRONG_SHAPES:
        raise CheckFailed(_WRONG_SHAPES[tuple(result[1].shape)])
    covariance = tensor_like(result[1], (2, 2), "the covariance")
    lists = [batch.tolist() for batch in batches]
    mistakes = [(rule(lists), message) for rule, message in _WRONG_MOMENTS]
    judge(_flat(mean.tolist(), covariance.tolist()), _whole(lists), mistakes, "Mean and covariance, row by row")
