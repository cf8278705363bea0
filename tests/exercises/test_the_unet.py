"""Checks of notebook 04: kind to a blank, content with any right answer, plain about a wrong one."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ddpm_edu.exercises import (
    CheckFailed,
    the_unet,
    unet_answers,
    unet_attention,
    unet_bugs,
    unet_counts,
    unet_judge,
    unet_time,
)
from ddpm_edu.models import sinusoidal, sinusoidal_adm
from ddpm_edu.models.attention import attend
from ddpm_edu.models.resblock import ResBlock
from tests.exercises import proof
from tests.exercises.blocks import BLOCKS, to_image

# ---------------------------------------------------------------- 4.3


def waves_by_loops(t, dim):
    half = dim // 2
    rows = []
    for time in t.tolist():
        angles = [time / 10_000 ** (k / (half - 1)) for k in range(half)]
        rows.append([math.sin(a) for a in angles] + [math.cos(a) for a in angles])
    return torch.tensor(rows)


def waves_by_einsum(t, dim):
    """In float64, and cosines as shifted sines."""
    w = torch.logspace(0, -4, dim // 2, dtype=torch.float64)
    angles = torch.einsum("n,k->nk", t.double(), w)
    return torch.sin(torch.cat([angles, angles + math.pi / 2], -1))


def halves(t, dim, divisor=None, sign=-1, factor=1.0, base=10_000.0):
    """Sines and cosines, (N, half) each, with what can be got wrong about the angle."""
    half = dim // 2
    k = torch.arange(half)
    w = torch.exp(sign * math.log(base) * k / (divisor or half - 1))
    angles = factor * t[:, None] * w
    return angles.sin(), angles.cos()


def joined(**options):
    return lambda t, dim: torch.cat(halves(t, dim, **options), 1)


def alternating(t, dim, **options):
    return torch.stack(halves(t, dim, **options), -1).flatten(1)


def turned(t, dim):
    """(half, N) in place of (N, half), joined along the wrong axis and cut into rows."""
    sines, cosines = halves(t, dim)
    return torch.cat([sines.T, cosines.T], 0).reshape(len(t), dim)


def into_integers(t, dim):
    table = torch.zeros(len(t), dim, dtype=t.dtype)
    table[:, : dim // 2], table[:, dim // 2 :] = halves(t, dim)
    return table


def rows_for_columns(t, dim):
    """Sines into the even rows, cosines into the odd ones."""
    sines, cosines = halves(t, dim)
    table = torch.zeros(len(t), dim)
    table[0::2], table[1::2] = sines.repeat(1, 2)[0::2], cosines.repeat(1, 2)[1::2]
    return table


def by_frequencies(rule):
    """Right but for the frequencies: ``rule(k, half)`` of the tensor of all k."""

    def embed(t, dim):
        angles = t[:, None] * rule(torch.arange(dim // 2), dim // 2)
        return torch.cat([angles.sin(), angles.cos()], 1)

    return embed


def in_place(t, dim):
    t *= 2
    return sinusoidal(t // 2, dim)


# ---------------------------------------------------------------- 4.4 and 4.5


def told_by_loops(h, w):
    result = h.clone()
    for n in range(len(h)):
        for c in range(h.shape[1]):
            result[n, c] += w[n, c]
    return result


def told_by_convolution(h, w):
    """Each image a 1x1 convolution with the identity, and its row of w as the bias; in float64."""
    same = torch.eye(h.shape[1], dtype=torch.float64)[:, :, None, None]
    return torch.cat([F.conv2d(x[None].double(), same, row.double()) for x, row in zip(h, w, strict=True)])


def told_in_place(h, w):
    h += to_image(w)
    return h


def scaled_by_einsum(normal, w, b):
    return normal + torch.einsum("nchw,nc->nchw", normal, w) + b.view(*b.shape, 1, 1)


def scaled_by_addcmul(normal, w, b):
    """Channels last, where plain broadcasting fits one sample at a time."""
    last = normal.permute(0, 2, 3, 1)
    return torch.stack([torch.addcmul(y, x, 1 + z) for x, y, z in zip(last, b, w, strict=True)]).permute(0, 3, 1, 2)


def only_first_scaled(normal, w, b):
    result = normal.clone()
    result[0] = normal[0] * (1 + w[0])[:, None, None]
    return result + to_image(b)


# ---------------------------------------------------------------- 4.6


def attend_fused(q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


def attend_with_heads(q, k, v):
    return attend(q[:, None], k[:, None], v[:, None])[:, 0]


def attend_by_einsum(q, k, v):
    """In float64, the scale taken out of q and k, the largest score taken away by hand."""
    q, k, v = (x.double() / x.shape[-1] ** 0.25 if x is not v else x.double() for x in (q, k, v))
    scores = torch.einsum("nxd,nmd->nxm", q, k)
    weights = (scores - scores.amax(2, keepdim=True)).exp()
    return torch.einsum("nxm,nme->nxe", weights / weights.sum(2, keepdim=True), v)


def attend_by_loops(q, k, v):
    result = torch.zeros(len(q), q.shape[1], v.shape[2])
    for n in range(len(q)):
        for x in range(q.shape[1]):
            weights = torch.softmax(torch.stack([q[n, x] @ key for key in k[n]]) / math.sqrt(q.shape[2]), 0)
            result[n, x] = sum(w * value for w, value in zip(weights, v[n], strict=True))
    return result


def attend_naively(q, k, v):
    weights = (q @ k.mT / math.sqrt(q.shape[2])).exp()
    return weights / weights.sum(-1, keepdim=True) @ v


def weighed(scale, axis=-1):
    """softmax(scale(q, k, v) * q k^T) v along ``axis``."""
    return lambda q, k, v: torch.softmax(q @ k.mT * scale(q, k, v), axis) @ v


def root(q, *_):
    return q.shape[2] ** -0.5


# ---------------------------------------------------------------- 4.1, 4.2 and 4.7


def parameters(i, o, e, norms=True, biases=True, time=True, shortcut=None):
    count = 9 * i * o + 9 * o * o
    shortcut = (i != o) if shortcut is None else shortcut
    count += i * o * shortcut + e * o * time + norms * 2 * (i + o)
    return count + biases * (2 * o + o * shortcut + o * time)


def parameters_of_layers(i, o, e):
    layers = [nn.Conv2d(i, o, 3), nn.Linear(e, o), nn.Conv2d(o, o, 3), nn.GroupNorm(32, i), nn.GroupNorm(1, o)]
    layers += [] if i == o else [nn.Conv2d(i, o, 1)]
    return sum(p.numel() for layer in layers for p in layer.parameters())


def parameters_of_the_block(i, o, e):
    return sum(p.numel() for p in ResBlock(i, o, e, "add", 1, 1e-6, 0.1).parameters())


def field(layers):
    seen, step = 1, 1
    for kernel, stride in layers:
        seen, step = seen + (kernel - 1) * step, step * stride
    return seen


def field_backwards(layers):
    seen = 1
    while layers:
        kernel, stride = layers.pop()  # spoils the list that it was given
        seen = (seen - 1) * stride + kernel
    return seen


def field_by_gradient(layers):
    """Which pixels of a row have a gradient. A tensor, and float64."""
    x = torch.ones(1, 1, 400, dtype=torch.float64, requires_grad=True)
    h = x
    for kernel, stride in layers:
        h = F.conv1d(h, torch.ones(1, 1, kernel, dtype=torch.float64), stride=stride)
    h[0, 0, 1].backward()
    return (x.grad != 0).sum()


def field_with(step, start=1):
    """``step(seen, jump, kernel, stride)`` -> the next pair."""

    def seen_by(layers):
        seen, jump = start, 1
        for kernel, stride in layers:
            seen, jump = step(seen, jump, kernel, stride)
        return seen

    return seen_by


def stepwise(step):
    """``step(seen, kernel, stride)`` from the first layer to the last."""

    def seen_by(layers):
        seen = 1
        for kernel, stride in layers:
            seen = step(seen, kernel, stride)
        return seen

    return seen_by


def summed(start, added, step):
    """start + the sum of added(kernel) * step(strides before)."""

    def seen_by(layers):
        strides = [stride for _, stride in layers]
        return start + sum(added(kernel) * step(strides[:i]) for i, (kernel, _) in enumerate(layers))

    return seen_by


def segments_by_trial(n):
    return min(range(1, n + 1), key=lambda k: k + math.ceil(n / k))


def segments_last_of_ties(n):
    return min(range(n, 0, -1), key=lambda k: k + math.ceil(n / k))


def never_one(n):
    return max(2, math.isqrt(n))


u = the_unet
# check: (right answers, {wrong answer: (function, words of the message)})
EXERCISES = {
    u.receptive_field: (
        [field, field_backwards, field_by_gradient],
        {
            "the kernels are added up": (lambda layers: sum(k for k, _ in layers), "sum of the kernels"),
            "the kernels are multiplied": (lambda layers: math.prod(k for k, _ in layers), "You multiply kernels"),
            "kernels and strides are multiplied": (stepwise(lambda n, k, s: n * k * s), "You multiply kernels"),
            "only the largest kernel counts": (lambda layers: max(k for k, _ in layers), "the largest kernel"),
            "strides have no effect": (lambda layers: 1 + sum(k - 1 for k, _ in layers), "Strides have no effect"),
            "a layer's own stride widens what it sees": (
                field_with(lambda n, j, k, s: (n + (k - 1) * j * s, j * s)),
                "own stride does not widen",
            ),
            "only a layer's own stride is used": (
                field_with(lambda n, j, k, s: (n + (k - 1) * s, j)),
                "Only the layer's own stride",
            ),
            "only the stride just before is used": (
                field_with(lambda n, j, k, s: (n + (k - 1) * j, s)),
                "Only the stride just before",
            ),
            "strides are added up": (field_with(lambda n, j, k, s: (n + (k - 1) * j, j + s)), "Strides are added up"),
            "strides are added up, from zero": (summed(1, lambda k: k - 1, sum), "Strides are added up"),
            "what strides add to one is added up": (
                field_with(lambda n, j, k, s: (n + (k - 1) * j, j + s - 1)),
                "Strides are added up",
            ),
            "it starts from zero pixels": (
                field_with(lambda n, j, k, s: (n + (k - 1) * j, j * s), start=0),
                "Start from 1",
            ),
            "a layer adds its whole kernel": (
                field_with(lambda n, j, k, s: (n + k * j, j * s)),
                "windows of neighbours overlap",
            ),
            "a layer adds one side of its window": (
                field_with(lambda n, j, k, s: (n + (k - 1) // 2 * j, j * s)),
                "to one side only",
            ),
            "from zero pixels, and without strides": (
                lambda layers: sum(k - 1 for k, _ in layers),
                "Two things. Too small by 1: with no layer at all, a pixel sees itself. Start from 1. Strides have no",
            ),
            "the layers are in reverse order": (lambda layers: field(layers[::-1]), "reverse order"),
            "the backward rule goes forward": (stepwise(lambda n, k, s: (n - 1) * s + k), "reverse order"),
            "a mixture of both rules goes forward": (
                stepwise(lambda n, k, s: n * s + k - 1),
                "begins at the last layer",
            ),
            "the area in place of the side": (lambda layers: field(layers) ** 2, "the area"),
            "half of it, as a float": (
                lambda layers: field(layers) / 2,
                "f([(3, 1)]): expected a whole number, got 1.5",
            ),
            "a tensor with a number a layer": (
                lambda layers: torch.tensor([k for k, _ in layers * 2]),
                "expected a whole number",
            ),
            "it asks for the layer after the last": (
                lambda layers: 1 + sum((layers[i][0] - 1) * layers[i + 1][1] for i in range(len(layers))),
                "The last layer has no next one",
            ),
        },
    ),
    u.block_parameters: (
        [parameters, parameters_of_layers, parameters_of_the_block, lambda *a: torch.tensor(parameters(*a))],
        {
            "no layer has a bias": (lambda *a: parameters(*a, biases=False), "All biases are missing"),
            "the convolutions have no bias": (
                lambda i, o, e: parameters(i, o, e, biases=False) + o + o * (i != o),
                "the biases of both 3x3 convolutions, or",
            ),
            "the time's layer has no bias": (lambda i, o, e: parameters(i, o, e) - o, "a bias"),
            "the shortcut has no bias": (lambda i, o, e: parameters(i, o, e) - o * (i != o), "shortcut's bias"),
            "a bias for each input of the time's layer": (
                lambda i, o, e: parameters(i, o, e) - o + e,
                "for each number that it gives",
            ),
            "a bias for each input channel": (lambda i, o, e: parameters(i, o, e) - o + i, "c_out, not c_in"),
            "a shortcut convolution in every block": (
                lambda *a: parameters(*a, shortcut=True),
                "are equal, the shortcut is x itself",
            ),
            "no shortcut convolution": (
                lambda i, o, e: parameters(i, o, e, shortcut=False),
                "differ, the shortcut is a 1x1",
            ),
            "a 3x3 convolution as shortcut": (
                lambda i, o, e: parameters(i, o, e) + 8 * i * o * (i != o),
                "without the 9",
            ),
            "the time's layer is forgotten": (
                lambda i, o, e: parameters(i, o, e, time=False) - o,
                "time's layer is missing",
            ),
            "twice as many numbers from the time": (
                lambda i, o, e: sum(p.numel() for p in ResBlock(i, o, e, "scale_shift", 1, 1e-6, 0.1).parameters()),
                "2 c_out numbers in AdaGN",
            ),
            "the time's layer leads to c_in": (
                lambda i, o, e: parameters(i, o, e) + (e + 1) * (i - o),
                "to c_out channels: from e to c_out",
            ),
            "one weight for each number of the time": (
                lambda i, o, e: parameters(i, o, e) - e * o + o,
                "e weights for each",
            ),
            "no group norms": (lambda *a: parameters(*a, norms=False), "The group norms are missing"),
            "one number a channel in the norms": (lambda i, o, e: parameters(i, o, e) - i - o, "two numbers a channel"),
            "the first norm is forgotten": (lambda i, o, e: parameters(i, o, e) - 2 * i, "c_in channels is missing"),
            "the second norm is forgotten": (lambda i, o, e: parameters(i, o, e) - 2 * o, "or the second group norm"),
            "both norms have c_in channels": (
                lambda i, o, e: parameters(i, o, e) + 2 * i - 2 * o,
                "second group norm follows",
            ),
            "both norms have c_out channels": (
                lambda i, o, e: parameters(i, o, e) + 2 * o - 2 * i,
                "first group norm stands before",
            ),
            "the norms count groups": (
                lambda i, o, e: parameters(i, o, e, norms=False) + 128,
                "have 128 in every block",
            ),
            "a kernel has one weight": (lambda i, o, e: parameters(i, o, e) - 8 * (i * o + o * o), "The 9 is missing"),
            "a kernel has three weights": (
                lambda i, o, e: parameters(i, o, e) - 6 * (i * o + o * o),
                "3 in place of 9",
            ),
            "both convolutions read c_in channels": (
                lambda i, o, e: parameters(i, o, e) + 9 * (i * o - o * o),
                "from c_out to c_out",
            ),
            "the second convolution widens, not the first": (
                lambda i, o, e: parameters(i, o, e) + 9 * (i * i - o * o) + i - o,
                "The first convolution goes from c_in to c_out",
            ),
            "only one 3x3 convolution": (
                lambda i, o, e: parameters(i, o, e) - 9 * o * o - o,
                "second 3x3 convolution",
            ),
            "no norms, and no shortcut": (
                lambda *a: parameters(*a, norms=False, shortcut=False),
                "Two things. The group norms are missing",
            ),
            "weights of convolutions and time, nothing else": (
                lambda i, o, e: 9 * i * o + 9 * o * o + e * o,
                "Three things. The group norms are missing",
            ),
            "one number more a channel": (
                lambda *a: parameters(*a) + a[0],
                "c_in = 32, c_out = 64, e = 5: expected 58,112, got 58,144",
            ),
            "nothing is returned": (lambda *a: None, "forget `return`"),
            "a layer in place of a number": (lambda *a: nn.Linear(2, 3), "expected a whole number"),
        },
    ),
    u.time_embedding: (
        [sinusoidal, waves_by_loops, waves_by_einsum, joined()],
        {
            "the cosines come first": (lambda t, dim: torch.cat(halves(t, dim)[::-1], 1), "The cosines come first"),
            "k is divided by dim/2": (lambda t, dim: torch.cat(halves(t, dim, dim // 2), 1), "dim/2 - 1"),
            "2k is divided by dim": (lambda t, dim: torch.cat(halves(t, dim, dim / 2), -1), "2k by dim"),
            "k is divided by dim": (lambda t, dim: torch.cat(halves(t, dim, dim), 1), "k is divided by dim: "),
            "k is not divided": (by_frequencies(lambda k, half: 10_000.0**-k), "k is not divided"),
            "k begins at 1": (by_frequencies(lambda k, half: 10_000 ** (-(k + 1) / (half - 1))), "k begins at 1. It"),
            "k begins at 1, over dim/2": (
                by_frequencies(lambda k, half: 10_000 ** (-(k + 1) / half)),
                "k begins at 1, and",
            ),
            "improved DDPM's embedding": (
                sinusoidal_adm,
                "Two things. k is divided by dim/2 (or 2k by dim: the same). Here it is dim/2 - 1. The cosines come",
            ),
            "sines and cosines alternate": (alternating, "alternate"),
            "the Transformer's embedding": (
                lambda t, dim: alternating(t, dim, divisor=dim / 2),
                "dim/2 - 1. Sines and cosines alternate",
            ),
            "the frequencies rise": (joined(sign=1), "upside down"),
            "t is multiplied by what should divide it": (
                by_frequencies(lambda k, half: 10_000 ** (k / (half - 1))),
                "upside down",
            ),
            "the exponential without log(10000)": (joined(base=math.e), "log(10000) is missing"),
            "base 1000": (joined(base=1000.0), "The base is 1000"),
            "the bracket closes too early": (
                by_frequencies(lambda k, half: torch.exp(-k * math.log(10_000)) / (half - 1)),
                "The bracket",
            ),
            "frequencies by equal steps": (
                by_frequencies(lambda k, half: torch.linspace(1, 1e-4, half)),
                "equal steps",
            ),
            "k divided by //": (by_frequencies(lambda k, half: 10_000.0 ** (-(k // (half - 1)))), "/, not //"),
            "minus k divided by //": (by_frequencies(lambda k, half: 10_000.0 ** (-k // (half - 1))), "/, not //"),
            "a whole number to whole powers": (by_frequencies(lambda k, half: 10_000**-k), "10_000.0"),
            "stacked, then cut anew": (
                lambda t, dim: torch.stack(halves(t, dim)).reshape(len(t), dim),
                "another sample's row",
            ),
            "joined along the batch, then cut anew": (
                lambda t, dim: torch.cat(halves(t, dim), 0).view(len(t), dim),
                "another sample's row",
            ),
            "turned, joined, then cut anew": (turned, "another sample's row"),
            "a row for each frequency": (
                lambda t, dim: torch.cat([h.T for h in halves(t, dim)], 1),
                "Times and frequencies are swapped",
            ),
            "each time meets one frequency": (
                lambda t, dim: torch.cat([x.diagonal() for x in halves(t, dim)]),
                "t[:, None]",
            ),
            "t meets the frequencies without a column": (
                lambda t, dim: (t * torch.arange(dim).float()).sin(),
                "t[:, None] makes a column",
            ),
            "k runs down": (lambda t, dim: torch.cat(halves(t, dim), 1).flip(1), "in another order"),
            "rows of sines, rows of cosines": (rows_for_columns, "Some rows have sines only"),
            "the sines twice": (lambda t, dim: torch.cat(halves(t, dim)[:1] * 2, 1), "The sines come twice"),
            "the cosines twice": (lambda t, dim: torch.cat(halves(t, dim)[1:] * 2, 1), "The cosines come twice"),
            "the time has no effect": (lambda t, dim: sinusoidal(torch.ones_like(t), dim), "The time has no effect"),
            "t outside the sine": (
                lambda t, dim: t[:, None] * sinusoidal(torch.ones_like(t), dim),
                "t belongs inside",
            ),
            "a table of whole numbers": (into_integers, "whole numbers"),
            "angles turned into degrees": (joined(factor=180 / math.pi), "radians"),
            "angles taken for degrees": (joined(factor=math.pi / 180), "radians"),
            "a factor of 2 pi": (joined(factor=2 * math.pi), "2 pi"),
            "t is divided by T": (joined(factor=1e-3), "divided by T"),
            "t - 1 is embedded": (lambda t, dim: sinusoidal(t - 1, dim), "t - 1 was embedded"),
            "stacked along a new axis": (lambda t, dim: torch.stack(halves(t, dim), -1), "stacked, not joined"),
            "only the sines": (lambda t, dim: halves(t, dim)[0], "That is one half"),
            "dim frequencies": (lambda t, dim: sinusoidal(t, 2 * dim), "dim/2 frequencies, not dim"),
            "joined along the batch": (lambda t, dim: torch.cat(halves(t, dim), 0), "the cosines beside the sines"),
            "a column for each time": (lambda t, dim: sinusoidal(t, dim).T, "A row for each time"),
            "math.sin of a tensor": (lambda t, dim: math.sin(t[:, None]), "The functions of math take one number"),
            "torch.log of a number": (lambda t, dim: torch.log(dim) * t, "For a plain number"),
            "a matrix product of whole numbers and floats": (
                lambda t, dim: t[:, None] @ torch.rand(1, dim),
                "t is int64, and @ converts nothing",
            ),
            "t is changed in place": (in_place, "in place"),
        },
    ),
    u.tell_time: (
        [lambda h, w: h + to_image(w), told_by_loops, told_by_convolution],
        {
            "plain h + w": (lambda h, w: h + w, "Plain h + w"),
            "one axis is missing": (lambda h, w: h + w[:, :, None], "(N, C, 1, 1)"),
            "w as if channels were last": (lambda h, w: h + w[:, None, None], "(N, C, 1, 1)"),
            "the new axis in the middle": (lambda h, w: h + w[:, None, :, None], "(N, C, 1, 1)"),
            "w is transposed": (lambda h, w: h + to_image(w.T), "do not transpose"),
            "the first sample's row for all": (lambda h, w: h + w[0][:, None, None], "first one's numbers"),
            "the mean of all of w": (lambda h, w: h + w.mean(), "One number for all"),
            "the batch's mean of w": (lambda h, w: h + w.mean(0)[:, None, None], "batch's mean"),
            "the channels' mean of w": (
                lambda h, w: h + w.mean(1)[:, None, None, None],
                "mean. w has one number a channel",
            ),
            "the channels' sum of w": (lambda h, w: h + w.sum(1)[:, None, None, None], "the sum of w"),
            "w is taken away": (lambda h, w: h - to_image(w), "taken away"),
            "w is added twice": (lambda h, w: h + 2 * to_image(w), "added twice"),
            "h times w": (lambda h, w: h * to_image(w), "You multiply"),
            "h times 1 + w": (lambda h, w: h * (1 + to_image(w)), "You multiply"),
            "w alone is returned": (lambda h, w: to_image(w).expand_as(h), "it is missing"),
            "only half of w is added": (
                lambda h, w: h + to_image(w) / 2,
                "sample 0, channel 0, pixel (0, 0): expected",
            ),
            "an axis too many": (
                lambda h, w: h[..., None] + w[:, :, None, None, None],
                "expected shape (3, 3, 3, 3)",
            ),
            "w with sizes that fit the square only": (
                lambda h, w: h + w if w.shape != (3, 3) else h + to_image(w),
                "two axes are missing",
            ),
            "sizes that nobody has defined": (lambda h, w: h + w.view(N, C, 1, 1), "read off a shape"),  # noqa: F821
            "h is changed in place": (told_in_place, "in place"),
            "nothing is returned": (lambda h, w: None, "forget `return`"),
        },
    ),
    u.scale_shift: (
        [lambda x, w, b: x * (1 + to_image(w)) + to_image(b), scaled_by_einsum, scaled_by_addcmul],
        {
            "the 1 is missing": (lambda x, w, b: x * to_image(w) + to_image(b), "the branch is all but dead"),
            "shifted first, then scaled": (
                lambda x, w, b: (x + to_image(b)) * (1 + to_image(w)),
                "multiplies b too",
            ),
            "1 + w scales the shift": (lambda x, w, b: x + (1 + to_image(w)) * to_image(b), "1 + w multiplies b. It"),
            "no brackets around 1 + w": (lambda x, w, b: x * 1 + to_image(w) + to_image(b), "brackets"),
            "the 1 is added to the result": (lambda x, w, b: x * to_image(w) + 1 + to_image(b), "The 1 is added"),
            "w and b are swapped": (lambda x, w, b: x * (1 + to_image(b)) + to_image(w), "w and b are swapped"),
            "the shift is missing": (lambda x, w, b: x * (1 + to_image(w)), "b is missing"),
            "the shift is taken away": (lambda x, w, b: x * (1 + to_image(w)) - to_image(b), "b is taken away"),
            "scaled by 1 - w": (lambda x, w, b: x * (1 - to_image(w)) + to_image(b), "taken from 1"),
            "divided by 1 + w": (lambda x, w, b: x / (1 + to_image(w)) + to_image(b), "You divide by 1 + w"),
            "scaled by 2 + w": (lambda x, w, b: x + x * (1 + to_image(w)) + to_image(b), "comes twice"),
            "scaled by exp(w)": (lambda x, w, b: x * to_image(w.exp()) + to_image(b), "exp(w)"),
            "w and b on the last axes": (lambda x, w, b: x * (1 + w) + b, "Sample and channel of w and b"),
            "one axis is missing": (
                lambda x, w, b: x * (1 + w[:, :, None]) + b[:, :, None],
                "Sample and channel of w and b",
            ),
            "w on the last axes": (lambda x, w, b: x * (1 + w) + to_image(b), "Sample and channel of w met"),
            "b on the last axes": (lambda x, w, b: x * (1 + to_image(w)) + b, "Sample and channel of b"),
            "w and b are transposed": (
                lambda x, w, b: x * (1 + to_image(w.T)) + to_image(b.T),
                "do not transpose",
            ),
            "the first sample's rows for all": (
                lambda x, w, b: x * (1 + to_image(w[:1])) + to_image(b[:1]),
                "first one's numbers",
            ),
            "the first sample's scale for all": (
                lambda x, w, b: x * (1 + to_image(w)[:1]) + to_image(b),
                "first one's numbers",
            ),
            "only the first sample is scaled": (only_first_scaled, "sample 1, channel 0, pixel (0, 0): expected"),
            "the image is normalised again": (
                lambda x, w, b: F.group_norm(x, 1) * (1 + to_image(w)) + to_image(b),
                "normalised again",
            ),
            "each channel is normalised again": (
                lambda x, w, b: F.instance_norm(x) * (1 + to_image(w)) + to_image(b),
                "normalised again",
            ),
        },
    ),
    u.attention: (
        [attend_fused, attend_with_heads, attend_by_einsum, attend_by_loops],
        {
            "the scores are not scaled": (weighed(lambda *_: 1), "not scaled"),
            "divided by d": (weighed(lambda q, k, v: 1 / q.shape[2]), "You divide by d"),
            "divided by the fourth root of d": (weighed(lambda q, k, v: q.shape[2] ** -0.25), "fourth root"),
            "multiplied by the root of d": (weighed(lambda q, k, v: q.shape[2] ** 0.5), "You multiply by sqrt(d)"),
            "the scores with the wrong sign": (weighed(lambda q, k, v: -(q.shape[2] ** -0.5)), "the wrong sign"),
            "the root of a value's length": (weighed(lambda q, k, v: v.shape[2] ** -0.5), "root of e"),
            "the root of the number of keys": (weighed(lambda q, k, v: k.shape[1] ** -0.5), "root of M"),
            "the root of the number of queries": (weighed(lambda q, k, v: q.shape[1] ** -0.5), "root of X"),
            "the root of the batch": (weighed(lambda q, k, v: q.shape[0] ** -0.5), "root of N"),
            "scaled after the softmax": (
                lambda q, k, v: torch.softmax(q @ k.mT, -1) @ v / q.shape[2] ** 0.5,
                "after the softmax",
            ),
            "scaled before and after": (lambda q, k, v: attend_fused(q, k, v) / q.shape[2] ** 0.5, "You scale twice"),
            "the softmax over the queries": (weighed(root, 1), "over the queries"),
            "the softmax over the batch": (weighed(root, 0), "over the batch"),
            "the softmax over all pairs": (
                lambda q, k, v: torch.softmax((q @ k.mT * root(q)).flatten(1), 1).view(len(q), -1, k.shape[1]) @ v,
                "of all queries together",
            ),
            "not scaled, and over the queries": (
                weighed(lambda *_: 1, 1),
                "Two things. The scores are not scaled: divide q k^T by sqrt(d). The softmax runs over the queries",
            ),
            "no softmax": (lambda q, k, v: q @ k.mT / q.shape[2] ** 0.5 @ v, "softmax is missing"),
            "log_softmax in place of softmax": (
                lambda q, k, v: torch.log_softmax(q @ k.mT * root(q), -1) @ v,
                "log_softmax gives",
            ),
            "exponentials that are not divided": (
                lambda q, k, v: (q @ k.mT / q.shape[2] ** 0.5).exp() @ v,
                "divided by their sum",
            ),
            "exp of large scores": (attend_naively, "overflow exp"),
            "exp of large scores, in float64": (lambda *a: attend_naively(*(x.double() for x in a)), "overflow exp"),
            "q and k are swapped": (lambda q, k, v: attend_fused(k, q, v), "q and k are swapped"),
            "k and v are swapped": (lambda q, k, v: attend_fused(q, v, k), "k and v are swapped"),
            "k is not transposed": (
                lambda q, k, v: torch.softmax(q @ k / q.shape[2] ** 0.5, -1) @ v,
                "not transposed",
            ),
            "k is reshaped, not transposed": (
                lambda q, k, v: torch.softmax(q @ k.reshape(len(k), k.shape[2], -1) * root(q), -1) @ v,
                "reshape and view do not do it",
            ),
            "all axes of k are turned": (
                lambda q, k, v: torch.softmax(q @ k.permute(2, 1, 0) / q.shape[2] ** 0.5, -1) @ v,
                "k.T turns",
            ),
            "the weights are transposed": (
                lambda q, k, v: torch.softmax(q @ k.mT / q.shape[2] ** 0.5, -1).mT @ v,
                "meet v transposed",
            ),
            "v is transposed": (lambda q, k, v: torch.softmax(q @ k.mT * root(q), -1) @ v.mT, "v is transposed"),
            "v times the weights": (lambda q, k, v: v @ torch.softmax(q @ k.mT * root(q), -1), "mixes the channels"),
            "channels attend to channels": (
                lambda q, k, v: v @ torch.softmax(q.mT @ k * root(q), -1),
                "q^T k compares channels",
            ),
            "q times k, number by number": (
                lambda q, k, v: torch.softmax(q * k * root(q), -1) @ v,
                "q * k multiplies number by number",
            ),
            "products number by number, both times": (
                lambda q, k, v: torch.softmax(q * k * root(q), -1) * v,
                "Two things. q * k multiplies number by number",
            ),
            "samples are averaged": (
                lambda q, k, v: attend_fused(q, k, v).mean(0).expand(len(q), -1, -1),
                "Samples never mix",
            ),
            "the plain mean of the values": (
                lambda q, k, v: v.mean(1, keepdim=True).expand(-1, q.shape[1], -1),
                "the plain mean of the values",
            ),
            "the weights are returned": (
                lambda q, k, v: torch.softmax(q @ k.mT * root(q), -1),
                "Those are the weights",
            ),
            "the sum over all queries": (
                lambda q, k, v: attend_fused(q, k, v).sum(1, keepdim=True).expand(-1, q.shape[1], -1),
                "sample 0, query 0, number 0: expected",
            ),
            "a transpose for single matrices": (lambda q, k, v: q @ k.t(), "There is a batch in front"),
            "a product for single matrices": (lambda q, k, v: torch.mm(q, k), "torch.mm knows single matrices"),
            "a product of two vectors": (lambda q, k, v: torch.dot(q, k), "torch.dot knows two vectors"),
            "a root of a plain number by torch": (
                lambda q, k, v: q @ k.mT / torch.sqrt(q.shape[-1]),
                "For a plain number",
            ),
            "a product whose inner sizes differ": (
                lambda q, k, v: q @ k if len(q) == 2 else attend_fused(q, k, v),
                "gives (N, X, M)",
            ),
        },
    ),
    u.best_checkpoints: (
        [
            segments_by_trial,
            segments_last_of_ties,
            math.isqrt,
            lambda n: round(math.sqrt(n)),
            lambda n: math.ceil(n**0.5),
            lambda n: torch.tensor(n).sqrt().floor(),
        ],
        {
            "half as many as layers": (lambda n: n // 2, "far fewer"),
            "half as many, at least one": (lambda n: max(1, n // 2), "far fewer"),
            "as many as layers": (lambda n: n, "nothing is saved"),
            "one segment": (lambda n: 1, "One segment"),
            "the logarithm of n": (lambda n: int(math.log2(n)), "log2(n)"),
            "the logarithm of n, rounded up": (lambda n: max(1, math.ceil(math.log2(n))), "log2(n)"),
            "the memory in place of k": (
                lambda n: min(k + math.ceil(n / k) for k in range(1, n + 1)),
                "That is the least memory",
            ),
            "n / k rounded down": (lambda n: min(range(1, n + 1), key=lambda k: k + n // k), "rounded down"),
            "the root, not rounded": (lambda n: math.sqrt(n), "f(10): expected a whole number, got 3.16"),
            "the most memory, not the least": (
                lambda n: max(range(1, n + 1), key=lambda k: k + math.ceil(n / k)),
                "One segment",
            ),
            "k begins at 0": (lambda n: min(range(n), key=lambda k: k + math.ceil(n / k)), "k begins at 1"),
            "k stops before n": (
                lambda n: min(range(1, n), key=lambda k: k + math.ceil(n / k)),
                "For n = 1 nothing is left",
            ),
            "the position of the best in a list": (lambda n: segments_by_trial(n) - 1, "keeps"),
            "never one segment": (never_one, "n = 1: 2 segments"),
            "the cube root of n": (
                lambda n: round(n ** (1 / 3)),
                "n = 16: k = 3 keeps 9 units in memory, k = 4 only 8",
            ),
            "nothing is returned": (lambda n: print(n), "forget `return`"),
        },
    ),
    u.mended_block: BLOCKS,
}
(
    test_a_blank_is_told_kindly_and_raises_nothing,
    test_the_librarys_answer_and_other_correct_ones_pass,
    test_a_wrong_answer_is_refused_with_the_likely_mistake,
    test_every_check_is_listed_here,
) = proof.of(the_unet, EXERCISES)


@pytest.mark.parametrize("shape", [(2, 3, 5), (4, 4, 3), (6, 2, 4), *unet_counts._BLOCKS])
def test_the_count_by_hand_is_that_of_the_librarys_block(shape):
    i, o, e = shape
    assert parameters(i, o, e) == parameters_of_the_block(i, o, e)
    assert unet_counts._BLOCKS.get(shape, parameters(i, o, e)) == parameters_of_the_block(i, o, e)


def test_the_least_memory_is_two_roots_rounded_up():
    for n in range(1, 200):
        assert min(unet_counts._memory(n).values()) == math.ceil(2 * math.sqrt(n)), n


def test_a_failing_call_is_explained_by_this_lesson_and_no_other():
    def fails(h, w):
        return h + torch.zeros(7)

    with pytest.raises(CheckFailed) as refusal:
        the_unet.tell_time(fails)
    assert "must match" in str(refusal.value)
    assert "two axes are missing" in str(refusal.value)
    assert "at(table" not in str(refusal.value)


def test_ways_begin_with_the_right_one_and_end_with_the_most_mistakes():
    kind = [("right", ""), ("a", "A."), ("b", "B.")]
    found = list(unet_judge.ways(kind, kind, most=2))
    assert found[0] == (["right", "right"], "")
    assert found[1:5] == [
        ([*pair], f"{''.join(pair).replace('right', '').upper()}.")
        for pair in (("right", "a"), ("right", "b"), ("a", "right"), ("b", "right"))
    ]
    assert found[-1] == (["b", "b"], "Two things. B. B.")
    assert len(list(unet_judge.ways(kind, kind, most=1))) == 5


def test_the_first_of_each_list_of_mistakes_is_none():
    """Else the words about a second mistake would be about another one."""
    q, k, v = (torch.randn(3, 3, 3, dtype=torch.float64) for _ in range(3))
    with torch.no_grad():
        layers, x, told = unet_bugs._example(6)
    networks = unet_counts._NETWORKS
    firsts = [
        (next(unet_time._waves((7, 400), 6))[0], sinusoidal(torch.tensor([7, 400]), 6)),
        (next(iter(unet_attention._wrong_attention(q, k, v)))[0], attend_fused(q, k, v)),
        (next(unet_counts._wrong_counts())[0], torch.tensor(list(unet_counts._BLOCKS.values()))),
        (
            next(values for values, words in unet_counts._wrong_fields() if not words),
            torch.tensor([*map(field, networks)]),
        ),
        (next(iter(unet_bugs._wrong_blocks(layers, x, told)))[0], unet_answers.mended_block(layers, x, told)),
    ]
    for first, right in firsts:
        assert torch.allclose(first.double(), right.double(), atol=1e-4)


@pytest.mark.parametrize("width", [4, 6])
def test_the_block_in_plain_floats_is_the_librarys(width):
    block = ResBlock(4, width, 5, "add", 2, 1e-6, 0.5).double().eval()
    for p in block.parameters():
        nn.init.normal_(p)
    x, told = torch.randn(2, 4, 3, 5).double(), torch.randn(2, 5).double()
    floats = [
        unet_bugs._block(unet_answers.Layers(block), *pair) for pair in zip(x.tolist(), told.tolist(), strict=True)
    ]
    assert torch.allclose(torch.tensor(floats, dtype=torch.float64), block(x, told), atol=1e-9)


def test_layers_are_the_blocks_own_and_follow_it_into_training():
    block = ResBlock(4, 6, 5, "add", 2, 1e-6, 0.5)
    layers = unet_answers.Layers(block)
    assert {*map(id, layers.parameters())} == {*map(id, block.parameters())}
    block.eval()
    assert not layers.dropout.training


def test_the_learners_random_stream_is_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    the_unet.mended_block(unet_answers.mended_block)
    assert torch.equal(torch.rand(2), expected)
