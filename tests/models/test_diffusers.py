"""The same weights in diffusers' UNet2DModel give the same result and the same gradients."""

from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DModel

from ddpm_edu.errors import ConfigError, DataError
from ddpm_edu.models import UNet, UNetConfig
from ddpm_edu.models.diffusers import from_diffusers, to_diffusers
from tests.models.helpers import awake, config, inputs, off_by, small

# config.json of google/ddpm-cifar10-32, without what concerns files and versions
GOOGLE = {
    "act_fn": "silu",
    "attention_head_dim": None,
    "block_out_channels": [128, 256, 256, 256],
    "center_input_sample": False,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "in_channels": 3,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-06,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 32,
    "time_embedding_type": "positional",
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}
SMALL = {
    "DDPM's, small": config(channels=3, width=16, multipliers=(1, 2, 2), attention=(1,)),
    "improved DDPM's, heads by width": config(
        channels=3, out_channels=6, told="scale_shift", sinusoid="adm", resample="padded", eps=1e-5,
        heads=None, head_width=4, attention=(0, 1),
    ),
    "grey, with classes": config(classes=5, attention=()),
}  # fmt: skip


def theirs(net):
    c, state = to_diffusers(net)
    twin = UNet2DModel(**c)
    twin.load_state_dict(state)
    return twin.eval()


def called(twin, given):
    return twin(given["x_bchw"], given["t"], class_labels=given.get("labels")).sample


def back(twin, state):
    """``state`` of their network, by our names and in our shapes: gradients are looked up by it."""
    return from_diffusers(state, twin.config).state_dict()


def agree(net, given, tolerance=1e-4):
    """Result and all gradients, parameter by parameter, within a tolerance of their size."""
    twin, net = theirs(net), net.eval()
    ours, other = net(**given), called(twin, given)
    assert off_by(ours, other) < tolerance
    direction = torch.randn(ours.shape, generator=torch.Generator().manual_seed(3))
    (ours * direction).sum().backward()
    (other * direction).sum().backward()
    expected = back(twin, {name: p.grad for name, p in twin.named_parameters()})
    largest = max(grad.abs().max() for grad in expected.values())
    for name, parameter in net.named_parameters():
        if name.endswith("k.bias"):  # 0 but for rounding: the same number added to all scores of a row
            assert max(parameter.grad.abs().max(), expected[name].abs().max()) < 1e-5 * largest
        else:
            assert off_by(parameter.grad, expected[name]) < tolerance, name


def test_the_network_of_ddpm_cifar10_32_in_full_width():
    """Built from the published configuration by diffusers, read by us; 35.7 million weights."""
    twin = awake(UNet2DModel(**GOOGLE)).eval()
    net = from_diffusers(twin.state_dict(), GOOGLE)
    assert net.config == replace(UNetConfig(), dropout=0.0)
    agree(net, inputs(net.config, 32, n=1))


def test_small_networks_agree():
    for c in SMALL.values():
        net = awake(UNet(c), std=0.2)
        agree(net, inputs(c, 8, n=3))


def test_a_weight_in_the_wrong_place_would_be_noticed():
    """Negative control: queries and keys swapped, in one block, on our side alone."""
    net = awake(UNet(SMALL["DDPM's, small"]), std=0.4)
    twin, given = theirs(net), inputs(net.config)
    part = net.middle[0].attend
    part.q, part.k = part.k, part.q
    assert off_by(net(**given), called(twin, given)) > 1e-4


def test_there_and_back_again():
    for name, c in SMALL.items():
        net = awake(UNet(c))
        their_config, state = to_diffusers(net)
        again = from_diffusers(state, their_config)
        assert again.config == c, name
        assert not again.training
        for key, tensor in net.state_dict().items():
            assert torch.equal(again.state_dict()[key], tensor), key
        more, once_more = to_diffusers(again)
        assert more == their_config
        assert all(torch.equal(once_more[key], tensor) for key, tensor in state.items())


def test_the_weights_are_a_copy():
    net = awake(UNet(config()))
    _, state = to_diffusers(net)
    state["conv_in.weight"].zero_()
    assert net.stem.weight.abs().max() > 0


def test_several_heads_of_one_width():
    """heads=2 of equal levels is attention_head_dim = channels / 2 there."""
    net = awake(UNet(config(width=16, multipliers=(1, 1), heads=2)), std=0.3)
    assert to_diffusers(net)[0]["attention_head_dim"] == 8
    given = inputs(net.config)
    assert off_by(net(**given), called(theirs(net), given)) < 1e-5


def test_checkpoints_from_before_2023_load():
    """They call the parts of attention query, key, value and proj_attn."""
    net = awake(UNet(SMALL["DDPM's, small"]))
    their_config, state = to_diffusers(net)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = dict(state)
    for new, name in old.items():
        renamed = {key.replace(f".{new}.", f".{name}."): tensor for key, tensor in renamed.items()}
    assert len([key for key in renamed if ".query." in key]) == 2 * 4 and not any(".to_" in key for key in renamed)
    again = from_diffusers(renamed, their_config)
    assert all(torch.equal(again.state_dict()[key], tensor) for key, tensor in net.state_dict().items())


def test_a_checkpoint_without_its_configuration_is_taken_as_ddpms():
    net = awake(UNet(config(width=32, groups=32, attention=(1,))))
    again = from_diffusers(to_diffusers(net)[1])
    assert again.config == net.config
    given = inputs(net.config)
    assert torch.equal(again(**given), net.eval()(**given))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"patch": 2}, "patch=2"),
        ({"tokens": 5}, "tokens=5"),
        ({"extra_channels": 1}, "extra_channels=1"),
        ({"resample": "in_block"}, "resample='in_block'"),
        ({"heads": 2}, "heads=2"),
    ],
)
def test_what_diffusers_has_not_is_refused(options, words):
    with pytest.raises(ConfigError, match=f"UNet2DModel has nothing like {words}"):
        to_diffusers(small(**options))


# What would change their result and leave the tensors as they are.
SILENT = {
    "act_fn": "gelu",
    "center_input_sample": True,
    "mid_block_scale_factor": 2,
    "class_embed_type": "identity",
    "attn_norm_num_groups": 2,
    "downsample_padding": 2,
    "resnet_time_scale_shift": "ada_group",
    "time_embedding_type": "fourier",
}


@pytest.mark.parametrize("name", SILENT)
def test_a_setting_that_this_package_has_not_is_refused(name):
    their_config, state = to_diffusers(small())
    from_diffusers(state, their_config)
    with pytest.raises(ConfigError, match=f"(?s){name}.*{SILENT[name]}"):
        from_diffusers(state, {**their_config, name: SILENT[name]})


def test_waves_of_a_third_kind_are_refused():
    their_config, state = to_diffusers(small())
    with pytest.raises(ConfigError, match=r"flip_sin_to_cos, freq_shift = \(True, 1\)"):
        from_diffusers(state, {**their_config, "flip_sin_to_cos": True, "freq_shift": 1})


def test_widths_that_are_no_multiples_are_refused():
    twin = UNet2DModel(block_out_channels=(8, 12), norm_num_groups=4, attention_head_dim=4, layers_per_block=1,
                       down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2)  # fmt: skip
    with pytest.raises(ConfigError, match=r"\[8, 12\] channels, which are no multiples of the first layer's 8"):
        from_diffusers(twin.state_dict(), twin.config)


def test_their_resampling_inside_blocks_is_refused():
    twin = UNet2DModel(block_out_channels=(8, 8), norm_num_groups=4, attention_head_dim=4, layers_per_block=1,
                       downsample_type="resnet", upsample_type="resnet", attn_norm_num_groups=4,
                       down_block_types=("AttnDownBlock2D",) * 2, up_block_types=("AttnUpBlock2D",) * 2)  # fmt: skip
    with pytest.raises(ConfigError, match="resamples inside residual blocks"):
        from_diffusers(twin.state_dict(), twin.config)


def without(state, key):
    return {name: tensor for name, tensor in state.items() if name != key}


def test_tensors_that_are_missing_left_over_or_of_another_shape():
    their_config, state = to_diffusers(small())
    linear, bias = "time_embedding.linear_1.weight", "mid_block.resnets.0.conv1.bias"
    with pytest.raises(DataError, match=f"no tensor {bias}.*half a checkpoint"):
        from_diffusers(without(state, bias), their_config)
    with pytest.raises(DataError, match="1 tensors are left over, the first is extra"):
        from_diffusers({**state, "extra": torch.zeros(1)}, their_config)
    with pytest.raises(DataError, match=rf"{bias} is \(17,\), and \(16,\) is needed"):
        from_diffusers({**state, bias: torch.zeros(17)}, their_config)
    with pytest.raises(DataError, match=rf"{linear} is \(8, 32\), and \(32, 8\) is needed"):
        from_diffusers({**state, linear: state[linear].T}, their_config)
    with pytest.raises(DataError, match="not the tensors of a UNet2DModel"):
        from_diffusers({"a": torch.zeros(1)})


def test_what_is_read_is_left_as_it_was():
    their_config, state = to_diffusers(small())
    keys = list(state)
    from_diffusers(state, their_config)
    assert list(state) == keys
