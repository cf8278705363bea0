"""The block explorer without a front end: bars and numbers against counts that do not go through a summary."""

import importlib
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from ddpm_edu import models, widgets
from ddpm_edu.models.summary import example, summary

explorer = importlib.import_module("ddpm_edu.widgets.block_explorer")
START = {
    "size": 32,
    "width": 128,
    "levels": 4,
    "blocks": 2,
    "attention": "at 16 pixels",
    "told": "add",
    "patch": 1,
    "batch": 128,
    "checkpointing": "off",
}
SMALL = START | {"size": 16, "width": 32, "levels": 3, "blocks": 1, "batch": 4}
CHANGES = [
    {"size": 16},
    {"width": 96},
    {"levels": 3},
    {"blocks": 1},
    {"attention": "none"},
    {"told": "scale_shift"},
    {"patch": 2},
    {"batch": 64},
    {"checkpointing": "selective"},
]


@pytest.fixture(scope="module")
def drawing():
    return explorer.BlockPicture()


def network(values):
    return {name: values[name] for name in ("size", "width", "levels", "blocks", "attention", "told", "patch")}


def meta(values):
    config = explorer.make_config(**network(values))
    with torch.device("meta"):
        return models.UNet(config), example(config, values["size"], values["batch"])


def numbers(drawing, values):
    return re.sub(r"<[^>]+>", " ", drawing.describe(**values)).replace("  ", " ")


def bars(drawing, values, panel):
    """{row: length of its bar} as drawn: 0 parameters, 1 FLOPs, 2 memory."""
    _, *panels = drawing.figure(**values).axes
    rows = [label.get_text() for label in panels[0].get_yticklabels()]  # the other two have no names of their own
    lengths = dict.fromkeys(rows, 0.0)
    for bar in panels[panel].patches:
        lengths[rows[round(bar.get_y() + bar.get_height() / 2)]] += bar.get_width()
    return lengths


def count(*modules):
    return sum(p.numel() for module in modules if module is not None for p in module.parameters())


# ---------------------------------------------------------------- the bars


def test_parameters_by_level_are_those_of_the_modules(drawing):
    net, _ = meta(SMALL)
    down, up = net.down, net.up[::-1]
    expected = {"time, stem, head": count(net.told, net.stem, net.norm, net.head), "middle": count(net.middle)}
    for level in range(3):
        into = [down[level - 1].shrink] if level else []  # what it gives is of this level
        back = [up[level + 1].grow] if level < 2 else []
        expected[f"level {level}"] = count(down[level].blocks, up[level].blocks, *into, *back)
    drawn = bars(drawing, SMALL, 0)
    assert drawn == pytest.approx({row: number / 1e6 for row, number in expected.items()})
    assert list(drawn) == ["time, stem, head", "level 0", "level 1", "level 2", "middle"]


def test_flops_of_a_level_counted_by_hand(drawing):
    """One level of 16 channels at 8x8: 3x3 convolutions, shortcuts where channels change, a map of the time."""
    values = SMALL | {"size": 8, "width": 16, "levels": 1, "attention": "none", "batch": 2}
    pixels, c, time = 8 * 8, 16, 4 * 16

    def block(c_in):
        shortcut = c_in * c * pixels if c_in != c else 0
        return 2 * (9 * c_in * c * pixels + 9 * c * c * pixels + time * c + shortcut)

    attention = 2 * (4 * c * c * pixels + 2 * pixels * pixels * c)  # q, k, v and projection; scores and mixture
    drawn = bars(drawing, values, 1)
    assert drawn["level 0"] == pytest.approx((block(c) + 2 * block(2 * c)) / 1e9)
    assert drawn["middle"] == pytest.approx((2 * block(c) + attention) / 1e9)


@pytest.mark.parametrize("checkpointing", ["off", "every block"])
def test_memory_is_what_autograd_asks_to_keep(drawing, checkpointing):
    values = SMALL | {"checkpointing": checkpointing}
    net, inputs = meta(values)
    explorer.CHECKPOINTING[checkpointing](net)
    given = [*net.parameters(), *inputs.values()]
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        keep(net(**inputs))  # the result is kept as well, for the loss
    for tensor in given:
        kept.pop(tensor.untyped_storage()._cdata, None)
    by_autograd = sum(storage.nbytes() for storage in kept.values()) / 2**20
    assert sum(bars(drawing, values, 2).values()) == pytest.approx(by_autograd)


def test_nothing_is_left_out(drawing):
    found = summary(models.CIFAR10, 32, 128)
    for panel, total in enumerate((found.parameters / 1e6, found.flops / 128 / 1e9, found.saved / 2**20)):
        assert sum(bars(drawing, START, panel).values()) == pytest.approx(total)


# ---------------------------------------------------------------- the numbers


def test_it_begins_with_ddpms_network(drawing):
    text = numbers(drawing, START)
    assert "35,746,307 parameters" in text and "Self-attention: level 1 and the middle." in text
    assert explorer.make_config(**network(START)) == models.CIFAR10


def test_the_numbers_are_those_of_the_summary(drawing):
    net, _ = meta(SMALL)
    found = summary(net, 16, 4)
    text = numbers(drawing, SMALL)
    assert f"{count(net):,} parameters" in text
    assert f"takes {found.flops / 4 / 1e9:.3g} GFLOP an image" in text
    assert f"of 4 images {found.saved / 2**20:.3g} MiB" in text
    assert "of one image " in numbers(drawing, SMALL | {"batch": 1})


@pytest.mark.parametrize("checkpointing", explorer.CHECKPOINTING)
def test_a_training_step_costs_what_is_said(checkpointing):
    for values in (START, SMALL):
        net, inputs = meta(values)
        with FlopCounterMode(display=False) as forward:
            net(**inputs)
        explorer.CHECKPOINTING[checkpointing](net)
        with FlopCounterMode(display=False) as step:
            net(**inputs).sum().backward()
        passes, _ = explorer.STEP[checkpointing]
        assert step.get_total_flops() == pytest.approx(passes * forward.get_total_flops(), rel=0.03)


def test_memory_falls_with_checkpointing_and_nothing_else_does(drawing):
    by_name = {name: START | {"checkpointing": name} for name in ("off", "selective", "every block")}
    off, selective, every = (sum(bars(drawing, values, 2).values()) for values in by_name.values())
    assert off > 1.5 * selective > 4 * every
    assert len({tuple(bars(drawing, values, panel).values()) for values in by_name.values() for panel in (0,)}) == 1
    assert len({tuple(bars(drawing, values, 1).values()) for values in by_name.values()}) == 1
    assert "most of a fourth" in numbers(drawing, by_name["every block"])


# ---------------------------------------------------------------- the network


def test_the_network_is_what_the_controls_say():
    config = explorer.make_config(64, 96, 5, 3, "lowest level", "scale_shift", 2)
    expected = models.UNetConfig(
        width=96, multipliers=(1, 2, 2, 2, 2), blocks=3, attention=(4,), told="scale_shift", groups=16, patch=2
    )
    assert config == expected


@pytest.mark.parametrize("width", explorer.WIDTHS)
def test_groups_divide_every_level(width):
    config = explorer.make_config(**network(START) | {"width": width, "levels": 5, "attention": "all levels"})
    groups = config.groups
    assert groups == 32 or width % (2 * groups) or width // (2 * groups) < 4  # no larger one would do
    assert width // groups >= 4


@pytest.mark.parametrize("config", [models.CIFAR10, models.DIGITS, models.FASHION])
def test_groups_are_those_of_the_known_networks(config):
    assert explorer.groups_for(config.width) == config.groups


@pytest.mark.parametrize(
    ("where", "size", "levels", "patch", "attends"),
    [
        ("none", 32, 4, 1, ()),
        ("at 16 pixels", 32, 4, 1, (1,)),
        ("at 16 pixels", 64, 3, 2, (1,)),
        ("at 16 pixels", 28, 3, 1, ()),
        ("lowest level", 32, 4, 1, (3,)),
        ("lowest two levels", 32, 4, 1, (2, 3)),
        ("lowest two levels", 32, 1, 1, (0,)),
        ("all levels", 32, 3, 1, (0, 1, 2)),
    ],
)
def test_where_attention_goes(where, size, levels, patch, attends):
    assert explorer.attended(where, size, levels, patch) == attends


# ---------------------------------------------------------------- the widget


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"), float)


@pytest.mark.parametrize("change", CHANGES, ids=[next(iter(change)) for change in CHANGES])
def test_each_control_redraws_the_picture_and_the_numbers(drawing, change):
    before, after = drawing.draw(**START), drawing.draw(**START | change)
    a, b = pixels(before), pixels(after)
    assert a.std() > 10 and b.std() > 10
    assert a.shape != b.shape or np.abs(a - b).mean() > 0.05
    assert numbers(drawing, START) != numbers(drawing, START | change)


def test_the_same_values_give_the_same_bytes(drawing):
    first = drawing.draw(**SMALL)
    drawing.draw(**START)
    assert drawing.draw(**SMALL) == first


def test_every_control_reaches_the_picture():
    box = widgets.block_explorer(**SMALL)
    assert set(box.controls) == set(START) and all(control.description for control in box.controls.values())
    for name, value in {"width": 48, "blocks": 2, "told": "scale_shift", "batch": 8}.items():
        picture, text = box.image.value, box.readout.value
        box.controls[name].value = value
        assert box.image.value != picture and box.readout.value != text


def test_an_impossible_setting_says_why_and_hides_the_picture():
    box = widgets.block_explorer()
    box.controls["size"].value = 28
    assert "ShapeError: height 28 is not a multiple of 8" in box.readout.value
    assert "The nearest: 24 or 32" in box.readout.value and "Traceback" not in box.readout.value
    assert box.image.layout.visibility == "hidden"
    box.controls["levels"].value = 3
    assert "parameters" in box.readout.value and box.image.layout.visibility == "visible"
