"""Checks of notebook 06: kind to a blank, content with any right answer, plain about a wrong one."""

import math

import numpy as np
import torch
from torch import nn

from ddpm_edu import data, metrics
from ddpm_edu.exercises import evaluation_answers, the_evaluation
from ddpm_edu.exercises.evaluation_bugs import TwoPixels
from tests.exercises import proof

# ---------------------------------------------------------------- 6.1


def bytes_of_edm(x):
    """Truncation after half a level is added."""
    return (127.5 * x + 128).clip(0, 255).to(torch.uint8)


def bytes_by_table(x):
    levels = torch.arange(256).to(torch.uint8)
    return (x[..., None] - data.to_model_range(levels)).abs().argmin(-1).to(torch.uint8)


BYTES = (
    [evaluation_answers.to_bytes, bytes_of_edm, bytes_by_table],
    {
        "truncated": (lambda x: ((x + 1) * 127.5).clamp(0, 255).to(torch.uint8), "Your function truncates: .to"),
        "truncated, wraps": (lambda x: ((x + 1) * 127.5).to(torch.int64).to(torch.uint8), "and what lies outside"),
        "wraps": (lambda x: ((x + 1) * 127.5).round().to(torch.int64).to(torch.uint8), "wraps around: 256"),
        "clamped too late": (
            lambda x: ((x + 1) * 127.5).round().to(torch.int64).to(torch.uint8).clamp(0, 255),
            "Clamp before",
        ),
        "equal bins": (lambda x: ((x + 1) * 128).clamp(0, 255).to(torch.uint8), "256 bins of equal width"),
        "up": (lambda x: ((x + 1) * 127.5).ceil().clamp(0, 255).to(torch.uint8), "rounds up"),
        "from 0 to 1": (lambda x: (x * 255).round().clamp(0, 255).to(torch.uint8), "not in [0, 1]"),
        "not shifted": (lambda x: (x * 127.5).round().clamp(0, 255).to(torch.uint8), "Mid grey"),
        "negative": (lambda x: (127.5 - x * 127.5).round().clamp(0, 255).to(torch.uint8), "a negative"),
        "128": (lambda x: ((x + 1) * 128).round().clamp(0, 255).to(torch.uint8), "1 becomes 256"),
        "127": (lambda x: ((x + 1) * 127).round().clamp(0, 255).to(torch.uint8), "White becomes 254"),
        "float": (lambda x: ((x + 1) * 127.5).round().clamp(0, 255), "A byte is torch.uint8"),
        "int64": (lambda x: ((x + 1) * 127.5).round().clamp(0, 255).long(), "torch.int64"),
        "a wrong level": (lambda x: evaluation_answers.to_bytes(x).clamp(1), "expected 0.0000, got 1.0000"),
        "flat": (lambda x: evaluation_answers.to_bytes(x).flatten(), "expected shape"),
        "numpy": (lambda x: evaluation_answers.to_bytes(x).numpy(), "expected a tensor"),
        "printed": (lambda x: print(end=""), "Did you forget `return`?"),
        "in place": (lambda x: evaluation_answers.to_bytes(x.clamp_(-1, 1)), "in place"),
    },
)

# ---------------------------------------------------------------- 6.2


def gaussians(rule):
    """From a rule for (difference of means, std a, std b), summed over coordinates."""
    return lambda ma, sa, mb, sb: rule(ma - mb, sa, sb).sum()


def by_eigenvalues(ma, sa, mb, sb):
    """A B is diagonal: the root of its eigenvalues."""
    a, b = torch.diag(sa**2), torch.diag(sb**2)
    root = torch.linalg.eigvals(a @ b).real.sqrt().sum()
    return ((ma - mb) @ (ma - mb) + a.trace() + b.trace() - 2 * root).item()


def kl(m, s, r):
    return (r / s).log() + (s**2 + m**2) / (2 * r**2) - 0.5


TWO_GAUSSIANS = (
    [evaluation_answers.frechet_diagonal, gaussians(lambda m, s, r: m**2 + (s - r) ** 2), by_eigenvalues],
    {
        "root": (lambda *a: math.sqrt(evaluation_answers.frechet_diagonal(*a)), "no root"),
        "means": (gaussians(lambda m, s, r: m**2), "The spreads have no effect"),
        "spreads": (gaussians(lambda m, s, r: (s - r) ** 2), "The means have no effect"),
        "variances": (gaussians(lambda m, s, r: m**2 + (s**2 - r**2) ** 2), "Variances are subtracted"),
        "roots of std": (gaussians(lambda m, s, r: m**2 + (s.sqrt() - r.sqrt()) ** 2), "taken for variances"),
        "no root of A B": (gaussians(lambda m, s, r: m**2 + s**2 + r**2 - 2 * s**2 * r**2), "lacks the root"),
        "no 2": (gaussians(lambda m, s, r: m**2 + s**2 + r**2 - s * r), "counts twice"),
        "plus": (gaussians(lambda m, s, r: m**2 + (s + r) ** 2), "Spreads are added"),
        "difference of squares": (gaussians(lambda m, s, r: m**2 + (s**2 - r**2).abs()), "The square belongs"),
        "absolute": (gaussians(lambda m, s, r: m.abs() + (s - r).abs()), "are to be squared"),
        "KL": (gaussians(kl), "Kullback-Leibler"),
        "mean": (lambda ma, sa, mb, sb: ((ma - mb) ** 2 + (sa - sb) ** 2).mean(), "Take the sum"),
        "each": (lambda ma, sa, mb, sb: (ma - mb) ** 2 + (sa - sb) ** 2, "The distance is their sum"),
        "odd": (lambda ma, sa, mb, sb: 7.0, "case 1: expected 2.7400, got 7.0000"),
        "nan": (lambda ma, sa, mb, sb: float("nan"), "is nan"),
        "text": (lambda ma, sa, mb, sb: "2.74", "expected a number, got str"),
        "printed": (lambda *a: print(end=""), "Did you forget `return`?"),
    },
)

# ---------------------------------------------------------------- 6.3


def pairs(k):
    return (k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1))


def mmd_by_mask(k_xx, k_yy, k_xy):
    within = [k[~torch.eye(len(k), dtype=torch.bool)].mean() for k in (k_xx, k_yy)]
    return sum(within) - 2 * k_xy.mean()


def mmd_by_triangle(k_xx, k_yy, k_xy):
    within = [torch.triu(k, 1).sum() * 2 / (len(k) * (len(k) - 1)) for k in (k_xx, k_yy)]
    return (sum(within) - 2 * k_xy.mean()).item()


def without_diagonal(k):
    return k - torch.diag_embed(k.diagonal())


def square_cross(k):
    """k_xy without its i = j, which is what one gets by treating all three alike."""
    keep = torch.ones_like(k, dtype=torch.bool)
    keep.diagonal().fill_(False)
    return k[keep].mean()


def exchanged(a, b, c):
    n, m = len(a), len(b)
    return without_diagonal(a).sum() / (m * (m - 1)) + without_diagonal(b).sum() / (n * (n - 1)) - 2 * c.mean()


def one_n(a, b, c):
    n = len(a)
    return (without_diagonal(a).sum() + without_diagonal(b).sum()) / (n * (n - 1)) - 2 * c.mean()


MMD = (
    [evaluation_answers.unbiased_mmd, mmd_by_mask, mmd_by_triangle],
    {
        "biased": (lambda a, b, c: a.mean() + b.mean() - 2 * c.mean(), "The diagonals are in"),
        "over n^2": (
            lambda a, b, c: without_diagonal(a).mean() + without_diagonal(b).mean() - 2 * c.mean(),
            "divided by n^2",
        ),
        "half": (lambda a, b, c: pairs(a) / 2 + pairs(b) / 2 - 2 * c.mean(), "count half"),
        "no 2": (lambda a, b, c: pairs(a) + pairs(b) - c.mean(), "counts twice"),
        "plus": (lambda a, b, c: pairs(a) + pairs(b) + 2 * c.mean(), "The sign"),
        "cross without i = j": (lambda a, b, c: pairs(a) + pairs(b) - 2 * square_cross(c), "missing from k_xy"),
        "clipped": (lambda a, b, c: (pairs(a) + pairs(b) - 2 * c.mean()).clamp(min=0), "cut off at 0"),
        "absolute": (lambda a, b, c: (pairs(a) + pairs(b) - 2 * c.mean()).abs(), "no absolute value"),
        "root": (lambda a, b, c: (pairs(a) + pairs(b) - 2 * c.mean()).clamp(min=0).sqrt(), "That is a root"),
        "n and m": (exchanged, "n and m are exchanged"),
        "one n": (one_n, "k_yy has m rows"),
        "matrix": (lambda a, b, c: c, "expected one number"),
        "in place": (lambda a, b, c: a.fill_diagonal_(0).mean(), "in place"),
        "odd": (lambda a, b, c: 0.25, "case 1: expected"),
    },
)

# ---------------------------------------------------------------- 6.4


def shares_by_kthvalue(d_rr, d_gg, d_rg, k):
    r, g = (d.kthvalue(k + 1, dim=1).values for d in (d_rr, d_gg))
    return (d_rg <= r[:, None]).any(0).double().mean(), (d_rg <= g[None]).any(1).double().mean()


def shares_by_topk(d_rr, d_gg, d_rg, k):
    radius = [d.topk(k + 1, largest=False).values.amax(1) for d in (d_rr, d_gg)]
    precision = np.mean([bool((column <= radius[0]).any()) for column in d_rg.T])
    return [float(precision), float(np.mean([bool((row <= radius[1]).any()) for row in d_rg]))]


def shares(at=0, less=False, own=False, nearest=False, largest=False, filled=False):
    def share(apart, centres, judged, k):
        radius = (judged if own else centres).sort(1).values[:, k + at]
        if largest:
            radius = radius.max().expand_as(radius)
        if own:
            radius = radius[:, None]
        inside = apart < radius if less else apart <= radius
        if nearest:
            return inside.gather(1, apart.argmin(1, keepdim=True)).double().mean().item()
        return inside.any(0 if filled else 1).double().mean().item()

    return lambda rr, gg, rg, k: (share(rg.T, rr, gg, k), share(rg, gg, rr, k))


def shares_swapped(*a):
    precision, recall = shares()(*a)
    return recall, precision


SHARES = (
    [evaluation_answers.precision_recall, shares_by_kthvalue, shares_by_topk, shares()],
    {
        "swapped": (shares_swapped, "are exchanged"),
        "self counted": (shares(at=-1), "one neighbour too small"),
        "one too far": (shares(at=1), "one neighbour too large"),
        "open balls": (shares(less=True), "The surface belongs"),
        "own balls": (shares(own=True), "about the wrong set"),
        "nearest centre": (shares(nearest=True), "Only the nearest centre"),
        "largest": (shares(largest=True), "All balls have the largest radius"),
        "wrong axis": (shares(filled=True), "wrong axis"),
        "one number": (lambda *a: shares()(*a)[0], "Two numbers are expected"),
        "vectors": (lambda rr, gg, rg, k: (rg[0], rg[1]), "expected one number"),
        "odd": (lambda *a: (0.5, 0.125), "precision, recall in turn, case"),
    },
)

# ---------------------------------------------------------------- 6.6


def moments_at_once(batches):
    rows = torch.cat(batches)
    return rows.mean(0), rows.T.cov()


def moments_by_sums(batches):
    """What a loop over a loader can do without keeping the rows."""
    n = sum(len(b) for b in batches)
    total, products = sum(b.sum(0) for b in batches), sum(b.T @ b for b in batches)
    return total / n, (products - torch.outer(total, total) / n) / (n - 1)


def averaged(batches, weight=lambda b: 1.0):
    weights = [weight(b) for b in batches]
    mean = sum(w * b.mean(0) for w, b in zip(weights, batches, strict=True)) / sum(weights)
    return mean, sum(w * b.T.cov() for w, b in zip(weights, batches, strict=True)) / sum(weights)


MOMENTS = (
    [evaluation_answers.moments_in_batches, moments_at_once, moments_by_sums],
    {
        "as published": (averaged, "counts as much as the others. It averages the covariances"),
        "weighed": (lambda b: averaged(b, len), "The mean is right. It averages"),
        "weighed by n - 1": (lambda b: averaged(b, lambda x: len(x) - 1), "weigh means by n"),
        "mean mended": (lambda b: (moments_at_once(b)[0], averaged(b)[1]), "The mean is right. It averages"),
        "pooled": (
            lambda b: (moments_at_once(b)[0], averaged(b, lambda x: len(x) - 1)[1]),
            "The mean is right. It averages",
        ),
        "covariance mended": (lambda b: (averaged(b)[0], moments_at_once(b)[1]), "The covariance is right"),
        "over n": (lambda b: (torch.cat(b).mean(0), torch.cat(b).T.cov(correction=0)), "divided by n."),
        "last left out": (lambda b: moments_at_once(b[:-1]), "The last batch is missing"),
        "first only": (lambda b: moments_at_once(b[:1]), "Only the first batch"),
        "not centred": (
            lambda b: (torch.cat(b).mean(0), torch.cat(b).T @ torch.cat(b) / sum(map(len, b))),
            "second moments",
        ),
        "one": (lambda b: torch.cat(b).mean(0), "Two tensors are expected"),
        "variances": (lambda b: (torch.cat(b).mean(0), torch.cat(b).var(0)), "the covariance: expected shape"),
        "odd": (lambda b: (torch.zeros(2), torch.eye(2)), "row by row, case 1"),
    },
)

# ---------------------------------------------------------------- 6.7


def evaluation(door=data.to_uint8, reference=lambda real: real, ready=lambda net: net.eval()):
    """The published evaluation with its parts mended one by one."""

    def distance(net, samples, real):
        ready(net)
        seen = samples if door is None else data.to_model_range(door(samples))
        return metrics.frechet_distance(net.embed(seen), net.embed(reference(real)))

    return distance


def cut(x):
    return ((x + 1) * 127.5).to(torch.int64).to(torch.uint8)


def mirrored(real):
    return torch.cat([real, real.flip(3)])


def calls_the_network(net, samples, real):
    """Batch by batch, in another library's words."""
    net.train(False)
    made = ((samples.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
    found = torch.cat([net(part) for part in made.split(7)])
    truth = torch.cat([net(part) for part in real.split(7)])
    return torch.tensor(metrics.frechet_distance(found, truth))


EVALUATION = (
    [evaluation_answers.honest_distance, evaluation(), calls_the_network],
    {
        "as published": (
            evaluation(cut, mirrored, lambda net: net),
            "wraps around; mirrored images are in the reference; the network is in training mode",
        ),
        "mirrored": (evaluation(reference=mirrored), "Still wrong: mirrored images are in the reference."),
        "all mirrored": (evaluation(reference=lambda real: real.flip(3)), "the reference is mirrored"),
        "training": (evaluation(ready=lambda net: net), "Still wrong: the network is in training mode: net.eval()."),
        "truncated": (evaluation(lambda x: cut(x.clamp(-1, 1))), "Still wrong: samples are truncated to 8 bits, which"),
        "wraps": (
            evaluation(lambda x: ((x + 1) * 127.5).round().to(torch.int64).to(torch.uint8)),
            "Still wrong: what lies outside [-1, 1] wraps around.",
        ),
        "truncated, wraps": (evaluation(cut), "truncated to 8 bits, and what lies outside"),
        "not bytes": (evaluation(None), "do not go through 8 bits"),
        "clamped": (lambda net, x, real: evaluation(None)(net, x.clamp(-1, 1), real), "samples are clamped"),
        "two left": (evaluation(None, mirrored), "8 bits, as a file would have them; mirrored"),
        "no network": (lambda net, x, real: metrics.frechet_distance(x.flatten(1), real.flatten(1)), "was never asked"),
        "odd": (lambda net, x, real: float(net.eval().embed(x).mean()), "Use metrics.frechet_distance"),
    },
)

# ---------------------------------------------------------------- 6.5


def nearest(a, b):
    return torch.cdist(a.flatten(1), b.flatten(1)).amin(1)


def copies_by_loop(samples, training, held_out):
    limit = min(min((h - t).square().sum() for t in training) for h in held_out)
    return torch.stack([min((x - t).square().sum() for t in training) < limit for x in samples])


def copies(rule):
    """From a rule for (nearest training distances of samples and of held-out images)."""
    return lambda x, y, h: rule(nearest(x, y), nearest(h, y))


COPIES = (
    [evaluation_answers.copies, copies(lambda x, h: x < h.min()), copies_by_loop],
    {
        "other way": (copies(lambda x, h: x >= h.min()), "The other way round"),
        "training": (lambda x, y, h: nearest(x, y) <= nearest(y, y).min(), "Only exact copies"),
        "training, others": (
            lambda x, y, h: nearest(x, y) < torch.pdist(y.flatten(1)).min(),
            "near duplicates: held-out images are asked",
        ),
        "mean": (copies(lambda x, h: x < h.mean()), "is the mean of the held-out"),
        "max": (copies(lambda x, h: x < h.max()), "the largest of the held-out"),
        "farthest": (
            lambda x, y, h: torch.cdist(x.flatten(1), y.flatten(1)).amax(1) < nearest(h, y).min(),
            "min, not max",
        ),
        "which is nearer": (lambda x, y, h: nearest(x, y) < nearest(x, h), "held-out images are compared with"),
        "from the samples": (lambda x, y, h: nearest(x, y) < nearest(x, h).min(), "should be theirs from the training"),
        "squared": (copies(lambda x, h: x**2 < h.min()), "A squared distance"),
        "one": (copies(lambda x, h: (x < h.min()).double().mean()), "each of the 40 samples"),
        "distances": (copies(lambda x, h: x), "Compare with the limit"),
        "printed": (lambda *a: print(end=""), "Did you forget `return`?"),
        "odd": (copies(lambda x, h: torch.ones_like(x, dtype=torch.bool)), "Is it a copy, case"),
    },
)

# ---------------------------------------------------------------- all of them

# check: (right answers, {wrong answer: (function, words of the message)})
e = the_evaluation
EXERCISES = {
    e.to_bytes: BYTES,
    e.frechet_diagonal: TWO_GAUSSIANS,
    e.unbiased_mmd: MMD,
    e.precision_recall: SHARES,
    e.moments_in_batches: MOMENTS,
    e.honest_distance: EVALUATION,
    e.copies: COPIES,
}
(
    test_a_blank_is_told_kindly_and_raises_nothing,
    test_the_librarys_answer_and_others_pass,
    test_a_wrong_answer_is_refused_with_the_likely_mistake,
    test_every_check_is_listed_here,
) = proof.of(the_evaluation, EXERCISES)


def test_the_network_of_the_check_is_one_that_the_lesson_could_have():
    """Its features and mode are reached as those of metrics.features' classifier are."""
    net = TwoPixels()
    assert isinstance(net, nn.Module) and isinstance(metrics.features.load("digits").net, nn.Module)
    assert callable(net.embed) and callable(metrics.features.load("digits").net.embed)
    image = torch.tensor([[[[0.5, -0.25]]]])
    assert net.eval().embed(image).tolist() == [[0.5, -0.25]] and net.train().embed(image).tolist() == [[0.5, 0.0]]
