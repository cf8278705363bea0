"""Attention against the sum written out number by number."""

import math
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ddpm_edu.models import attention
from ddpm_edu.models.attention import CrossAttention, SelfAttention
from tests.models.helpers import awake


def by_hand(q, k, v):
    """softmax(q k^T / sqrt(d)) v for lists of vectors, one query at a time, one key at a time."""
    rows = []
    for query in q:
        scores = [sum(a * b for a, b in zip(query, key, strict=True)) / math.sqrt(len(query)) for key in k]
        powers = [math.exp(score) for score in scores]
        shares = [power / sum(powers) for power in powers]
        rows.append([sum(share * value[i] for share, value in zip(shares, v, strict=True)) for i in range(len(v[0]))])
    return rows


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def three(b=2, h=2, x=5, m=7, d=3):
    return random(b, h, x, d), random(b, h, m, d, seed=1), random(b, h, m, d, seed=2)


def layer(kind=SelfAttention, channels=8, heads=2, **options):
    """Awake, in double precision, with every weight large enough to matter."""
    return awake(kind(channels, heads=heads, groups=4, eps=1e-6, **options), std=0.7).double()


def test_attend_is_the_softmax_of_the_scaled_products():
    q, k, v = three()
    out = attention.attend(q, k, v)
    for image in range(2):
        for head in range(2):
            expected = by_hand(*(z[image, head].tolist() for z in (q, k, v)))
            np.testing.assert_allclose(out[image, head].numpy(), expected, rtol=1e-12)


def test_weights_are_shares():
    w = attention.weights(*three()[:2])
    assert w.shape == (2, 2, 5, 7)
    torch.testing.assert_close(w.sum(-1), torch.ones(2, 2, 5, dtype=torch.float64))
    assert (w > 0).all()
    assert (w.sum(-2) - 1).abs().max() > 0.05, "columns do not: what a key gives has no fixed sum"


def test_weights_of_products_that_are_all_equal():
    """A pixel that asks nothing looks everywhere alike; one that asks for key 2 alone finds it."""
    k = torch.eye(4, dtype=torch.float64)[None, None]
    q = torch.stack([torch.zeros(4), 60 * torch.eye(4)[2]])[None, None].double()
    nothing, second = attention.weights(q, k)[0, 0]
    assert nothing.tolist() == [0.25] * 4
    assert second.tolist() == pytest.approx([0, 0, 1, 0], abs=1e-12)


@pytest.mark.parametrize("pixels", [16, attention.LONGEST_ON_CPU, attention.LONGEST_ON_CPU + 1])
def test_both_ways_of_computing_it_agree(pixels):
    """On either side of the size at which the CPU changes from three steps to the fused kernel; and it does change."""
    q, k, v = three(b=1, h=1, x=pixels, m=20)
    torch.testing.assert_close(attention.attend(q, k, v), F.scaled_dot_product_attention(q, k, v))
    torch.testing.assert_close(attention.attend(q, k, v), torch.softmax(q @ k.mT / math.sqrt(3), -1) @ v)
    with mock.patch.object(attention, "weights", side_effect=attention.weights) as spy:
        attention.attend(q, k, v)
    assert spy.called == (pixels <= attention.LONGEST_ON_CPU)


def test_both_ways_have_the_same_gradients():
    def gradients(longest):
        q, k, v = (z.requires_grad_() for z in three())
        with mock.patch.object(attention, "LONGEST_ON_CPU", longest):
            (attention.attend(q, k, v) * random(2, 2, 5, 3, seed=3)).sum().backward()
        return [z.grad for z in (q, k, v)]

    torch.testing.assert_close(gradients(longest=4), gradients(longest=5))


def test_self_attention_by_hand():
    """The whole layer in lists of numbers: normalise, three maps, each head on its own channels, project, add."""
    net, h = layer(), random(2, 8, 2, 3)
    out = net(h)
    normal = F.group_norm(h, 4, net.norm.weight, net.norm.bias, 1e-6).flatten(2)  # (b, c, pixels)
    maps = {name: (conv.weight[:, :, 0, 0], conv.bias) for name, conv in net.named_children() if name != "norm"}
    with torch.no_grad():
        for image in range(2):
            q, k, v = ((w @ normal[image] + b[:, None]).T for w, b in (maps[name] for name in "qkv"))
            heads = [by_hand(*(z[:, 4 * i : 4 * i + 4].tolist() for z in (q, k, v))) for i in range(2)]
            together = torch.tensor(np.concatenate(heads, 1)).T
            w, b = maps["project"]
            expected = h[image] + (w @ together + b[:, None]).reshape(8, 2, 3)
            torch.testing.assert_close(out[image], expected)


def test_cross_attention_by_hand():
    """Pixels ask, tokens answer."""
    net, h, tokens = layer(CrossAttention, token_width=5), random(2, 8, 2, 3), random(2, 4, 5, seed=1)
    out = net(h, tokens)
    normal = F.group_norm(h, 4, net.norm.weight, net.norm.bias, 1e-6).flatten(2)
    with torch.no_grad():
        for image in range(2):
            q = (net.q.weight[:, :, 0, 0] @ normal[image] + net.q.bias[:, None]).T
            k, v = (tokens[image] @ part.weight.T + part.bias for part in (net.k, net.v))
            heads = [by_hand(*(z[:, 4 * i : 4 * i + 4].tolist() for z in (q, k, v))) for i in range(2)]
            together = torch.tensor(np.concatenate(heads, 1)).T
            said = (net.project.weight[:, :, 0, 0] @ together + net.project.bias[:, None]).reshape(8, 2, 3)
            torch.testing.assert_close(out[image], h[image] + said)


def test_attention_to_one_token_is_an_addition():
    """Nothing to choose from: every pixel gets project(v(token)), whatever it asks."""
    net, h, token = layer(CrossAttention, token_width=5), random(3, 8, 4, 4), random(3, 1, 5, seed=1)
    said = F.linear(net.v(token[:, 0]), net.project.weight[:, :, 0, 0], net.project.bias)
    torch.testing.assert_close(net(h, token), h + said[:, :, None, None])
    two = torch.cat([token, -token], 1)
    differs = net(h, two) - h
    assert differs.var(dim=(2, 3)).max() > 1e-4, "with two tokens, pixels choose"


def test_the_order_of_the_tokens_does_not_matter():
    net, h, tokens = layer(CrossAttention, token_width=5), random(2, 8, 4, 4), random(2, 6, 5, seed=1)
    torch.testing.assert_close(net(h, tokens), net(h, tokens.flip(1)))


def test_pixels_in_another_order_give_the_result_in_that_order():
    """Attention knows no places: shuffle the pixels before or after, it is the same."""
    net, h = layer(), random(2, 8, 4, 6)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))

    def shuffled(z):
        return z.flatten(2)[:, :, order].reshape(z.shape)

    torch.testing.assert_close(net(shuffled(h)), shuffled(net(h)))
    assert (net(shuffled(h)) - net(h)).abs().max() > 0.1
    conv = awake(torch.nn.Conv2d(8, 8, 3, padding=1)).double()
    assert (conv(shuffled(h)) - shuffled(conv(h))).abs().max() > 0.01, "a convolution does know them"


def test_every_pixel_is_seen_from_every_pixel():
    net, h = layer(), random(1, 8, 4, 4).requires_grad_()
    net.norm = torch.nn.Identity()  # it too makes pixels depend on each other
    net(h)[0, :, 0, 0].sum().backward()
    assert (h.grad.abs().amax(1) > 0).all()


def test_attention_starts_as_if_it_were_not_there():
    h = random(2, 8, 4, 4).float()
    assert torch.equal(SelfAttention(8, 2, 4, 1e-6)(h), h)
    assert torch.equal(CrossAttention(8, 5, 2, 4, 1e-6)(h, torch.randn(2, 3, 5)), h)
    assert not torch.equal(layer().float()(h), h)


def test_lessons_can_draw_the_weights():
    net, h = layer(heads=4), random(2, 8, 3, 5)
    q, k, v = net.queries_keys_values(h)
    assert q.shape == k.shape == v.shape == (2, 4, 15, 2)
    assert attention.weights(q, k).shape == (2, 4, 15, 15)
