"""The check of notebook 04's attention (4.6): a loop over queries in plain floats, and what else one writes."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ddpm_edu.exercises.frame import check
from ddpm_edu.exercises.unet_judge import Causes, Kind, Wrong, as_tensor, asked, judge, ways


def _attend(queries: list[list[float]], keys: list[list[float]], values: list[list[float]]) -> list[list[float]]:
    """One sample, query by query: the average of the values, weighted by exp(q . k / sqrt(d))."""
    rows = []
    for q in queries:
        scores = [sum(a * b for a, b in zip(q, k, strict=True)) / math.sqrt(len(q)) for k in keys]
        weights = [math.exp(score - max(scores)) for score in scores]
        columns = [[w * x for w, x in zip(weights, column, strict=True)] for column in zip(*values, strict=True)]
        rows.append([sum(column) / sum(weights) for column in columns])
    return rows


# ---------------------------------------------------------------- what else one writes

_SCORES: Kind = [(lambda q, k: q @ k.mT, "")]
_SQUARE_SCORES: Kind = [  # where all axes are equally long; elsewhere these stop with an error, or have another shape
    *_SCORES,
    (
        lambda q, k: q @ k,
        "k is not transposed (reshape and view do not do it). q . k sums over d: q @ k.transpose(1, 2).",
    ),
    (lambda q, k: q @ k.permute(2, 1, 0), "k.T turns all three axes round. Use k.transpose(1, 2)."),
    (lambda q, k: k @ q.mT, "q and k are swapped. Each query has a row of weights over the keys: q k^T."),
    (lambda q, k: q.mT @ k, "q^T k compares channels. q k^T compares pixels: the scores are (N, X, M)."),
    (lambda q, k: q * k, "q * k multiplies number by number. Each query meets each key: @, a matrix product."),
]
_SCALES: Kind = [  # of the sizes d, e, M, X, N: what multiplies the scores, and what the result
    (lambda d, e, m, x, n: (d**-0.5, 1), ""),
    (lambda d, e, m, x, n: (1, 1), "The scores are not scaled: divide q k^T by sqrt(d)."),
    (lambda d, e, m, x, n: (1, d**-0.5), "You scale after the softmax. Scale the scores, before it."),
    (lambda d, e, m, x, n: (d**-0.5, d**-0.5), "You scale twice: the scores, and the result again. The scores only."),
    (
        lambda d, e, m, x, n: (1 / d, 1),
        "You divide by d. A sum of d products is about sqrt(d) in size: divide by the root.",
    ),
    (lambda d, e, m, x, n: (d**-0.25, 1), "You divide by the fourth root of d: by the square root."),
    (lambda d, e, m, x, n: (d**0.5, 1), "You multiply by sqrt(d): divide by it."),
    (
        lambda d, e, m, x, n: (-(d**-0.5), 1),
        "The scores have the wrong sign: a query looks at the keys that fit it least.",
    ),
    (
        lambda d, e, m, x, n: (e**-0.5, 1),
        "You divide by the root of e, a value's length. Take d, the length of a query.",
    ),
    (
        lambda d, e, m, x, n: (m**-0.5, 1),
        "You divide by the root of M, the number of keys. Take d, the length of a query.",
    ),
    (
        lambda d, e, m, x, n: (x**-0.5, 1),
        "You divide by the root of X, the number of queries: q.shape[-1] is d, a query's length.",
    ),
    (lambda d, e, m, x, n: (n**-0.5, 1), "You divide by the root of N, the batch: q.shape[-1] is d, a query's length."),
]
_WEIGHTS: Kind = [
    (lambda scores: torch.softmax(scores, -1), ""),
    (lambda scores: torch.softmax(scores, 1), "The softmax runs over the queries. It runs over the keys: dim=-1."),
    (lambda scores: torch.softmax(scores, 0), "The softmax runs over the batch. It runs over the keys: dim=-1."),
    (lambda scores: scores, "The softmax is missing: the weights of a query are positive and sum to 1."),
    (lambda scores: scores.exp(), "The weights of a query are not divided by their sum."),
    (
        lambda scores: torch.softmax(scores.flatten(1), -1).view_as(scores),
        "The weights of all queries together sum to 1. Those of each query do: the softmax is over the last axis.",
    ),
    (lambda scores: torch.log_softmax(scores, -1), "log_softmax gives logarithms of weights: softmax."),
    (
        lambda scores: torch.full_like(scores, 1 / scores.shape[-1]),
        "All keys get the same weight: the plain mean of the values. The scores have no effect.",
    ),
]
_RESULTS: Kind = [
    (lambda w, v: w @ v, ""),
    (lambda w, v: (w @ v).mean(0).expand(len(w), -1, -1), "All samples get the batch's mean. Samples never mix."),
]
_SQUARE_RESULTS: Kind = [
    *_RESULTS,
    (lambda w, v: w, "Those are the weights. What comes back is the values, weighted: weights @ v."),
    (lambda w, v: w.mT @ v, "The weights meet v transposed. Each query's row sums to 1."),
    (lambda w, v: v @ w, "v @ weights mixes the channels. weights @ v mixes the pixels."),
    (lambda w, v: w @ v.mT, "v is transposed: k is, v is not. weights @ v."),
    (lambda w, v: w * v, "weights * v multiplies number by number. Each query averages all values: weights @ v."),
]


def _wrong_attention(q: Tensor, k: Tensor, v: Tensor) -> Wrong:
    """What comes of each mistake, and of two of them at once."""
    (n, x, d), m, e = q.shape, k.shape[1], v.shape[2]
    square = q.shape == k.shape == v.shape
    kinds = (_SQUARE_SCORES if square else _SCORES, _SCALES, _WEIGHTS, _SQUARE_RESULTS if square else _RESULTS)
    for (score, scale, weigh, result), words in ways(*kinds):
        before, after = scale(d, e, m, x, n)
        found = after * result(weigh(score(q, k) * before), v)
        if found.isfinite().all():  # what overflows could be anything
            yield found, words
    if square:
        yield (
            torch.softmax(q @ v.mT / d**0.5, -1) @ k,
            "k and v are swapped: the keys are compared, the values averaged.",
        )


# ---------------------------------------------------------------- the check

_CAUSES: Causes = [
    ("2 dimensions", "That one turns single matrices. There is a batch in front: k.transpose(1, 2), or k.mT."),
    ("must be a matrix", "torch.mm knows single matrices. @ multiplies matrix by matrix through the batch."),
    ("1D tensors expected", "torch.dot knows two vectors. @ multiplies matrices: all queries with all keys at once."),
    ("Expected size for first two dimensions", "q (N, X, d) @ k^T (N, d, M) gives (N, X, M), and that @ v (N, M, e)."),
    ("must match", "q (N, X, d) @ k^T (N, d, M) gives (N, X, M), and that @ v (N, M, e)."),
]


@check("4.6 attention")
def attention(f: Callable[..., Any]) -> None:
    """f(q, k, v) must be softmax(q k^T / sqrt(d)) v: q (N, X, d), k (N, M, d), v (N, M, e) -> (N, X, e)."""
    g = torch.Generator().manual_seed(0)
    threes = [torch.randn(3, 3, 3, generator=g) for _ in range(3)]
    q, k, v = (torch.randn(size, generator=g) for size in ((2, 3, 5), (2, 4, 5), (2, 4, 6)))
    overflow = " Large scores overflow exp. torch.softmax copes: it takes the largest away first."
    for tensors, if_nan in ((threes, ""), ([q, k, v], ""), ([100 * q, 100 * k, v], overflow)):
        want = torch.tensor([_attend(*sample) for sample in zip(*(x.tolist() for x in tensors), strict=True)]).double()
        got = as_tensor(asked(f, *tensors, causes=_CAUSES), tuple(want.shape), "the result", if_nan)
        judge(got, want, _wrong_attention(*(x.double() for x in tensors)), "sample {}, query {}, number {}".format)
