"""Checks of notebook 06 in which bugs are to be found: moments batch by batch, and a whole evaluation.

The oracles are sums over rows in plain floats, and the Frechet distance's closed form in two dimensions.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_edu.exercises.evaluation_judge import Row, alike, in_a_byte, judge, matrix, nearest_level, number
from ddpm_edu.exercises.frame import CheckFailed, call, check, tensor_like

# ---------------------------------------------------------------- 6.6

_SIZES = (6, 6, 6, 3)
Batches = Sequence[Sequence[Row]]


def _sums(rows: Sequence[Row], divisor: float) -> tuple[Row, list[Row]]:
    """Mean, and the sum of products of deviations over ``divisor``."""
    mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    away = [[value - m for value, m in zip(row, mean, strict=True)] for row in rows]
    d = range(len(mean))
    return mean, [[sum(row[i] * row[j] for row in away) / divisor for j in d] for i in d]


def _flat(mean: Row, covariance: list[Row]) -> Row:
    return [*mean, *itertools.chain(*covariance)]


def _whole(batches: Batches, less: float = 1) -> Row:
    rows = [row for batch in batches for row in batch]
    return _flat(*_sums(rows, len(rows) - less))


def _averaged(parts: Sequence[Row], weights: Sequence[float]) -> Row:
    return [
        sum(w * v for w, v in zip(weights, column, strict=True)) / sum(weights) for column in zip(*parts, strict=True)
    ]


def _each(batches: Batches) -> list[Row]:
    return [_flat(*_sums(batch, len(batch) - 1)) for batch in batches]


def _mixed(batches: Batches, mean: Row, covariance: Row) -> Row:
    d = len(batches[0][0])
    return [*mean[:d], *covariance[d:]]


def _not_centred(batches: Batches) -> Row:
    rows = [row for batch in batches for row in batch]
    mean, d = _sums(rows, 1)[0], range(len(rows[0]))
    return _flat(mean, [[sum(row[i] * row[j] for row in rows) / len(rows) for j in d] for i in d])


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
    (_not_centred, "The means are not taken off: those are second moments, not covariances."),
]


@check("6.6 find the bug: moments, batch by batch")
def moments_in_batches(f: Callable[..., Any]) -> None:
    """f(batches) must be the mean (D,) and the covariance (D, D), over n - 1, of all rows of all batches."""
    batches = [matrix(n, 2, n + 7 * i) * 2 + i for i, n in enumerate(_SIZES)]
    result = call(f, batches)
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise CheckFailed(f"Two tensors are expected, `return mean, covariance`; got {type(result).__name__}.")
    mean, covariance = tensor_like(result[0], (2,), "the mean"), tensor_like(result[1], (2, 2), "the covariance")
    lists = [batch.tolist() for batch in batches]
    mistakes = [(rule(lists), message) for rule, message in _WRONG_MOMENTS]
    judge(_flat(mean.tolist(), covariance.tolist()), _whole(lists), mistakes, "Mean and covariance, row by row")


# ---------------------------------------------------------------- 6.7


class TwoPixels(nn.Module):
    """A network for the check: its features are an image's two pixels; in training mode the second one is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.in_training: list[bool] = []

    def embed(self, images: Tensor) -> Tensor:
        """(N, 1, 1, 2) -> (N, 2)."""
        self.in_training.append(self.training)
        kept = torch.tensor([1.0, 0.0 if self.training else 1.0], dtype=images.dtype)
        return images.flatten(1) * kept

    def forward(self, images: Tensor) -> Tensor:
        """The features themselves."""
        return self.embed(images)


def _in_the_plane(a: Sequence[Row], b: Sequence[Row]) -> float:
    """The Frechet distance in two dimensions: Tr (A B)^(1/2) = (Tr A B + 2 (det A det B)^(1/2))^(1/2)."""
    (ma, ca), (mb, cb) = (_sums(rows, len(rows) - 1) for rows in (a, b))
    product = sum(ca[i][j] * cb[j][i] for i in range(2) for j in range(2))
    dets = [c[0][0] * c[1][1] - c[0][1] * c[1][0] for c in (ca, cb)]
    root = math.sqrt(product + 2 * math.sqrt(max(0.0, dets[0] * dets[1])))
    return math.dist(ma, mb) ** 2 + sum(c[i][i] for c in (ca, cb) for i in range(2)) - 2 * root


_Doors: dict[str, Callable[[float], float]] = {
    "": lambda v: 2 * nearest_level(v) / 255 - 1,
    "samples are truncated to 8 bits, which darkens them": lambda v: 2 * int(in_a_byte((v + 1) * 127.5)) / 255 - 1,
    "what lies outside [-1, 1] wraps around": lambda v: 2 * (round((v + 1) * 127.5) % 256) / 255 - 1,
    "samples are truncated to 8 bits, and what lies outside [-1, 1] wraps around": lambda v: (
        2 * (int((v + 1) * 127.5) % 256) / 255 - 1
    ),
    "samples do not go through 8 bits, as a file would have them": lambda v: v,
    "samples are clamped, and do not go through 8 bits": lambda v: min(max(v, -1.0), 1.0),
}
_References: dict[str, Callable[[list[Row]], list[Row]]] = {
    "": lambda rows: rows,
    "mirrored images are in the reference": lambda rows: rows + [row[::-1] for row in rows],
    "the reference is mirrored": lambda rows: [row[::-1] for row in rows],
}
_Modes: dict[str, Callable[[list[Row]], list[Row]]] = {
    "": lambda rows: rows,
    "the network is in training mode: net.eval()": lambda rows: [[row[0], 0.0] for row in rows],
}


@check("6.7 find the bugs: an evaluation")
def honest_distance(f: Callable[..., Any]) -> None:
    """f(net, samples, real) must be the Frechet distance of net.embed of both, after the four bugs are mended."""
    net = TwoPixels().train()
    samples = (matrix(60, 2, 0) * torch.tensor([2.4, 1.9]) - torch.tensor([1.1, 0.7])).view(60, 1, 1, 2).float()
    samples[..., 1] += 0.4 * samples[..., 0]
    real = (matrix(50, 2, 1) * torch.tensor([200, 120])).round().view(50, 1, 1, 2).float() / 127.5 - 1
    got = number(call(f, net, samples, real), "the distance")
    if not net.in_training:
        raise CheckFailed("The network was never asked: features are net.embed(images).")
    made, truth = (images.double().flatten(1).tolist() for images in (samples, real))
    left: list[tuple[float, list[str]]] = []
    for (door, to), (turn, by), (mode, keep) in itertools.product(_Doors.items(), _References.items(), _Modes.items()):
        rows = keep([[to(v) for v in row] for row in made]), keep(by(truth))
        left.append((_in_the_plane(*rows), [fault for fault in (door, turn, mode) if fault]))
    left.sort(key=lambda found: len(found[1]))
    for value, faults in left:
        if alike([got], [value]) or math.isclose(got, value, rel_tol=1e-4):
            if not faults:
                return
            raise CheckFailed(f"Still wrong: {'; '.join(faults)}.")
    want = left[0][0]
    mode = " The network was asked in training mode." if any(net.in_training) else ""
    raise CheckFailed(f"Expected {want:.4f}, got {got:.4f}.{mode} Use metrics.frechet_distance on net.embed of both.")
