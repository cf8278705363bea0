"""The training planner without a front end: its numbers against the planner's own, counted anew, and by hand."""

import importlib
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ddpm_edu import widgets
from ddpm_edu.training import planner, presets

module = importlib.import_module("ddpm_edu.widgets.training_planner")
H100, A100, _, T4 = planner.GPUS
START = {
    "preset": "digits-cpu",
    "gpu": "H100 SXM",
    "gpus": 1,
    "batch": 64,
    "steps": 10_000,
    "checkpointing": "off",
    "price": 2,
}
CHANGES = [
    {"preset": "fashion-cpu"},
    {"gpu": "T4"},
    {"gpus": 4},
    {"batch": 1024},
    {"steps": 100_000},
    {"checkpointing": "every block"},
]


def of(gpu=H100, **other):
    values = START | other
    return module.estimate(
        values["preset"], gpu, values["gpus"], values["batch"], values["steps"], values["checkpointing"]
    )


def cost(preset, **changes):
    return planner.cost(replace(presets.by_name(preset), **changes), "bf16")


@pytest.fixture(scope="module")
def drawing():
    return module.PlannerPicture()


def text(drawing, values):
    return re.sub(r"<[^>]+>", "", drawing.describe(**values))


# ---------------------------------------------------------------- the numbers


@pytest.mark.parametrize("batch", [32, 512])
@pytest.mark.parametrize("gpu", [H100, T4])
def test_one_gpu_is_what_the_planner_says(gpu, batch):
    """Which counts each batch anew, where this one scales what it has counted once."""
    config = replace(presets.DIGITS_CPU, batch=batch, steps=10_000)
    plan, own = planner.plan(config, gpu), of(gpu, batch=batch)
    assert own.precision == plan.precision and own.limit == plan.limit
    assert own.hours == pytest.approx(plan.hours)
    assert own.memory == pytest.approx(plan.cost.memory.total, rel=1e-3)


def test_several_gpus_share_the_arithmetic_and_not_the_launches():
    busy = {"preset": "fashion-cpu", "batch": 1024, "steps": 1000}
    for number in (1, 4):
        own = of(T4, gpus=number, **busy)
        flops = cost("fashion-cpu").flops_per_image
        by_hand = 1024 / number * flops / (65e12 * 0.15)
        launches = cost("fashion-cpu").operations * 8e-6
        assert own.seconds_per_step == pytest.approx(max(by_hand, launches))
    assert of(gpus=32, batch=1024).seconds_per_step == of(gpus=16, batch=1024).seconds_per_step, "the host is the limit"
    alone, four = of(batch=1024), of(gpus=4, batch=1024)
    slope = (alone.parts["saved"] - four.parts["saved"]) / (1024 - 256)
    assert four.parts["saved"] / 256 == pytest.approx(slope, rel=0.02), "256 of the 1024 images, and casts of weights"
    assert four.parts["optimiser"] == alone.parts["optimiser"], "each GPU has all of it"


def test_checkpointing_saves_memory_and_costs_arithmetic():
    plain, twice = of(), of(checkpointing="every block")
    assert twice.parts["saved"] < plain.parts["saved"] / 2
    assert cost("digits-cpu", checkpointing=True).flops_per_image > cost("digits-cpu").flops_per_image


def test_the_weights_of_the_papers_network():
    assert of(preset="cifar10").parts["weights"] == 4 * 35_746_307


# ---------------------------------------------------------------- the picture and the line


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("L"), float)


@pytest.mark.parametrize("change", CHANGES, ids=[next(iter(change)) for change in CHANGES])
def test_each_control_redraws_the_picture_and_the_numbers(drawing, change):
    before, after = drawing.draw(**START), drawing.draw(**START | change)
    assert pixels(before).std() > 10 and before != after
    assert text(drawing, START) != text(drawing, START | change)


def test_bars_are_the_memory_and_the_hours(drawing):
    drawing.draw(**START)
    for row, gpu in zip(drawing.rows, planner.GPUS, strict=True):
        ends = [bar.get_x() + bar.get_width() for bar in row.parts.values()]
        assert ends == sorted(ends) and ends[-1] == pytest.approx(of(gpu).memory / 1e9)
        assert row.hours.get_width() == pytest.approx(max(of(gpu).hours, module.LEAST))
        assert row.memory.get_text() == f"{of(gpu).memory / 1e6:.3g} MB"
        assert {name.get_fontweight() for name in row.names} == {"bold" if gpu is H100 else "normal"}
    strokes = [line.get_xdata()[0] for line in drawing.figure.axes[0].lines]
    assert strokes == [80, 80, 24, 16]


def test_the_price_is_the_readers_and_the_rest_is_called_an_estimate(drawing):
    said = text(drawing, START)
    assert said.startswith("ESTIMATE") and "your price" in said
    hours = of(steps=10_000).hours
    assert f"{2 * hours:,.2f} at 2 an hour" in said
    assert f"{4 * 10 * of(gpus=4).hours:,.2f} at 10 an hour" in text(drawing, START | {"gpus": 4, "price": 10})


def test_what_does_not_fit_is_said_and_drawn(drawing, monkeypatch):
    small = replace(T4, memory=10e6)
    monkeypatch.setattr(module, "GPUS", (H100, small))
    monkeypatch.setattr(planner, "GPUS", (H100, small))
    assert "does NOT fit" in text(drawing, START | {"gpu": "T4"})
    assert "(fits)" in text(drawing, START)
    two = module.PlannerPicture()
    two.draw(**START)
    assert [row.time.get_text() == "too small" for row in two.rows] == [False, True]


def test_every_control_reaches_the_picture():
    box = widgets.training_planner(**START)
    assert set(box.controls) == set(START) and all(control.description for control in box.controls.values())
    for name, value in {"gpus": 8, "batch": 256, "gpu": "T4", "price": 5}.items():
        said = box.readout.value
        box.controls[name].value = value
        assert box.readout.value != said, name
    assert box.image.layout.visibility == "visible"
