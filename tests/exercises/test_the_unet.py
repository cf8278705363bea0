"""Checks of notebook 04: kind to a blank, content with any right answer, plain about a wrong one."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ddpm_edu.exercises import the_unet
from ddpm_edu.models import sinusoidal, sinusoidal_adm
from ddpm_edu.models.attention import attend
from ddpm_edu.models.resblock import ResBlock
from tests.exercises import proof

# ---------------------------------------------------------------- 4.1


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


def in_place(t, dim):
    t *= 2
    return sinusoidal(t // 2, dim)


# ---------------------------------------------------------------- 4.2 and 4.3


def to_image(w):
    return w[:, :, None, None]


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


# ---------------------------------------------------------------- 4.4


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


# ---------------------------------------------------------------- 4.5 to 4.7


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


def segments_by_trial(n):
    return min(range(1, n + 1), key=lambda k: k + math.ceil(n / k))


def segments_last_of_ties(n):
    return min(range(n, 0, -1), key=lambda k: k + math.ceil(n / k))


def never_one(n):
    return max(2, math.isqrt(n))


u = the_unet
# check: (right answers, {wrong answer: (function, words of the message)})
EXERCISES = {
    u.time_embedding: (
        [sinusoidal, waves_by_loops, waves_by_einsum, joined()],
        {
            "cosines first": (lambda t, dim: torch.cat(halves(t, dim)[::-1], 1), "The cosines come first"),
            "dim/2": (lambda t, dim: torch.cat(halves(t, dim, dim // 2), 1), "dim/2 - 1"),
            "improved DDPM's": (sinusoidal_adm, "dim/2 - 1. The cosines come first"),
            "2k/dim": (lambda t, dim: torch.cat(halves(t, dim, dim / 2), -1), "2k by dim"),
            "interleaved": (alternating, "alternate"),
            "the transformer's": (lambda t, dim: alternating(t, dim, divisor=dim / 2), "dim/2 - 1. Sines and cosines"),
            "plus": (joined(sign=1), "upside down"),
            "one over": (
                lambda t, dim: torch.cat(
                    [
                        f(t[:, None] * 10_000 ** (torch.arange(dim // 2) / (dim // 2 - 1)))
                        for f in (torch.sin, torch.cos)
                    ],
                    1,
                ),
                "upside down",
            ),
            "base e": (joined(base=math.e), "log(10000) is missing"),
            "stacked (2, N, half)": (
                lambda t, dim: torch.stack(halves(t, dim)).reshape(len(t), dim),
                "another sample's row",
            ),
            "joined along the batch": (
                lambda t, dim: torch.cat(halves(t, dim), 0).view(len(t), dim),
                "another sample's row",
            ),
            "turned and cut": (turned, "another sample's row"),
            "w[:, None] * t": (
                lambda t, dim: torch.cat([h.T for h in halves(t, dim)], 1),
                "Times and frequencies are swapped",
            ),
            "no column": (lambda t, dim: torch.cat([x.diagonal() for x in halves(t, dim)]), "t[:, None]"),
            "k falling": (lambda t, dim: torch.cat(halves(t, dim), 1).flip(1), "in another order"),
            "rows for columns": (rows_for_columns, "number 4 of sample 0: expected"),
            "no t": (lambda t, dim: sinusoidal(torch.ones_like(t), dim), "The time has no effect"),
            "integers": (into_integers, "whole numbers"),
            "degrees": (joined(factor=180 / math.pi), "radians"),
            "radians of degrees": (joined(factor=math.pi / 180), "radians"),
            "2 pi": (joined(factor=2 * math.pi), "2 pi"),
            "t / T": (joined(factor=1e-3), "divided by T"),
            "t - 1": (lambda t, dim: sinusoidal(t - 1, dim), "of sample 0: expected"),
            "not joined": (lambda t, dim: torch.stack(halves(t, dim), -1), "expected shape (4, 8), got (4, 4, 2)"),
            "in place": (in_place, "in place"),
        },
    ),
    u.tell_time: (
        [lambda h, w: h + to_image(w), told_by_loops, told_by_convolution],
        {
            "plain": (lambda h, w: h + w, "Plain h + w"),
            "one axis": (lambda h, w: h + w[:, :, None], "(N, C, 1, 1)"),
            "channels last": (lambda h, w: h + w[:, None, None], "(N, C, 1, 1)"),
            "between": (lambda h, w: h + w[:, None, :, None], "(N, C, 1, 1)"),
            "transposed": (lambda h, w: h + to_image(w.T), "do not transpose"),
            "first sample": (lambda h, w: h + w[0][:, None, None], "first one's numbers"),
            "mean of all": (lambda h, w: h + w.mean(), "One number for all"),
            "mean over the batch": (lambda h, w: h + w.mean(0)[:, None, None], "batch's mean"),
            "mean over channels": (lambda h, w: h + w.mean(1)[:, None, None, None], "mean. w has one number a channel"),
            "multiplied": (lambda h, w: h * to_image(w), "You multiply"),
            "scaled": (lambda h, w: h * (1 + to_image(w)), "You multiply"),
            "w alone": (lambda h, w: to_image(w).expand_as(h), "it is missing"),
            "twice": (lambda h, w: h + 2 * to_image(w), "sample 0, channel 0, pixel (0, 0): expected"),
            "five axes": (lambda h, w: h[..., None] + w[:, :, None, None, None], "expected shape (3, 3, 3, 3)"),
            "in place": (told_in_place, "in place"),
            "nothing": (lambda h, w: None, "forget `return`"),
        },
    ),
    u.scale_shift: (
        [lambda x, w, b: x * (1 + to_image(w)) + to_image(b), scaled_by_einsum, scaled_by_addcmul],
        {
            "no 1": (lambda x, w, b: x * to_image(w) + to_image(b), "the branch is all but dead"),
            "shift first": (lambda x, w, b: (x + to_image(b)) * (1 + to_image(w)), "multiplies b too"),
            "1 + w on b": (lambda x, w, b: x + (1 + to_image(w)) * to_image(b), "1 + w multiplies b. It belongs"),
            "no brackets": (lambda x, w, b: x * 1 + to_image(w) + to_image(b), "brackets"),
            "1 outside": (lambda x, w, b: x * to_image(w) + 1 + to_image(b), "The 1 is added to the result"),
            "swapped": (lambda x, w, b: x * (1 + to_image(b)) + to_image(w), "w and b are swapped"),
            "no b": (lambda x, w, b: x * (1 + to_image(w)), "b is missing"),
            "exp": (lambda x, w, b: x * to_image(w.exp()) + to_image(b), "exp(w)"),
            "plain": (lambda x, w, b: x * (1 + w) + b, "Sample and channel of w and b"),
            "one axis": (lambda x, w, b: x * (1 + w[:, :, None]) + b[:, :, None], "Sample and channel of w and b"),
            "b plain": (lambda x, w, b: x * (1 + to_image(w)) + b, "Sample and channel of b"),
            "transposed": (lambda x, w, b: x * (1 + to_image(w.T)) + to_image(b.T), "do not transpose"),
            "first sample": (lambda x, w, b: x * (1 + to_image(w[:1])) + to_image(b[:1]), "first one's numbers"),
            "first sample's w": (lambda x, w, b: x * (1 + to_image(w)[:1]) + to_image(b), "first one's numbers"),
            "only the first scaled": (only_first_scaled, "sample 1, channel 0, pixel (0, 0): expected"),
            "normalised again": (
                lambda x, w, b: F.group_norm(x, 1) * (1 + to_image(w)) + to_image(b),
                "normalised again",
            ),
            "normalised by channel": (
                lambda x, w, b: F.instance_norm(x) * (1 + to_image(w)) + to_image(b),
                "normalised again",
            ),
        },
    ),
    u.attention: (
        [attend_fused, attend_with_heads, attend_by_einsum, attend_by_loops],
        {
            "no scale": (weighed(lambda *_: 1), "not scaled"),
            "by d": (weighed(lambda q, k, v: 1 / q.shape[2]), "You divide by d"),
            "times root": (weighed(lambda q, k, v: q.shape[2] ** 0.5), "You multiply by sqrt(d)"),
            "root of e": (weighed(lambda q, k, v: v.shape[2] ** -0.5), "root of e"),
            "root of M": (weighed(lambda q, k, v: k.shape[1] ** -0.5), "root of M"),
            "scaled late": (lambda q, k, v: torch.softmax(q @ k.mT, -1) @ v / q.shape[2] ** 0.5, "after the softmax"),
            "over queries": (weighed(root, 1), "over the queries"),
            "over the batch": (weighed(root, 0), "over the batch"),
            "no softmax": (lambda q, k, v: q @ k.mT / q.shape[2] ** 0.5 @ v, "softmax is missing"),
            "exp alone": (lambda q, k, v: (q @ k.mT / q.shape[2] ** 0.5).exp() @ v, "divided by their sum"),
            "overflow": (attend_naively, "overflow exp"),
            "overflow in float64": (lambda *a: attend_naively(*(x.double() for x in a)), "overflow exp"),
            "swapped": (lambda q, k, v: attend_fused(k, q, v), "q and k are swapped"),
            "not transposed": (lambda q, k, v: torch.softmax(q @ k / q.shape[2] ** 0.5, -1) @ v, "not transposed"),
            "all axes turned": (
                lambda q, k, v: torch.softmax(q @ k.permute(2, 1, 0) / q.shape[2] ** 0.5, -1) @ v,
                "k.T turns",
            ),
            "weights turned": (
                lambda q, k, v: torch.softmax(q @ k.mT / q.shape[2] ** 0.5, -1).mT @ v,
                "meet v transposed",
            ),
            "batch mean": (
                lambda q, k, v: attend_fused(q, k, v).mean(0).expand(len(q), -1, -1),
                "Samples never mix",
            ),
            "mean of v": (lambda q, k, v: v.mean(1, keepdim=True).expand(-1, q.shape[1], -1), "sample 0, query 0"),
            "weights returned": (lambda q, k, v: torch.softmax(q @ k.mT, -1), "sample 0, query 0, number 0: expected"),
        },
    ),
    u.block_parameters: (
        [parameters, parameters_of_layers, parameters_of_the_block, lambda *a: torch.tensor(parameters(*a))],
        {
            "no biases": (lambda *a: parameters(*a, biases=False), "All biases are missing"),
            "no biases of convolutions": (lambda i, o, e: parameters(i, o, e, biases=False) + o, "of the convolutions"),
            "no bias for the time": (lambda i, o, e: parameters(i, o, e) - o, "a bias"),
            "no bias of the shortcut": (lambda i, o, e: parameters(i, o, e) - o * (i != o), "shortcut's bias"),
            "shortcut always": (lambda *a: parameters(*a, shortcut=True), "are equal, the shortcut is x itself"),
            "shortcut never": (lambda *a: parameters(*a, shortcut=False), "differ, the shortcut is a 1x1"),
            "no time": (lambda *a: parameters(*a, time=False), "time's layer is missing"),
            "AdaGN's time": (
                lambda i, o, e: sum(p.numel() for p in ResBlock(i, o, e, "scale_shift", 1, 1e-6, 0.1).parameters()),
                "2 c_out numbers in AdaGN",
            ),
            "no norms": (lambda *a: parameters(*a, norms=False), "The group norms are missing"),
            "half the norms": (lambda i, o, e: parameters(i, o, e) - i - o, "two numbers a channel"),
            "one norm": (lambda i, o, e: parameters(i, o, e) - 2 * i, "c_in channels is missing"),
            "the other norm": (lambda i, o, e: parameters(i, o, e) - 2 * o, "the second group norm, or"),
            "norms of c_in": (lambda i, o, e: parameters(i, o, e) + 2 * i - 2 * o, "second group norm follows"),
            "norms by group": (lambda i, o, e: parameters(i, o, e, norms=False) + 128, "have 128 in every block"),
            "no 9": (lambda i, o, e: parameters(i, o, e) - 8 * (i * o + o * o), "The 9 is missing"),
            "3": (lambda i, o, e: parameters(i, o, e) - 6 * (i * o + o * o), "3 in place of 9"),
            "c_in twice": (lambda i, o, e: parameters(i, o, e) + 9 * (i * o - o * o), "from c_out to c_out"),
            "one convolution": (lambda i, o, e: parameters(i, o, e) - 9 * o * o - o, "second 3x3 convolution"),
            "one more": (lambda *a: parameters(*a) + a[0], "c_in = 32, c_out = 64, e = 5: expected 58,112, got 58,144"),
            "none": (lambda *a: None, "forget `return`"),
            "the layers": (lambda *a: nn.Linear(2, 3), "expected a whole number"),
        },
    ),
    u.receptive_field: (
        [field, field_backwards, field_by_gradient],
        {
            "sum of kernels": (lambda layers: sum(k for k, _ in layers), "sum of the kernels"),
            "no strides": (lambda layers: 1 + sum(k - 1 for k, _ in layers), "Strides have no effect"),
            "own stride": (field_with(lambda n, j, k, s: (n + (k - 1) * j * s, j * s)), "own stride"),
            "no 1": (field_with(lambda n, j, k, s: (n + (k - 1) * j, j * s), start=0), "Start from 1"),
            "product": (lambda layers: math.prod(k for k, _ in layers), "You multiply kernels"),
            "reversed": (lambda layers: field(layers[::-1]), "reverse order"),
            "one stride back": (field_with(lambda n, j, k, s: (n + (k - 1) * j, s)), "Only the stride just before"),
            "area": (lambda layers: field(layers) ** 2, "the area"),
            "kernel": (field_with(lambda n, j, k, s: (n + k * j, j * s)), "layers = [(3, 1)]: expected 3, got 4"),
            "half": (lambda layers: (field(layers)) / 2, "f([(3, 1)]): expected a whole number, got 1.5"),
            "per layer": (lambda layers: torch.tensor([k for k, _ in layers * 2]), "expected a whole number"),
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
            "n // 2": (lambda n: n // 2, "far fewer"),
            "n // 2, at least 1": (lambda n: max(1, n // 2), "far fewer"),
            "n": (lambda n: n, "nothing is saved"),
            "1": (lambda n: 1, "One segment"),
            "log2": (lambda n: int(math.log2(n)), "log2(n)"),
            "log2 up": (lambda n: max(1, math.ceil(math.log2(n))), "log2(n)"),
            "memory": (lambda n: min(k + math.ceil(n / k) for k in range(1, n + 1)), "That is the least memory"),
            "root": (lambda n: math.sqrt(n), "f(10): expected a whole number, got 3.16"),
            "the most": (lambda n: max(range(1, n + 1), key=lambda k: k + math.ceil(n / k)), "One segment"),
            "from 0": (lambda n: min(range(n), key=lambda k: k + math.ceil(n / k)), "ZeroDivisionError"),
            "index": (lambda n: segments_by_trial(n) - 1, "keeps"),
            "never 1": (never_one, "n = 1: 2 segments"),
            "cube root": (lambda n: round(n ** (1 / 3)), "n = 16: k = 3 keeps 9 units in memory, k = 4 only 8"),
            "none": (lambda n: print(n), "forget `return`"),
        },
    ),
}
(
    test_a_blank_is_told_kindly_and_raises_nothing,
    test_the_librarys_answer_and_other_correct_ones_pass,
    test_a_wrong_answer_is_refused_with_the_likely_mistake,
    test_every_check_is_listed_here,
) = proof.of(the_unet, EXERCISES)


@pytest.mark.parametrize("shape", [(2, 3, 5), (4, 4, 3), (6, 2, 4), *the_unet._BLOCKS])
def test_the_count_by_hand_is_that_of_the_librarys_block(shape):
    i, o, e = shape
    assert parameters(i, o, e) == parameters_of_the_block(i, o, e)
    assert the_unet._BLOCKS.get(shape, parameters(i, o, e)) == parameters_of_the_block(i, o, e)


def test_the_least_memory_is_two_roots_rounded_up():
    for n in range(1, 200):
        assert min(the_unet._memory(n).values()) == math.ceil(2 * math.sqrt(n)), n
