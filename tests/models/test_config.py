"""The record that a U-Net is built from: what it refuses, and that it survives a file."""

import json
from dataclasses import FrozenInstanceError, fields, replace

import pytest
import torch

from ddpm_edu import models
from ddpm_edu.errors import ConfigError
from ddpm_edu.models import DIGITS, FASHION, UNetConfig
from tests.models.helpers import config

with torch.device("meta"):
    CIFAR10, IMPROVED, ADM = (
        build().config for build in (models.unet_cifar10, models.unet_improved_cifar10, models.unet_adm_imagenet256)
    )

# option: what is wrong with it, and what the message must say
REFUSED = {
    "groups do not divide": ({"groups": 3}, r"level 0 has 8 channels, which 3 groups do not divide.*groups=[24]"),
    "groups do not divide a later level": (
        {"width": 10, "multipliers": (2, 3), "groups": 4},
        r"level 1 has 30 channels, which 4 groups.*groups=[35]",
    ),
    "groups = 0": ({"groups": 0}, r"groups must be an integer >= 1, got 0"),
    "channels = 0": ({"channels": 0}, r"channels must be an integer >= 1, got 0"),
    "channels < 0": ({"channels": -3}, r"channels must be an integer >= 1, got -3"),
    "channels = 1.0": ({"channels": 1.0}, r"channels must be an integer >= 1, got 1\.0"),
    "width as text": ({"width": "128"}, r"width must be an integer >= 1, got '128'"),
    "blocks = True": ({"blocks": True}, r"blocks must be an integer >= 1, got True"),
    "out_channels = 0": ({"out_channels": 0}, r"out_channels must be an integer >= 1, got 0"),
    "extra_channels < 0": ({"extra_channels": -1}, r"extra_channels must be an integer >= 0, got -1"),
    "patch = 0": ({"patch": 0}, r"patch must be an integer >= 1, got 0"),
    "T = 0": ({"T": 0}, r"T must be an integer >= 1, got 0"),
    "classes = 0": ({"classes": 0}, r"classes must be an integer >= 1, got 0"),
    "tokens = 0": ({"tokens": 0}, r"tokens must be an integer >= 1, got 0"),
    "width odd": ({"width": 9, "groups": 3}, r"even and >= 4, got 9"),
    "width 2": ({"width": 2, "groups": 1}, r"even and >= 4, got 2"),
    "head_width does not divide": (
        {"heads": None, "head_width": 7},
        r"level 1 has 16 channels, which do not divide into 7 channels a head.*Fix: 8",
    ),
    "heads do not divide": ({"heads": 3}, r"level 1 has 16 channels, which do not divide into 3 heads.*Fix: [24]"),
    "heads do not divide where only the middle attends": (
        {"attention": (), "heads": 5},
        r"level 1 has 16 channels, which do not divide into 5 heads",
    ),
    "heads and head_width": ({"heads": 1, "head_width": 8}, r"one of the two; got heads=1, head_width=8"),
    "neither heads nor head_width": ({"heads": None}, r"one of the two; got heads=None, head_width=None"),
    "no level": ({"multipliers": (), "attention": ()}, r"multipliers is empty"),
    "a multiplier of 0": ({"multipliers": (1, 0)}, r"multipliers\[1\] must be an integer >= 1, got 0"),
    "a multiplier of 1.5": ({"multipliers": (1, 1.5)}, r"multipliers\[1\] must be an integer >= 1, got 1\.5"),
    "one multiplier, no list": ({"multipliers": 2}, r"multipliers must be a tuple of integers.*got 2"),
    "attention = None": ({"attention": None}, r"attention must be a tuple of integers.*got None"),
    "attention by name": ({"attention": "1"}, r"attention must be a tuple of integers.*got '1'"),
    "attention at a resolution": ({"attention": (16,)}, r"attention names level 16.*levels 0 to 1.*a resolution"),
    "attention at level -1": ({"attention": (-1,)}, r"attention names level -1"),
    "dropout in per cent": ({"dropout": 10}, r"dropout must lie in \[0, 1\), got 10.*percentage"),
    "dropout = 1": ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1\.0"),
    "dropout < 0": ({"dropout": -0.1}, r"dropout must lie in \[0, 1\), got -0\.1"),
    "dropout NaN": ({"dropout": float("nan")}, r"dropout must lie in \[0, 1\), got nan"),
    "dropout as text": ({"dropout": "0.1"}, r"dropout must lie in \[0, 1\), got '0\.1'"),
    "eps = 0": ({"eps": 0.0}, r"eps must be a small number > 0, got 0\.0"),
    "eps as text": ({"eps": "1e-6"}, r"eps must be a small number > 0, got '1e-6'"),
    "told in a way unknown": ({"told": "film"}, r"told must be one of add, scale_shift; got 'film'"),
    "an unknown sinusoid": ({"sinusoid": "fourier"}, r"sinusoid must be one of ddpm, adm; got 'fourier'"),
    "an unknown resampling": (
        {"resample": "pool"},
        r"resample must be one of down_right, padded, in_block; got 'pool'",
    ),
}


@pytest.mark.parametrize("row", REFUSED)
def test_what_cannot_be_is_refused(row):
    options, message = REFUSED[row]
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        config(**options)


def test_the_fix_that_a_message_names_works():
    assert config(groups=4).groups == 4
    assert config(heads=None, head_width=8).heads_at(1) == 2
    assert config(width=10, multipliers=(2, 3), groups=5).width_at(1) == 30


def test_heads_need_to_divide_only_where_there_is_attention():
    """7 channels a head: level 0 has 8 channels, but nobody attends there."""
    assert config(width=8, multipliers=(1, 7), heads=None, head_width=7).heads_at(1) == 8


ODD = config(
    out_channels=2, heads=None, head_width=4, told="scale_shift", resample="in_block", classes=7, tokens=5, eps=1e-5
)


@pytest.mark.parametrize("c", [CIFAR10, IMPROVED, ADM, DIGITS, FASHION, ODD])
def test_a_configuration_survives_json(c):
    again = UNetConfig.from_dict(json.loads(json.dumps(c.to_dict())))
    assert again == c and hash(again) == hash(c)
    assert isinstance(again.multipliers, tuple) and isinstance(again.attention, tuple)


def test_every_field_survives_json_with_a_value_of_its_own():
    """A field that is lost on the way would go back to its default."""
    other = {
        "channels": 2, "out_channels": 3, "width": 16, "multipliers": (1, 2, 2), "blocks": 3, "attention": (0, 1),
        "heads": None, "head_width": 8, "dropout": 0.25, "told": "scale_shift", "sinusoid": "adm", "resample": "padded",
        "groups": 2, "eps": 1e-4, "classes": 3, "tokens": 6, "extra_channels": 1, "patch": 2, "T": 50,
    }  # fmt: skip
    assert set(other) == {field.name for field in fields(UNetConfig)}
    c = UNetConfig(**other)
    assert all(getattr(c, field.name) != field.default for field in fields(UNetConfig)), "none has its default"
    assert UNetConfig.from_dict(json.loads(json.dumps(c.to_dict()))) == c


def test_an_unknown_name_is_refused():
    with pytest.raises(ConfigError, match=r"UNetConfig has no depth, heights.*newer version"):
        UNetConfig.from_dict({**DIGITS.to_dict(), "heights": 1, "depth": 3})


def test_what_a_file_leaves_out_is_the_default():
    assert UNetConfig.from_dict({}) == UNetConfig()
    assert UNetConfig.from_dict({"width": 64}) == UNetConfig(width=64)


def test_a_bad_value_in_a_file_is_refused_like_any_other():
    with pytest.raises(ConfigError, match="patch"):
        UNetConfig.from_dict({**DIGITS.to_dict(), "patch": 0})
    with pytest.raises(ConfigError, match="multipliers"):
        UNetConfig.from_dict({**DIGITS.to_dict(), "multipliers": None})


def test_it_cannot_be_changed_in_place():
    with pytest.raises(FrozenInstanceError):
        DIGITS.width = 64
    assert replace(DIGITS, width=64).width == 64 and DIGITS.width == 32


def test_what_follows_from_the_fields():
    assert (CIFAR10.levels, CIFAR10.divisor, CIFAR10.outputs) == (4, 8, 3)
    assert [CIFAR10.width_at(level) for level in range(4)] == [128, 256, 256, 256]
    assert FASHION.divisor == 4, "patches of 2, then half the size once"
    assert (IMPROVED.outputs, IMPROVED.heads_at(1), IMPROVED.heads_at(3)) == (6, 4, 4)
    assert [ADM.heads_at(level) for level in (3, 4, 5)] == [8, 16, 16]
