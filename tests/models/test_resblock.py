"""The residual block, written out, and what it says before it has learned anything."""

import pytest
import torch
import torch.nn.functional as F

from ddpm_edu.models import resample
from ddpm_edu.models.resblock import ResBlock
from tests.models.helpers import awake

EPS = 1e-6


def block(c_in=4, c_out=4, told="add", dropout=0.0, **options):
    return ResBlock(c_in, c_out, 6, told, 2, EPS, dropout, **options).double()


def data(c=4, n=2, side=4):
    g = torch.Generator().manual_seed(0)
    return (torch.randn(*shape, dtype=torch.float64, generator=g) for shape in ((n, c, side, side), (n, 6)))


def norm(layer, h):
    """Group normalisation, written out."""
    b, c = h.shape[:2]
    groups = h.reshape(b, 2, c // 2, *h.shape[2:])
    dims = (2, 3, 4)
    normal = (groups - groups.mean(dims, keepdim=True)) / (groups.var(dims, keepdim=True, correction=0) + EPS).sqrt()
    return normal.reshape(h.shape) * layer.weight[:, None, None] + layer.bias[:, None, None]


def silu(x):
    return x / (1 + (-x).exp())


def add_time(told, h, e):
    return norm(told.norm, h + told.linear(silu(e))[:, :, None, None])


def scale_shift(told, h, e):
    c = h.shape[1]
    both = told.linear(silu(e))[:, :, None, None]
    return norm(told.norm, h) * (1 + both[:, :c]) + both[:, c:]


TOLD = {"add": add_time, "scale_shift": scale_shift}
RESAMPLED = {
    "as it is": ({}, lambda h: h),
    "half": ({"resample": resample.average}, lambda h: h.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))),
    "twice": ({"resample": resample.repeat}, lambda h: h.repeat_interleave(2, 2).repeat_interleave(2, 3)),
}


def follows_the_formula(told, size, c_out):
    """shortcut(r(x)) + conv2(silu(told(conv1(r(silu(norm1(x)))), e))), with r the change of size on both branches."""
    options, change = RESAMPLED[size]
    net, (x, e) = awake(block(4, c_out, told, **options), std=0.5), data()
    inner = TOLD[told](net.told, net.conv1(change(silu(norm(net.norm1, x)))), e)
    short = change(x) if c_out == 4 else net.shortcut(change(x))
    torch.testing.assert_close(net(x, e), short + net.conv2(silu(inner)))


@pytest.mark.parametrize("c_out", [4, 6])
@pytest.mark.parametrize("size", RESAMPLED)
@pytest.mark.parametrize("told", TOLD)
def test_the_block_is_its_formula(told, size, c_out):
    follows_the_formula(told, size, c_out)


def test_time_is_added_before_the_second_normalisation():
    follows_the_formula("add", "as it is", 4)


def test_scale_and_shift_come_after_it():
    follows_the_formula("scale_shift", "as it is", 4)


def test_both_branches_change_size_and_the_inner_one_after_its_activation():
    for told in TOLD:
        for size in ("half", "twice"):
            follows_the_formula(told, size, 4)


def test_the_shortcut_is_there_only_where_widths_differ():
    assert isinstance(block(4, 4).shortcut, torch.nn.Identity)
    assert block(4, 6).shortcut.weight.shape == (6, 4, 1, 1)


def test_a_block_starts_as_its_shortcut():
    x, e = data()
    for told in TOLD:
        for change in (lambda h: h, resample.average, resample.repeat):
            assert torch.equal(block(4, 4, told, resample=change)(x, e), change(x))
            wider = block(4, 6, told, resample=change)
            assert torch.equal(wider(x, e), wider.shortcut(change(x)))
            assert not torch.equal(awake(block(4, 4, told, resample=change))(x, e), change(x)), "and does not stay so"


def gradient_of_conv2(net):
    """After one backward pass with the layer that reads the embedding at zero."""
    x, e = data()
    torch.nn.init.zeros_(net.told.linear.weight)
    torch.nn.init.zeros_(net.told.linear.bias)
    direction = torch.randn(*x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (net(x, e) * direction).sum().backward()
    return net.conv2.weight.grad


def test_with_both_zeros_at_the_start_conv2_can_learn():
    """norm(h) (1 + w) + b leaves norm(h) for conv2 to use, where w = b = 0."""
    for told in TOLD:
        assert gradient_of_conv2(block(told=told)).abs().max() > 0.1, told


def test_as_printed_in_adms_paper_nothing_would_ever_reach_conv2():
    """norm(h) w + b is 0 at w = b = 0, so is silu of it, so is conv2's gradient; and conv2 = 0 gives w none either."""
    net = block(told="scale_shift")

    def printed(h, e):
        w, b = net.told.linear(F.silu(e))[:, :, None, None].chunk(2, 1)
        return net.told.norm(h) * w + b

    net.told.forward = printed
    assert gradient_of_conv2(net).abs().max() == 0
    assert net.told.linear.weight.grad.abs().max() == 0


def test_every_part_of_the_embedding_reaches_every_channel():
    x, e = data()
    for told in TOLD:
        net, e = awake(block(told=told), std=0.5), e.detach().requires_grad_()
        e.grad = None
        net(x, e)[0].sum().backward()
        assert (e.grad[0] != 0).all() and (e.grad[1] == 0).all(), "of its own image alone"


def test_dropout_is_for_training_alone():
    net, (x, e) = awake(block(dropout=0.5), std=0.5), data()
    torch.manual_seed(0)
    assert not torch.equal(net(x, e), net(x, e))
    net.eval()
    assert torch.equal(net(x, e), net(x, e))
    plain = awake(block(dropout=0.0), std=0.5)
    assert torch.equal(net(x, e), plain(x, e))
