"""The whole network: what it says at first, that every option works, and what it does not mix."""

import itertools
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ddpm_edu import losses, schedules
from ddpm_edu.errors import ConfigError
from ddpm_edu.models import UNet
from ddpm_edu.models.attention import CrossAttention
from ddpm_edu.models.embeddings import Condition
from ddpm_edu.models.initial import silent, spread
from tests.models.helpers import awake, config, inputs, off_by, small

S = schedules.linear(1000)

# ---------------------------------------------------------------- before training


def test_an_untrained_network_says_zero_and_its_loss_is_that_of_the_noise():
    for options in ({}, {"told": "scale_shift", "resample": "in_block", "patch": 2}):
        net = UNet(config(**options))
        g = torch.Generator().manual_seed(0)
        x0, noise = (torch.randn(16, 1, 8, 8, generator=g) for _ in range(2))
        t = torch.randint(1, 1001, (16,), generator=g)
        assert (net(x0, t) == 0).all()
        torch.testing.assert_close(losses.simple(net, S, x0, t, noise), noise.square().mean((1, 2, 3)))


def test_every_block_of_an_untrained_network_is_its_shortcut():
    net = UNet(config(classes=3))
    torch.nn.init.normal_(net.head.weight)
    given = inputs(net.config)
    plain = net(**given)
    for block in [*net.down[0].blocks, *net.middle, *net.up[0].blocks]:
        block.res.told.forward = lambda h, e: h.new_full(h.shape, 7.0)  # whatever happens inside
    assert torch.equal(net(**given), plain)


def with_added(net, given, addition):
    """``net`` on ``given``, with addition(hidden) added to what the middle's first block says."""
    handle = net.middle[0].register_forward_hook(lambda module, args, out: out + addition(out))
    try:
        return net(**given)
    finally:
        handle.remove()


def test_a_control_that_starts_at_zero_changes_nothing_and_can_learn():
    """ControlNet's zero convolution (Zhang et al. 2023): bit by bit the same result, and yet a gradient."""
    net = small()
    given, hint = inputs(net.config), torch.randn(2, 16, 4, 4, generator=torch.Generator().manual_seed(1))
    zero, other = silent(torch.nn.Conv2d(16, 16, 1)), spread(torch.nn.Conv2d(16, 16, 1))
    plain = net(**given)
    out = with_added(net, given, lambda h: zero(h + hint))
    assert torch.equal(out, plain)
    assert not torch.equal(with_added(net, given, lambda h: other(h + hint)), plain), "negative control"
    out.square().sum().backward()
    assert zero.weight.grad.abs().max() > 0


def test_a_fresh_network_has_ddpms_spread():
    """Uniform of variance 2 / (fan_in + fan_out), biases 0; exactly 0 where a branch ends."""
    torch.manual_seed(0)
    net = UNet(config(width=64, classes=2))
    last = ("conv2", "project", "head")
    for name, layer in net.named_modules():
        if not isinstance(layer, torch.nn.Conv2d):
            continue
        assert (layer.bias == 0).all(), name
        if name.rpartition(".")[2] in last:
            assert (layer.weight == 0).all(), name
        elif layer.weight.numel() > 5000:
            window = layer.weight[0, 0].numel()
            variance = 2 / (window * (layer.in_channels + layer.out_channels))
            assert layer.weight.var().item() == pytest.approx(variance, rel=0.1), name
            assert layer.weight.abs().max().item() == pytest.approx((3 * variance) ** 0.5, rel=0.02), name


# ---------------------------------------------------------------- every option

HEADS = ({}, {"heads": 4}, {"heads": None, "head_width": 4})
CHOICES = {
    "told": ("add", "scale_shift"),
    "sinusoid": ("ddpm", "adm"),
    "classes": (None, 3),
    "tokens": (None, 5),
    "extra_channels": (0, 2),
    "patch": (1, 2),
}


# Each a bit for a choice; together they hold every pair of choices, which the next test makes sure of.
ROWS = (0b000000, 0b111111, 0b010101, 0b101010, 0b001011, 0b110100, 0b011110, 0b100001, 0b110011, 0b001100)


def options_of(row):
    """The choices of this row; the ways to say how many heads there are go round."""
    chosen = {name: values[(row >> i) & 1] for i, (name, values) in enumerate(CHOICES.items())}
    return {**chosen, **HEADS[ROWS.index(row) % 3]}


def test_the_rows_hold_every_pair_of_choices():
    rows = [options_of(row) for row in ROWS]
    for a, b in itertools.combinations(CHOICES, 2):
        assert {(row[a], row[b]) for row in rows} == set(itertools.product(CHOICES[a], CHOICES[b])), (a, b)


@pytest.mark.parametrize("resample", ["down_right", "padded", "in_block"])
@pytest.mark.parametrize("row", ROWS, ids="{:06b}".format)
def test_every_option_is_finite_and_trains_every_parameter(row, resample):
    net = awake(UNet(config(**options_of(row), resample=resample, out_channels=2)))
    given = inputs(net.config, 8, n=4)
    out = net(**given)
    assert out.shape == (4, 2, 8, 8) and out.isfinite().all() and out.std() > 0
    (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        # the keys' bias adds the same to every score of a row, which softmax does not see
        assert parameter.grad.abs().max() > 0 or name.endswith("k.bias"), name


def test_a_parameter_that_nobody_reads_would_be_noticed():
    """Negative control of the test above: labels that are not looked at leave their table without a gradient."""
    net = small(classes=3)
    forward = Condition.forward
    with mock.patch.object(Condition, "forward", lambda self, t, labels: forward(self, t, None)):
        net(**inputs(net.config)).sum().backward()
    assert net.told.label.weight.grad is None


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.sampled_from([1, 2]), st.integers(1, 3))
def test_any_multiple_of_the_divisor_will_do(rows, columns, levels, patch, n):
    net = small(width=4, groups=2, multipliers=(1,) * levels, attention=(levels - 1,), patch=patch)
    size = (rows * net.config.divisor, columns * net.config.divisor)
    with torch.no_grad():
        out = net(**inputs(net.config, size, n))
    assert out.shape == (n, 1, *size) and out.isfinite().all()


def test_numbers_from_blocks_to_levels():
    """Any depth: one level and three, one block and three, attention everywhere and nowhere but in the middle."""
    for multipliers, blocks, attention in itertools.product([(1,), (1, 2, 3)], [1, 3], [(), "all"]):
        levels = tuple(range(len(multipliers))) if attention else ()
        net = small(multipliers=multipliers, blocks=blocks, attention=levels)
        assert sum(block.attend is not None for down in net.down for block in down.blocks) == blocks * len(levels)
        assert sum(block.attend is not None for up in net.up for block in up.blocks) == (blocks + 1) * len(levels)
        assert [block.attend is not None for block in net.middle] == [True, False]
        assert net(**inputs(net.config)).isfinite().all()


# ---------------------------------------------------------------- what each input does


def test_patches_are_squares_moved_into_channels():
    """A network of 2x2 patches is one of four times the channels on the image rearranged; by hand, in numpy."""
    net, plain = small(patch=2, extra_channels=1), small(channels=4, extra_channels=4)
    plain.load_state_dict(net.state_dict())
    given = inputs(net.config)

    def folded(x):
        parts = [x[:, :, dy::2, dx::2] for dy in (0, 1) for dx in (0, 1)]
        return torch.stack(parts, 2).flatten(1, 2)

    out = plain(folded(given["x_bchw"]), given["t"], extra=folded(given["extra"]))
    torch.testing.assert_close(folded(net(**given)), out)


def test_a_picture_to_go_by_stands_beside_x():
    net, plain = small(extra_channels=2), small(channels=3, out_channels=1)
    plain.load_state_dict(net.state_dict())
    given = inputs(net.config)
    assert torch.equal(net(**given), plain(torch.cat([given["x_bchw"], given["extra"]], 1), given["t"]))


def each_alone(net, given):
    return torch.cat([net(**{name: value[i : i + 1] for name, value in given.items()}) for i in range(len(given["t"]))])


def test_an_image_does_not_depend_on_its_neighbours():
    """To 1e-5 of its size (another order of sums), each at its own time, label, text and picture."""
    for options in ({"classes": 3, "tokens": 5}, {"extra_channels": 1, "told": "scale_shift", "resample": "in_block"}):
        net = small(**options)
        given = inputs(net.config, n=4)
        with torch.no_grad():
            assert off_by(net(**given), each_alone(net, given)) < 1e-5
            turned = {name: value.flip(0) for name, value in given.items()}
            assert off_by(net(**turned).flip(0), net(**given)) < 1e-5


def test_each_image_is_at_its_own_time_and_label():
    """One image four times: equal times and labels give equal results, others do not."""
    net = small(classes=3, std=0.3)
    x = inputs(net.config)["x_bchw"][:1].expand(4, -1, -1, -1)
    t, labels = torch.tensor([10, 10, 10, 900]), torch.tensor([0, 0, net.no_label, 0])
    with torch.no_grad():
        a, same, unlabelled, later = net(x, t, labels)
    assert off_by(same, a) < 1e-5
    assert off_by(unlabelled, a) > 1e-2 and off_by(later, a) > 1e-2


def test_no_label_is_one_beyond_the_classes():
    assert small(classes=3).no_label == 3
    with pytest.raises(ConfigError, match=r"knows no classes.*UNetConfig\(classes"):
        _ = small().no_label


def test_tokens_reach_the_picture_and_only_where_there_is_attention():
    net = small(tokens=5, std=0.3)
    given = inputs(net.config)
    other = {**given, "tokens": -given["tokens"]}
    with torch.no_grad():
        assert off_by(net(**other), net(**given)) > 1e-3
    readers = [name for name, part in net.named_modules() if isinstance(part, CrossAttention)]
    attends = [name for name, part in net.named_modules() if name.endswith("attend")]
    assert [name.replace("read", "attend") for name in readers] == attends != []


def test_the_number_that_is_given_is_the_number_that_is_embedded():
    """Nothing is subtracted: weights that count from 0 and those that count from 1 differ outside."""
    net, given = small(), inputs(config())
    told = net.told(given["t"], None)
    with mock.patch.object(net.told, "forward", return_value=told):
        same = net(**given)
    assert torch.equal(net(**given), same)
    with mock.patch.object(net.told, "forward", return_value=net.told(given["t"] - 1, None)):
        assert not torch.equal(net(**given), same)


def test_what_the_way_down_leaves_is_taken_last_in_first_out():
    """Each is zeroed in turn where it is left; what changes in the channels beside it is at the same size only."""
    net = small(multipliers=(1, 2, 2), blocks=2)
    taken = []
    for up in net.up:
        for block in up.blocks:
            block.register_forward_pre_hook(lambda module, args: taken.append(args[0]))
    left = []
    net.stem.register_forward_hook(lambda module, args, out: left.append(out))
    for down in net.down:
        for part in (*down.blocks, *([down.shrink] if down.shrink else [])):
            part.register_forward_hook(lambda module, args, out: left.append(out))
    net(**inputs(net.config))
    assert len(left) == len(taken) == 9
    for skip, h in zip(reversed(left), taken, strict=True):
        assert torch.equal(h[:, -skip.shape[1] :], skip)


# ---------------------------------------------------------------- other numbers, other layouts


def test_double_precision_works_too():
    net, given = small(), inputs(config())
    exact = awake(UNet(config()), 0.2).double()(given["x_bchw"].double(), given["t"])
    assert exact.dtype == torch.float64
    assert off_by(net(**given), exact) < 1e-5


def test_channels_last_gives_the_same_to_rounding():
    """To 1e-5, whichever of image and weights is laid out so, with all three kinds of resampling."""
    for resample in ("down_right", "padded", "in_block"):
        net = small(resample=resample, channels=3)
        given = inputs(net.config)
        plain = net(**given)
        last = {**given, "x_bchw": given["x_bchw"].contiguous(memory_format=torch.channels_last)}
        assert last["x_bchw"].stride() != given["x_bchw"].stride()
        assert off_by(net(**last), plain) < 1e-5
        net.to(memory_format=torch.channels_last)
        assert off_by(net(**last), plain) < 1e-5
        assert off_by(net(**given), plain) < 1e-5


def test_bfloat16_autocast_is_near():
    """bfloat16 keeps 8 bits, about 0.4 %; through some twenty layers the result stays within 3 %, gradients 10 %."""
    for options in ({}, {"told": "scale_shift", "resample": "in_block", "tokens": 5}):
        net = small(**options)
        given = inputs(net.config)
        plain = net(**given)
        plain.square().mean().backward()
        exact = torch.cat([p.grad.flatten() for p in net.parameters()])
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            out = net(**given)
        assert out.dtype == torch.bfloat16
        out.float().square().mean().backward()
        rough = torch.cat([p.grad.flatten() for p in net.parameters()])
        assert all(p.grad.dtype == torch.float32 for p in net.parameters())
        assert 1e-4 < off_by(out, plain) < 0.03
        assert off_by(rough, exact) < 0.1


def test_a_few_steps_down_the_gradient_lower_the_loss():
    torch.manual_seed(0)
    net = UNet(config(classes=3))
    g = torch.Generator().manual_seed(0)
    x, target = (torch.randn(4, 1, 8, 8, generator=g) for _ in range(2))
    t, labels = torch.full((4,), 500), torch.arange(4)
    adam = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(10):
        loss = F.mse_loss(net(x, t, labels), target)
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert loss.item() < 0.5 * target.square().mean().item()
