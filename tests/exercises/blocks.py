"""Residual blocks for the check of Exercise 4.8: right ones, and ones put together in the wrong order."""

import torch
import torch.nn.functional as F
from torch import nn

from ddpm_edu.exercises import unet_answers


def to_image(w):
    return w[:, :, None, None]


def told_number(layers, told):
    return to_image(layers.time(F.silu(told)))


def block_in_steps(layers, x, told):
    """Functions in place of layers where there are some, and the sum the other way round."""
    h = layers.norm1(x)
    h = layers.conv1(h * torch.sigmoid(h)) + told_number(layers, told)
    h = F.dropout(F.silu(layers.norm2(h)), layers.dropout.p, layers.training)
    return F.conv2d(h, layers.conv2.weight, layers.conv2.bias, padding=1) + layers.shortcut(x)


def block_of_modules(layers, x, told):
    first = nn.Sequential(layers.norm1, nn.SiLU(), layers.conv1)
    second = nn.Sequential(layers.norm2, nn.SiLU(), layers.dropout, layers.conv2)
    return layers.shortcut(x) + second(first(x) + layers.time(F.silu(told)).view(len(x), -1, 1, 1))


def silu_first(s, h, norm):
    return norm(F.silu(h))


def silu_last(s, h, norm):
    return F.silu(norm(h))


def block_with(
    first=silu_last,
    second=silu_last,
    told=told_number,
    skip=lambda s, x: x,
    drop=lambda s, h: s.dropout(h),
    late=lambda s, told: 0,
    after=lambda s, h: h,
):
    """The right block but for what is given."""

    def block(s, x, t):
        h = s.conv1(first(s, x, s.norm1)) + told(s, t)
        h = after(s, s.conv2(drop(s, second(s, h, s.norm2)))) + late(s, t)
        return h + s.shortcut(skip(s, x))

    return block


def block_as_published(drop):
    """The page's block: ``drop(layers, h)`` is its dropout."""

    def block(s, x, told):
        h = F.silu(s.norm1(x))
        branch = s.conv2(drop(s, s.norm2(F.silu(s.conv1(h)))))
        return s.shortcut(h) + branch + told_number(s, told)

    return block


def skip_in_the_middle(s, x, told):
    h = s.conv1(F.silu(s.norm1(x))) + s.shortcut(x) + told_number(s, told)
    return s.conv2(s.dropout(F.silu(s.norm2(h))))


def told_after_the_norm(s, x, told):
    h = s.norm2(s.conv1(F.silu(s.norm1(x)))) + told_number(s, told)
    return s.shortcut(x) + s.conv2(s.dropout(F.silu(h)))


def one_norm(s, x, told):
    h = s.conv1(F.silu(s.norm1(x))) + told_number(s, told)
    return s.shortcut(x) + s.conv2(s.dropout(F.silu(s.norm1(h))))


def one_convolution(s, x, told):
    h = s.conv1(F.silu(s.norm1(x))) + told_number(s, told)
    return s.shortcut(x) + s.conv1(s.dropout(F.silu(s.norm2(h))))


# (right answers, {wrong answer: (function, words of the message)})
BLOCKS = (
    [unet_answers.mended_block, block_with(), block_in_steps, block_of_modules],
    {
        "the block as the page shows it": (
            block_as_published(lambda s, h: F.dropout(h, s.dropout.p)),
            "F.dropout drops whenever",
        ),
        "only its dropout is mended": (
            block_as_published(lambda s, h: s.dropout(h)),
            "Three things. SiLU comes before the second norm",
        ),
        "the skip is left out": (lambda s, x, t: block_with()(s, x, t) - s.shortcut(x), "The skip is left out"),
        "the skip carries the normalised input": (block_with(skip=lambda s, x: s.norm1(x)), "x after the norm."),
        "the skip carries what conv1 reads": (
            block_with(skip=lambda s, x: F.silu(s.norm1(x))),
            "x after norm and SiLU.",
        ),
        "the skip is added before the second norm": (skip_in_the_middle, "added before the second norm"),
        "the skip is added twice": (
            lambda s, x, t: block_with()(s, x, t) + s.shortcut(x),
            "The skip is added twice",
        ),
        "x where the shortcut belongs": (
            lambda s, x, t: block_with()(s, x, t) - s.shortcut(x) + x,
            "add layers.shortcut(x)",
        ),
        "the block is not told the time": (block_with(told=lambda s, t: 0), "not told the time"),
        "the time after the second convolution": (
            block_with(told=lambda s, t: 0, late=told_number),
            "after the second convolution, where it only shifts",
        ),
        "the time after the second norm": (told_after_the_norm, "after the second norm"),
        "the time before and after": (block_with(late=told_number), "The time is added twice"),
        "no SiLU before the time's layer": (
            block_with(told=lambda s, t: to_image(s.time(t))),
            "SiLU first",
        ),
        "the time without two new axes": (
            block_with(told=lambda s, t: s.time(F.silu(t))),
            "two axes are missing",
        ),
        "SiLU before the first norm": (block_with(first=silu_first), "SiLU comes before the first norm"),
        "SiLU before the second norm": (block_with(second=silu_first), "SiLU comes before the second norm"),
        "SiLU before both norms": (block_with(silu_first, silu_first), "Two things. SiLU comes before the first"),
        "the first SiLU is missing": (block_with(first=lambda s, h, norm: norm(h)), "The first SiLU is missing"),
        "the second SiLU is missing": (block_with(second=lambda s, h, norm: norm(h)), "The second SiLU is missing"),
        "the first norm is missing": (block_with(first=lambda s, h, _: F.silu(h)), "The first norm is missing"),
        "the second norm is missing": (block_with(second=lambda s, h, _: F.silu(h)), "The second norm is missing"),
        "nothing before the second convolution": (
            block_with(second=lambda s, h, _: h),
            "Norm and SiLU before the second",
        ),
        "ReLU in place of SiLU": (
            block_with(*[lambda s, h, norm: F.relu(norm(h))] * 2),
            "Two things. ReLU stands in the first half",
        ),
        "one norm in both places": (one_norm, "norm1 stands in both places"),
        "one convolution in both places": (one_convolution, "conv1 stands in both places"),
        "SiLU after the sum": (lambda s, x, t: F.silu(block_with()(s, x, t)), "A SiLU comes after the sum"),
        "no dropout": (block_with(drop=lambda s, h: h), "In training nothing is dropped"),
        "dropout that is always on": (
            block_with(drop=lambda s, h: F.dropout(h, s.dropout.p)),
            "F.dropout drops whenever",
        ),
        "dropout after the second convolution": (
            block_with(drop=lambda s, h: h, after=lambda s, h: s.dropout(h)),
            "Dropout comes after the second convolution",
        ),
        "dropout of the whole result": (lambda s, x, t: s.dropout(block_with()(s, x, t)), "drops the skip as well"),
        "dropout before the second norm": (
            block_with(drop=lambda s, h: h, second=lambda s, h, norm: F.silu(norm(s.dropout(h)))),
            "Dropout is in another place",
        ),
        "the first half is left out": (
            lambda s, x, t: s.shortcut(x) + s.conv2(s.dropout(F.silu(s.norm2(x)))),
            "The first half is left out",
        ),
        "the layers are called as a block": (lambda s, x, t: s(x, t), "call its layers one by one"),
        "the second half is left out": (
            lambda s, x, t: s.shortcut(x) + s.conv1(F.silu(s.norm1(x))) + told_number(s, t),
            "The second half is left out",
        ),
        "norm2 and conv2 come first": (
            lambda s, x, t: s.conv1(F.silu(s.norm1(s.conv2(F.silu(s.norm2(x)))))),
            "sample 0, channel 0, pixel (0, 0): expected",
        ),
        "the first half's layers where the width changes": (
            lambda s, x, t: one_norm(s, x, t) if len(s.norm2.bias) > 4 else block_with()(s, x, t),
            "norm1 and conv1 read x",
        ),
    },
)
