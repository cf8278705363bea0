"""Gradient checkpointing: less memory, more arithmetic, and the same gradient to the last bit."""

import copy
import math
import re
from unittest import mock

import pytest
import torch

from ddpm_edu.errors import ConfigError
from ddpm_edu.models import UNet, checkpointing
from ddpm_edu.models.summary import summary, training_flops
from ddpm_edu.models.unet import at_once
from tests.models.helpers import config, inputs, small

WAYS = {
    "every block": checkpointing.enable,
    "every block, products kept": checkpointing.enable_selective,
    "attention": lambda net: checkpointing.enable(net, checkpointing.with_attention),
    "attention, products kept": lambda net: checkpointing.enable_selective(net, checkpointing.with_attention),
}


def dropping(**options):
    return small(dropout=0.5, classes=3, tokens=5, **options)


def gradients(net, seed=0):
    """Of every parameter and of the image, after one pass with the dropout masks of this seed."""
    given = inputs(net.config)
    x = given["x_bchw"].requires_grad_()
    net.zero_grad()
    torch.manual_seed(seed)
    net(**given).square().sum().backward()
    return [x.grad, *(p.grad for p in net.parameters())]


def same(a, b):
    return all(torch.equal(one, other) for one, other in zip(a, b, strict=True))


def test_gradients_are_the_same_bit_by_bit_with_dropout():
    for options in ({}, {"told": "scale_shift", "resample": "in_block"}):
        net = dropping(**options)
        plain = gradients(net)
        assert not same(plain, gradients(net, seed=1)), "dropout is on, and its masks matter"
        for name, enable in WAYS.items():
            enable(net)
            assert same(gradients(net), plain), name
        checkpointing.disable(net)
        assert same(gradients(net), plain)


def test_the_random_numbers_that_follow_are_the_same_too():
    """Computing a block again must not draw from the stream a second time."""
    net = dropping()
    gradients(net)
    plain = torch.rand(1)
    for enable in WAYS.values():
        enable(net)
        gradients(net)
        assert torch.equal(torch.rand(1), plain)


def test_the_first_block_learns_although_its_input_needs_no_gradient():
    """With the stem and the embedding frozen, nothing that enters the first block asks for a gradient."""
    net = small()
    for part in (net.stem, net.told):
        part.requires_grad_(False)
    given = inputs(net.config)
    net(**given).square().sum().backward()
    plain = [p.grad.clone() for p in net.down[0].parameters()]
    assert all(grad.abs().max() > 0 for grad in plain)
    checkpointing.enable(net)
    net.zero_grad()
    net(**given).square().sum().backward()
    assert same([p.grad for p in net.down[0].parameters()], plain)


def test_what_is_saved_falls():
    """Bytes for the backward pass: everything > selective > every block; attention alone lies between."""
    with torch.device("meta"):
        net = UNet(config(width=32, groups=8))
    saved = {"everything": summary(net, 16, 8).saved}
    for name, enable in WAYS.items():
        enable(net)
        saved[name] = summary(net, 16, 8).saved
    checkpointing.disable(net)
    assert summary(net, 16, 8).saved == saved["everything"]
    assert saved["everything"] > 1.2 * saved["every block, products kept"] > 1.2 * 1.2 * saved["every block"]
    assert saved["everything"] > saved["attention, products kept"] > saved["attention"] > saved["every block"]


def test_of_every_block_only_its_input_is_kept():
    """What each block leaves is the next one's input: all that is saved is results of blocks, and what joins them."""
    with torch.device("meta"):
        net = UNet(config(width=32, groups=8))

    def results_kept():
        """How many times its own result each block keeps, at most: that one, and joined to what the way down left."""
        found = [stage for stage in summary(net, 16, 8).stages if re.search("block|shrink|grow", stage.name)]
        return max(stage.saved / (8 * 4 * math.prod(stage.shape)) for stage in found)

    checkpointing.enable(net)
    assert results_kept() <= 3
    checkpointing.disable(net)
    assert results_kept() > 5


def times_run(net, which):
    """How often blocks ran in one training step: (those for which ``which`` says yes, the others), each a set."""
    counts = {}
    parts = [
        *(b for part in (*net.down, *net.up) for b in part.blocks),
        *net.middle,
        net.down[0].shrink,
        net.up[0].grow,
    ]
    for part in parts:
        counts[part] = 0

        def count(module, args):
            counts[module] += 1

        part.register_forward_pre_hook(count)
    net(**inputs(net.config)).sum().backward()
    return {n for part, n in counts.items() if which(part)}, {n for part, n in counts.items() if not which(part)}


def test_only_the_chosen_blocks_run_twice():
    for enable in (checkpointing.enable, checkpointing.enable_selective):
        net = small()
        enable(net)
        assert times_run(net, checkpointing.every_block) == ({2}, set())
        net = small()
        enable(net, checkpointing.with_attention)
        assert times_run(net, checkpointing.with_attention) == ({2}, {1})
    assert times_run(small(), checkpointing.every_block) == ({1}, set())


def test_the_price_is_one_more_forward_pass_of_the_chosen_blocks():
    """In FLOPs, but for each one's last layer: torch stops as soon as it has what it needs. Kept products cost none."""
    net = small()
    plain = training_flops(net, 16, 2)
    again = sum(stage.flops for stage in summary(net, 16, 2).stages if re.search("block|shrink|grow", stage.name))
    attending = sum(stage.flops for stage in summary(net, 16, 2).stages if "attention" in stage.name)
    for name, extra in (("every block", again), ("attention", attending)):
        WAYS[name](net)
        assert 0.75 * extra < training_flops(net, 16, 2) - plain < extra, name
        WAYS[f"{name}, products kept"](net)
        assert training_flops(net, 16, 2) == plain, name


def test_with_attention_means_attention():
    net = small(attention=(1,))
    assert checkpointing.with_attention(net.middle[0]) and checkpointing.with_attention(net.down[1].blocks[0])
    assert not checkpointing.with_attention(net.middle[1]) and not checkpointing.with_attention(net.down[0].shrink)


def test_nothing_is_checkpointed_where_nothing_is_learned():
    net = small()
    given = inputs(net.config)
    plain = net(**given)
    for enable in WAYS.values():
        enable(net)
        with mock.patch.object(checkpointing, "checkpoint", side_effect=AssertionError("checkpointed")):
            with torch.no_grad():
                assert torch.equal(net(**given), plain)
            with torch.inference_mode():
                net(**given)
            with pytest.raises(AssertionError, match="checkpointed"):
                net(**given)


def test_a_copy_of_a_network_keeps_its_way_of_running():
    """Averages of weights are kept in copies."""
    net = dropping()
    plain = gradients(net)
    checkpointing.enable_selective(net)
    twin = copy.deepcopy(net)
    assert twin.run is not at_once
    assert same(gradients(twin), plain)


def test_weights_know_nothing_of_it():
    net = small()
    before = list(net.state_dict())
    checkpointing.enable(net)
    assert list(net.state_dict()) == before


def test_a_chain_is_best_cut_into_sqrt_n_segments():
    """Chen et al. 2016: chains of 16, 64 and 256 layers need room for 8, 16 and 32."""
    for n, room in ((16, 8), (64, 16), (256, 32)):
        k = checkpointing.best_segments(n)
        assert k + n / k == room == 2 * n**0.5
    with pytest.raises(ConfigError, match="n=0"):
        checkpointing.best_segments(0)
