"""The networks of the papers: as many parameters as published, counted by torch and again by hand."""

from dataclasses import replace

import pytest
import torch

from ddpm_edu import models
from ddpm_edu.models import UNet, UNetConfig
from tests.models.helpers import layers, parameters_of

# The counts of ADM's networks are published rounded; each has one row more here, for "no label".
PUBLISHED = {
    "unet_cifar10": 35_746_307,
    "unet_improved_cifar10": 52_546_438,
    "unet_improved_imagenet64": 121_063_942,
    "unet_adm_imagenet64": 295_905_222,
    "unet_adm_imagenet128": 421_530_630,
    "unet_adm_imagenet256": 553_839_110,
    "unet_digits": 702_753,
    "unet_fashion": 704_484,
}


def built(name, *arguments):
    with torch.device("meta"):
        return getattr(models, name)(*arguments)


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_the_count_of_parameters_is_the_published_one(name, parameters):
    net = built(name)
    assert count(net) == parameters
    assert sum(map(parameters_of, layers(net.config))) == parameters, "layer by layer, in plain arithmetic"


def test_six_outputs_are_one_convolution_more():
    assert count(built("unet_cifar10", 6)) == 35_749_766 == 35_746_307 + 3 * (128 * 9 + 1)


def test_ddpm_for_256_pixels_has_the_papers_114_million():
    """Ho et al. 2020, appendix B: six levels, attention at 16 pixels. None of our named networks: the class has it."""
    with torch.device("meta"):
        net = UNet(UNetConfig(multipliers=(1, 1, 2, 2, 4, 4), attention=(4,)))
    assert round(count(net) / 1e6) == 114
    assert sum(map(parameters_of, layers(net.config))) == count(net)


@pytest.mark.parametrize(("name", "millions"), [("64", 296), ("128", 422), ("256", 554)])
def test_adm_without_our_row_for_no_label_rounds_to_what_is_published(name, millions):
    net = built(f"unet_adm_imagenet{name}")
    row = 4 * net.config.width
    assert {"64": 768, "128": 1024, "256": 1024}[name] == row
    assert net.told.label.weight.shape == (1001, row)
    assert round((count(net) - row) / 1e6) == millions


def test_the_count_by_hand_sees_a_change_of_any_kind():
    """Negative control: one setting changed, another count, and both ways of counting agree on it."""
    plain = count(built("unet_cifar10"))
    for change in (
        {"blocks": 3},
        {"attention": (1, 2)},
        {"told": "scale_shift"},
        {"resample": "in_block"},
        {"classes": 10},
        {"tokens": 64},
        {"patch": 2},
        {"extra_channels": 1},
        {"multipliers": (1, 2, 2)},
    ):
        with torch.device("meta"):
            net = UNet(replace(UNetConfig(), **change))
        assert count(net) != plain, change
        assert count(net) == sum(map(parameters_of, layers(net.config))), change


def test_attention_is_where_the_papers_have_it():
    """By the size in pixels at which it happens; the middle, which always attends, is apart."""
    sizes = {
        "unet_cifar10": (32, {16}),
        "unet_improved_cifar10": (32, {16, 8}),
        "unet_improved_imagenet64": (64, {16, 8}),
        "unet_adm_imagenet64": (64, {32, 16, 8}),
        "unet_adm_imagenet128": (128, {32, 16, 8}),
        "unet_adm_imagenet256": (256, {32, 16, 8}),
    }
    for name, (size, at) in sizes.items():
        assert {size >> level for level in built(name).config.attention} == at, name


def test_the_small_ones_fit_their_images():
    for c, size in ((models.DIGITS, 8), (models.FASHION, 28)):
        assert size % c.divisor == 0
        assert (c.channels, c.classes) == (1, 10)
