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
        "truncated, not rounded": (
            lambda x: ((x + 1) * 127.5).clamp(0, 255).to(torch.uint8),
            "Your function truncates: .to",
        ),
        "truncated, and values beyond [-1, 1] wrap around": (
            lambda x: ((x + 1) * 127.5).to(torch.int64).to(torch.uint8),
            "and what lies outside",
        ),
        "values beyond [-1, 1] wrap around": (
            lambda x: ((x + 1) * 127.5).round().to(torch.int64).to(torch.uint8),
            "wraps around: 256",
        ),
        "clamped after the bytes were made": (
            lambda x: ((x + 1) * 127.5).round().to(torch.int64).to(torch.uint8).clamp(0, 255),
            "Clamp before",
        ),
        "cut into 256 bins of equal width": (
            lambda x: ((x + 1) * 128).clamp(0, 255).to(torch.uint8),
            "256 bins of equal width",
        ),
        "rounded up, not to the nearest": (
            lambda x: ((x + 1) * 127.5).ceil().clamp(0, 255).to(torch.uint8),
            "rounds up",
        ),
        "images are taken to lie in [0, 1]": (
            lambda x: (x * 255).round().clamp(0, 255).to(torch.uint8),
            "not in [0, 1]",
        ),
        "the 1 is not added before scaling": (lambda x: (x * 127.5).round().clamp(0, 255).to(torch.uint8), "Mid grey"),
        "black and white are exchanged": (
            lambda x: (127.5 - x * 127.5).round().clamp(0, 255).to(torch.uint8),
            "a negative",
        ),
        "times 128, so that white is 256": (
            lambda x: ((x + 1) * 128).round().clamp(0, 255).to(torch.uint8),
            "1 becomes 256",
        ),
        "times 127, so that white is 254": (
            lambda x: ((x + 1) * 127).round().clamp(0, 255).to(torch.uint8),
            "White becomes 254",
        ),
        "times 255, and negative numbers wrap around": (
            lambda x: (x.clamp(-1, 1) * 255).round().to(torch.int64).to(torch.uint8),
            "times 255 is no byte",
        ),
        "times 256, and white wraps to 0": (
            lambda x: ((x.clamp(-1, 1) + 1) / 2 * 256).round().to(torch.int64).to(torch.uint8),
            "256, which as a byte is 0",
        ),
        "half a level added, and rounded as well": (
            lambda x: (x * 127.5 + 128).round().clamp(0, 255).to(torch.uint8),
            "not both",
        ),
        "stretched from the set's smallest to its largest": (
            lambda x: ((x - x.min()) / (x.max() - x.min()) * 255).round().to(torch.uint8),
            "whatever is in it",
        ),
        "rounded, but never made bytes": (lambda x: ((x + 1) * 127.5).round().clamp(0, 255), "A byte is torch.uint8"),
        "whole numbers of 64 bits, not bytes": (
            lambda x: ((x + 1) * 127.5).round().clamp(0, 255).long(),
            "torch.int64",
        ),
        "one level of 256 is lost": (lambda x: evaluation_answers.to_bytes(x).clamp(1), "expected 0.0000, got 1.0000"),
        "the images come back flattened": (lambda x: evaluation_answers.to_bytes(x).flatten(), "expected shape"),
        "a numpy array comes back": (lambda x: evaluation_answers.to_bytes(x).numpy(), "expected a tensor"),
        "printed, and nothing is returned": (lambda x: print(end=""), "Did you forget `return`?"),
        "clamped in place": (lambda x: evaluation_answers.to_bytes(x.clamp_(-1, 1)), "in place"),
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
        "the root of the distance": (lambda *a: math.sqrt(evaluation_answers.frechet_diagonal(*a)), "no root"),
        "the means alone": (gaussians(lambda m, s, r: m**2), "The spreads have no effect"),
        "the spreads alone": (gaussians(lambda m, s, r: (s - r) ** 2), "The means have no effect"),
        "variances are subtracted, not standard deviations": (
            gaussians(lambda m, s, r: m**2 + (s**2 - r**2) ** 2),
            "Variances are subtracted",
        ),
        "standard deviations are taken for variances": (
            gaussians(lambda m, s, r: m**2 + (s.sqrt() - r.sqrt()) ** 2),
            "taken for variances",
        ),
        "the trace without its matrix root": (
            gaussians(lambda m, s, r: m**2 + s**2 + r**2 - 2 * s**2 * r**2),
            "lacks the root",
        ),
        "the product of spreads counts once": (gaussians(lambda m, s, r: m**2 + s**2 + r**2 - s * r), "counts twice"),
        "spreads are added, not subtracted": (gaussians(lambda m, s, r: m**2 + (s + r) ** 2), "Spreads are added"),
        "a difference of squares, not its square": (
            gaussians(lambda m, s, r: m**2 + (s**2 - r**2).abs()),
            "The square belongs",
        ),
        "absolute differences in place of squares": (
            gaussians(lambda m, s, r: m.abs() + (s - r).abs()),
            "are to be squared",
        ),
        "the Kullback-Leibler divergence": (gaussians(kl), "Kullback-Leibler"),
        "no product of the two spreads": (gaussians(lambda m, s, r: m**2 + s**2 + r**2), "The product is missing"),
        "two lengths added, neither squared": (
            lambda ma, sa, mb, sb: (ma - mb).norm() + (sa - sb).norm(),
            "Two lengths are added",
        ),
        "the length of the means' difference, not squared": (
            lambda ma, sa, mb, sb: (ma - mb).norm() + ((sa - sb) ** 2).sum(),
            "The length of mean_a - mean_b",
        ),
        "summed over coordinates before squaring": (
            lambda ma, sa, mb, sb: (ma - mb).sum() ** 2 + (sa - sb).sum() ** 2,
            "so they cancel",
        ),
        "one root of the summed products": (
            lambda ma, sa, mb, sb: ((ma - mb) ** 2 + sa**2 + sb**2).sum() - 2 * (sa**2 * sb**2).sum().sqrt(),
            "One root of a sum",
        ),
        "an average over coordinates": (
            lambda ma, sa, mb, sb: ((ma - mb) ** 2 + (sa - sb) ** 2).mean(),
            "Take the sum",
        ),
        "one number a coordinate": (
            lambda ma, sa, mb, sb: (ma - mb) ** 2 + (sa - sb) ** 2,
            "The distance is their sum",
        ),
        "a constant": (lambda ma, sa, mb, sb: 7.0, "case 1: expected 2.7400, got 7.0000"),
        "not a number": (lambda ma, sa, mb, sb: float("nan"), "is nan"),
        "the number as text": (lambda ma, sa, mb, sb: "2.74", "expected a number, got str"),
        "printed, and nothing is returned": (lambda *a: print(end=""), "Did you forget `return`?"),
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
        "the diagonals are left in": (lambda a, b, c: a.mean() + b.mean() - 2 * c.mean(), "The diagonals are in"),
        "diagonals set to 0 and still counted": (
            lambda a, b, c: without_diagonal(a).mean() + without_diagonal(b).mean() - 2 * c.mean(),
            "divided by n^2",
        ),
        "pairs i < j counted as half": (lambda a, b, c: pairs(a) / 2 + pairs(b) / 2 - 2 * c.mean(), "count half"),
        "the mean of k_xy counts once": (lambda a, b, c: pairs(a) + pairs(b) - c.mean(), "counts twice"),
        "k_xy is added, not subtracted": (lambda a, b, c: pairs(a) + pairs(b) + 2 * c.mean(), "The sign"),
        "the diagonal of k_xy is left out": (
            lambda a, b, c: pairs(a) + pairs(b) - 2 * square_cross(c),
            "missing from k_xy",
        ),
        "negative estimates are cut off at 0": (
            lambda a, b, c: (pairs(a) + pairs(b) - 2 * c.mean()).clamp(min=0),
            "cut off at 0",
        ),
        "the absolute value of the estimate": (
            lambda a, b, c: (pairs(a) + pairs(b) - 2 * c.mean()).abs(),
            "no absolute value",
        ),
        "the root: MMD, not its square": (
            lambda a, b, c: (pairs(a) + pairs(b) - 2 * c.mean()).clamp(min=0).sqrt(),
            "That is a root",
        ),
        "n and m are exchanged": (exchanged, "n and m are exchanged"),
        "both sets are divided by the first's size": (one_n, "k_yy has m rows"),
        "the diagonal of k_yy is left in": (lambda a, b, c: pairs(a) + b.mean() - 2 * c.mean(), "k_yy is still in"),
        "the diagonal of k_xx is left in": (lambda a, b, c: a.mean() + pairs(b) - 2 * c.mean(), "k_xx is still in"),
        "divided by (n - 1) squared": (
            lambda a, b, c: sum(without_diagonal(k).sum() / (len(k) - 1) ** 2 for k in (a, b)) - 2 * c.mean(),
            "n (n - 1) pairs",
        ),
        "divided by n^2 - 1": (
            lambda a, b, c: sum(without_diagonal(k).sum() / (len(k) ** 2 - 1) for k in (a, b)) - 2 * c.mean(),
            "The diagonal has n entries",
        ),
        "sums in place of means": (
            lambda a, b, c: without_diagonal(a).sum() + without_diagonal(b).sum() - 2 * c.sum(),
            "Those are sums",
        ),
        "k_xy is forgotten": (lambda a, b, c: pairs(a) + pairs(b), "k_xy has no effect"),
        "the root of a negative estimate": (lambda a, b, c: (pairs(a) + pairs(b) - 2 * c.mean()).sqrt(), "is nan"),
        "a matrix comes back": (lambda a, b, c: c, "expected one number"),
        "the diagonal is erased in place": (lambda a, b, c: a.fill_diagonal_(0).mean(), "in place"),
        "a constant": (lambda a, b, c: 0.25, "case 1: expected"),
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


def by_radii(radius, held=lambda inside, over: inside.any(over)):
    """From the radii of a set by its own distances, and who counts as held: all samples, over all centres."""

    def both(d_rr, d_gg, d_rg, k):
        in_real, in_made = d_rg <= radius(d_rr, k)[:, None], d_rg <= radius(d_gg, k)[None]
        return held(in_real, 0).double().mean(), held(in_made, 1).double().mean()

    return both


def kth(d, k):
    return d.sort(1).values[:, k]


def in_real_balls_alone(d_rr, d_gg, d_rg, k):
    inside = d_rg <= kth(d_rr, k)[:, None]
    return inside.any(0).double().mean(), inside.any(1).double().mean()


def radii_to_the_other_set(d_rr, d_gg, d_rg, k):
    r, g = d_rg.sort(1).values[:, k - 1], d_rg.sort(0).values[k - 1]
    return (d_rg <= r[:, None]).any(0).double().mean(), (d_rg <= g).any(1).double().mean()


SHARES = (
    [evaluation_answers.precision_recall, shares_by_kthvalue, shares_by_topk, shares()],
    {
        "precision and recall are exchanged": (shares_swapped, "are exchanged"),
        "each point is its own first neighbour": (shares(at=-1), "one neighbour too small"),
        "the radius reaches one neighbour too far": (shares(at=1), "one neighbour too large"),
        "the surface does not belong to the ball": (shares(less=True), "The surface belongs"),
        "balls about the set that is judged": (shares(own=True), "about the wrong set"),
        "only the nearest centre's ball is asked": (shares(nearest=True), "Only the nearest centre"),
        "all balls have the largest radius": (shares(largest=True), "All balls have the largest radius"),
        "balls are counted, not samples in them": (shares(filled=True), "wrong axis"),
        "all balls have the average radius": (
            by_radii(lambda d, k: kth(d, k).mean().expand(len(d))),
            "All balls have the average radius",
        ),
        "the k neighbours' mean distance as the radius": (
            by_radii(lambda d, k: d.sort(1).values[:, 1 : k + 1].mean(1)),
            "the mean distance of the k nearest",
        ),
        "the k-th farthest as the radius": (by_radii(lambda d, k: d.topk(k).values[:, -1]), "the k-th farthest"),
        "the farthest of k + 1 as the radius": (
            by_radii(lambda d, k: d.topk(k + 1).values[:, -1]),
            "the k-th farthest",
        ),
        "k = 3 whatever k is": (by_radii(lambda d, k: kth(d, 3)), "Always the third neighbour"),
        "radii reach to the other set": (radii_to_the_other_set, "The radii come from d_rg"),
        "an average over all pairs": (by_radii(kth, lambda inside, over: inside), "You average over pairs"),
        "a sample must lie in every ball": (by_radii(kth, lambda inside, over: inside.all(over)), "any, not all"),
        "recall with balls about real images": (in_real_balls_alone, "Recall has balls about real images"),
        "precision twice": (lambda *a: [shares()(*a)[0]] * 2, "recall is the same number"),
        "numbers of samples, not shares": (
            lambda rr, gg, rg, k: (shares()(rr, gg, rg, k)[0] * len(gg), shares()(rr, gg, rg, k)[1] * len(rr)),
            "Those are numbers of samples",
        ),
        "per cent": (lambda *a: [100 * share for share in shares()(*a)], "Those are per cent"),
        "radii along the wrong axis": (
            lambda rr, gg, rg, k: ((rg <= kth(rr, k)[None]).any(0).double().mean(), 0.0),
            "along its rows, radius[:, None]",
        ),
        "precision alone": (lambda *a: shares()(*a)[0], "Two numbers are expected"),
        "two vectors come back": (lambda rr, gg, rg, k: (rg[0], rg[1]), "expected one number"),
        "two constants": (lambda *a: (0.5, 0.125), "precision, recall in turn, case"),
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


def pooled(batches):
    """Deviations from each batch's own mean, summed, over n - 1."""
    n = sum(map(len, batches))
    return torch.cat(batches).mean(0), sum((len(b) - 1) * b.T.cov() for b in batches) / (n - 1)


def about(batches, mean, divided):
    return mean, divided([(b - mean).T @ (b - mean) for b in batches])


def about_mean_of_means(batches):
    return about(batches, averaged(batches)[0], lambda parts: sum(parts) / (sum(map(len, batches)) - 1))


def each_over_its_own(batches):
    def divided(parts):
        return sum(part / (len(b) - 1) for part, b in zip(parts, batches, strict=True)) / len(parts)

    return about(batches, torch.cat(batches).mean(0), divided)


def as_if_all_were_full(batches):
    n = len(batches) * len(batches[0])
    return about(batches, torch.cat(batches).sum(0) / n, lambda parts: sum(parts) / (n - 1))


def mixed_divisors(batches):
    rows = torch.cat(batches)
    return rows.mean(0), rows.T @ rows / (len(rows) - 1) - torch.outer(rows.mean(0), rows.mean(0))


MOMENTS = (
    [evaluation_answers.moments_in_batches, moments_at_once, moments_by_sums],
    {
        "as published: means and covariances averaged over batches": (
            averaged,
            "counts as much as the others. It averages the covariances",
        ),
        "averages over batches, weighed by their sizes": (lambda b: averaged(b, len), "The mean is right. It averages"),
        "averages over batches, weighed by n - 1": (lambda b: averaged(b, lambda x: len(x) - 1), "weigh means by n"),
        "the mean is mended, covariances are still averaged": (
            lambda b: (moments_at_once(b)[0], averaged(b)[1]),
            "The mean is right. It averages",
        ),
        "the mean is mended, covariances are pooled": (
            lambda b: (moments_at_once(b)[0], averaged(b, lambda x: len(x) - 1)[1]),
            "The mean is right. It averages",
        ),
        "the covariance is mended, means are still averaged": (
            lambda b: (averaged(b)[0], moments_at_once(b)[1]),
            "The covariance is right",
        ),
        "divided by n, not n - 1": (
            lambda b: (torch.cat(b).mean(0), torch.cat(b).T.cov(correction=0)),
            "divided by n.",
        ),
        "the last, smaller batch is dropped": (lambda b: moments_at_once(b[:-1]), "The last batch is missing"),
        "only the first batch counts": (lambda b: moments_at_once(b[:1]), "Only the first batch"),
        "second moments, from which no mean is taken": (
            lambda b: (torch.cat(b).mean(0), torch.cat(b).T @ torch.cat(b) / sum(map(len, b))),
            "second moments",
        ),
        "second moments over n - 1": (
            lambda b: (torch.cat(b).mean(0), torch.cat(b).T @ torch.cat(b) / (sum(map(len, b)) - 1)),
            "second moments",
        ),
        "two different divisors in one covariance": (mixed_divisors, "and mean mean^T is not"),
        "deviations from each batch's mean, over n - 1": (pooled, "The mean is right. It averages"),
        "deviations from the mean of the means": (about_mean_of_means, "deviations are taken from it"),
        "deviations right, each batch divided by its size": (each_over_its_own, "Divide once"),
        "every batch is taken for a full one": (as_if_all_were_full, "add up their lengths"),
        "correlations in place of covariances": (
            lambda b: (torch.cat(b).mean(0), torch.cat(b).T.corrcoef()),
            "Those are correlations",
        ),
        "rows are taken for variables": (lambda b: (torch.cat(b).mean(0), torch.cat(b).cov()), "rows.T.cov()"),
        "the mean alone": (lambda b: torch.cat(b).mean(0), "Two tensors are expected"),
        "variances alone, no covariances": (
            lambda b: (torch.cat(b).mean(0), torch.cat(b).var(0)),
            "Only variances came back",
        ),
        "two constants": (lambda b: (torch.zeros(2), torch.eye(2)), "row by row, case 1"),
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


def batch_by_batch(net, samples, real):
    """With a rounding of its own, and .train(False) for .eval()."""
    net.train(False)
    made = ((samples.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
    found = torch.cat([net.embed(part) for part in made.split(7)])
    truth = torch.cat([net.embed(part) for part in real.split(7)])
    return torch.tensor(metrics.frechet_distance(found, truth))


def real_through_bytes_too(net, samples, real):
    """And the mode is put back, since the net came in training mode."""
    was = net.training
    net.eval()
    found = [net.embed(data.to_model_range(data.to_uint8(images))) for images in (real, samples)]
    net.train(was)
    return metrics.frechet_distance(*found)


def late(net, samples, real):
    found = net.embed(data.to_model_range(data.to_uint8(samples)))
    return metrics.frechet_distance(found, net.eval().embed(real))


def of_logits(net, samples, real):
    net.eval()
    return metrics.frechet_distance(net(data.to_model_range(data.to_uint8(samples))), net(real))


def seen_as(scaled):
    """The right evaluation, but for how bytes become what the network sees."""

    def distance(net, samples, real):
        net.eval()
        return metrics.frechet_distance(net.embed(scaled(data.to_uint8(samples).float())), net.embed(real))

    return distance


def both_mirrored(net, samples, real):
    net.eval()
    as_stored = data.to_model_range(data.to_uint8(samples))
    return metrics.frechet_distance(net.embed(mirrored(as_stored)), net.embed(mirrored(real)))


def of_another_network(net, samples, real):
    extractor = metrics.features.load("digits")
    return metrics.frechet_distance(extractor.features(samples), extractor.features(real))


EVALUATION = (
    [evaluation_answers.honest_distance, evaluation(), batch_by_batch, real_through_bytes_too],
    {
        "as published, with all four mistakes": (
            evaluation(cut, mirrored, lambda net: net),
            "wraps around; mirrored images are in the reference; the network is in training mode",
        ),
        "mirrored images are in the reference": (
            evaluation(reference=mirrored),
            "Still wrong: mirrored images are in the reference.",
        ),
        "the whole reference is mirrored": (
            evaluation(reference=lambda real: real.flip(3)),
            "the reference is mirrored",
        ),
        "the network stays in training mode": (
            evaluation(ready=lambda net: net),
            "Still wrong: the network is in training mode: net.eval().",
        ),
        "samples are truncated, not rounded": (
            evaluation(lambda x: cut(x.clamp(-1, 1))),
            "Still wrong: samples are truncated to 8 bits, which",
        ),
        "samples beyond [-1, 1] wrap around": (
            evaluation(lambda x: ((x + 1) * 127.5).round().to(torch.int64).to(torch.uint8)),
            "Still wrong: what lies outside [-1, 1] wraps around.",
        ),
        "samples are truncated and wrap around": (evaluation(cut), "truncated to 8 bits, and what lies outside"),
        "samples never go through 8 bits": (evaluation(None), "do not go through 8 bits"),
        "samples are clamped, and never become bytes": (
            lambda net, x, real: evaluation(None)(net, x.clamp(-1, 1), real),
            "samples are clamped",
        ),
        "both sets are mirrored": (both_mirrored, "mirrored images are in both sets"),
        "training mode ends after the samples": (late, "the samples' features are from training mode"),
        "logits in place of features": (of_logits, "a classifier's logits"),
        "bytes from 0 to 255 into the network": (seen_as(lambda b: b), "samples stay bytes"),
        "bytes scaled to [0, 1] for the network": (seen_as(lambda b: b / 255), "samples lie in 0 to 1"),
        "bytes divided by 128": (seen_as(lambda b: b / 128 - 1), "divided by 128"),
        "the root of the right distance": (lambda *a: math.sqrt(evaluation()(*a)), "that is a root"),
        "another network than the argument": (of_another_network, "Another network than `net`"),
        "no bytes, and a mirrored reference": (
            evaluation(None, mirrored),
            "8 bits, as a file would have them; mirrored",
        ),
        "the distance of pixels, without the network": (
            lambda net, x, real: metrics.frechet_distance(x.flatten(1), real.flatten(1)),
            "was never asked",
        ),
        "a mean of features, not a distance": (
            lambda net, x, real: float(net.eval().embed(x).mean()),
            "Use metrics.frechet_distance",
        ),
    },
)

# ---------------------------------------------------------------- 6.5


def apart(a, b):
    return torch.cdist(a.flatten(1), b.flatten(1))


def nearest(a, b):
    return apart(a, b).amin(1)


def copies_by_loop(samples, training, held_out):
    limit = min(min((h - t).square().sum() for t in training) for h in held_out)
    return torch.stack([min((x - t).square().sum() for t in training) < limit for x in samples])


def copies(rule):
    """From a rule for (nearest training distances of samples and of held-out images)."""
    return lambda x, y, h: rule(nearest(x, y), nearest(h, y))


COPIES = (
    [evaluation_answers.copies, copies(lambda x, h: x < h.min()), copies_by_loop],
    {
        "true for samples that are far away": (copies(lambda x, h: x >= h.min()), "The other way round"),
        "the limit is training images' distance to themselves": (
            lambda x, y, h: nearest(x, y) <= nearest(y, y).min(),
            "Only exact copies",
        ),
        "nearer than training images are to themselves": (
            lambda x, y, h: nearest(x, y) < nearest(y, y).min(),
            "Is the limit 0",
        ),
        "exact copies alone": (copies(lambda x, h: x == 0), "Only exact copies"),
        "the limit is the distance between held-out images": (
            lambda x, y, h: nearest(x, y) < torch.pdist(h.flatten(1)).min(),
            "The limit is the distance between held-out images",
        ),
        "the limit is the 1% quantile of held-out distances": (
            copies(lambda x, h: x < h.quantile(0.01)),
            "a low quantile",
        ),
        "the limit is the 5% quantile of held-out distances": (
            copies(lambda x, h: x < h.quantile(0.05)),
            "a low quantile",
        ),
        "mean distances to all training images": (
            lambda x, y, h: apart(x, y).mean(1) < apart(h, y).mean(1).min(),
            "Mean distances to all training images",
        ),
        "the smallest over samples, not training images": (
            lambda x, y, h: apart(x, y).amin(0) < apart(h, y).min(),
            "Of each sample's row take the smallest",
        ),
        "an answer for each pair": (lambda x, y, h: apart(x, y) < apart(h, y).min(), "got (40, 12). Of each"),
        "images are not made rows": (lambda x, y, h: torch.cdist(x, y) < 1, "torch.cdist(a.flatten(1), b.flatten(1))"),
        "the limit is the distance between training images": (
            lambda x, y, h: nearest(x, y) < torch.pdist(y.flatten(1)).min(),
            "near duplicates: held-out images are asked",
        ),
        "the limit is the mean held-out distance": (copies(lambda x, h: x < h.mean()), "is the mean of the held-out"),
        "the limit is the largest held-out distance": (copies(lambda x, h: x < h.max()), "the largest of the held-out"),
        "the farthest training image, not the nearest": (
            lambda x, y, h: torch.cdist(x.flatten(1), y.flatten(1)).amax(1) < nearest(h, y).min(),
            "min, not max",
        ),
        "nearer to training than to held-out images": (
            lambda x, y, h: nearest(x, y) < nearest(x, h),
            "held-out images are compared with",
        ),
        "the limit is held-out images' distance from samples": (
            lambda x, y, h: nearest(x, y) < nearest(x, h).min(),
            "should be theirs from the training",
        ),
        "squared distances against a limit that is not": (copies(lambda x, h: x**2 < h.min()), "A squared distance"),
        "one share for all samples": (copies(lambda x, h: (x < h.min()).double().mean()), "each of the 40 samples"),
        "distances come back, not answers": (copies(lambda x, h: x), "Compare with the limit"),
        "printed, and nothing is returned": (lambda *a: print(end=""), "Did you forget `return`?"),
        "every sample is called a copy": (
            copies(lambda x, h: torch.ones_like(x, dtype=torch.bool)),
            "Everything is a copy",
        ),
        "every second sample": (copies(lambda x, h: torch.arange(len(x)) % 2 == 0), "Is it a copy, case"),
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
    assert net.eval()(image).tolist() != net.embed(image).tolist()  # nor is a classifier's output its features
