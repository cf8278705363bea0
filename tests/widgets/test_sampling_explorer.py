"""The sampling explorer without a front end: its walk and numbers by other means, its picture against each control."""

import importlib
import io
import itertools
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ddpm_edu import data, sampling, schedules, widgets

explorer = importlib.import_module("ddpm_edu.widgets.sampling_explorer")
START = {"sampler": "DDIM", "steps": 8, "eta": 0.0, "digit": 3, "w": 1.0, "clip": "none", "seed": 0}
LATER = slice(489, 559)  # the seventh and last moment
REGIONS = {  # (rows, columns) in pixels
    "x_T": (slice(29, 98), slice(48, 118)),
    "x0-hat at T": (slice(103, 172), slice(48, 118)),
    "time": (slice(8, 26), LATER),
    "x_t": (slice(29, 98), LATER),
    "x0-hat": (slice(103, 172), LATER),
    "results": (slice(29, 172), slice(583, 726)),
    "level": (slice(29, 87), slice(778, 913)),
    "distance": (slice(120, 180), slice(778, 913)),
}


@pytest.fixture(scope="module")
def drawing():
    return explorer.SamplingPicture()


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), float)


def words(drawing, **change):
    return re.sub(r"<[^>]+>", " ", drawing.describe(**START | change)).replace("  ", " ")


def rms(difference):
    return difference.flatten(-3).square().mean(-1).sqrt()


# ---------------------------------------------------------------- each control


@pytest.mark.parametrize(
    ("change", "stays"),
    [
        ({"seed": 1}, {"time", "level"}),
        ({"digit": 5}, {"x_T", "time", "level"}),
        ({"w": 4.0}, {"x_T", "time", "level"}),
        ({"clip": "static"}, {"x_T", "time", "level"}),
        ({"clip": "dynamic"}, {"x_T", "time", "level"}),
        ({"eta": 0.5}, {"x_T", "x0-hat at T", "time", "level"}),
        ({"sampler": "DDPM"}, {"x_T", "x0-hat at T", "time", "level"}),
        ({"sampler": "DPM-Solver++(2M), SDE"}, {"x_T", "x0-hat at T", "time", "level"}),
        ({"sampler": "Heun"}, {"x_T", "x0-hat at T", "time", "level"}),
        ({"steps": 15}, {"x_T", "x0-hat at T"}),
        ({"steps": 3}, {"x_T", "x0-hat at T"}),
    ],
    ids=lambda given: str(sorted(given) if isinstance(given, set) else given),  # the same name in every process
)
def test_each_control_moves_what_it_should_and_nothing_else(drawing, change, stays):
    difference = np.abs(pixels(drawing.draw(**START)) - pixels(drawing.draw(**START | change)))
    moved = {name for name, place in REGIONS.items() if difference[place].max() > 0}
    assert moved == set(REGIONS) - stays
    assert words(drawing) != words(drawing, **change)


def test_one_step_shows_one_moment_and_the_others_are_blank(drawing):
    picture = pixels(drawing.draw(**START | {"steps": 1}))
    assert (picture[29:172, 122:559] == 255).all() and picture[REGIONS["x_T"]].std() > 10
    assert "one step: one evaluation of the network" in words(drawing, steps=1, w=0.0)


@pytest.mark.parametrize("sampler", [name for name in explorer.SAMPLERS if name != "DDIM"])
def test_eta_is_ddims_alone(drawing, sampler):
    here, there = (START | {"sampler": sampler, "steps": 4, "eta": eta} for eta in (0.0, 1.0))
    assert drawing.draw(**here) == drawing.draw(**there) and drawing.describe(**here) == drawing.describe(**there)


def test_without_a_digit_there_is_nothing_to_guide_to(drawing):
    here, there = (START | {"digit": "none", "w": w} for w in (0.0, 6.0))
    assert drawing.draw(**here) == drawing.draw(**there) and drawing.describe(**here) == drawing.describe(**there)
    assert "8 evaluations" in words(drawing, digit="none", w=6.0)


def test_the_same_values_give_the_same_bytes(drawing):
    first = drawing.draw(**START)
    drawing.draw(**START | {"steps": 1, "seed": 5})
    assert drawing.draw(**START) == first == explorer.SamplingPicture().draw(**START)


def test_pixels_far_beyond_the_range_are_in_colour_and_only_these(drawing):
    """One guided step leaves most pixels far outside; the static clip leaves none."""
    far = START | {"steps": 1, "w": 6.0}
    for clip, coloured in (("none", True), ("static", False)):
        results = pixels(drawing.draw(**far | {"clip": clip}))[REGIONS["results"]]
        assert (np.ptp(results, axis=-1) > 50).any() == coloured


# ---------------------------------------------------------------- the walk


@pytest.mark.parametrize("sampler", explorer.SAMPLERS)
def test_the_results_are_those_of_sampling_each_image_alone(drawing, sampler):
    values = START | {"sampler": sampler, "steps": 5, "seed": 7}
    method, options = explorer.SAMPLERS[sampler]
    net, s = drawing.net, schedules.linear()
    denoise = sampling.guidance.of_network(net, s, "eps", torch.tensor([3]), values["w"])
    found = drawing.walk(**values).result
    for i, result in enumerate(found):
        stream = torch.Generator().manual_seed(4 * 7 + i)
        alone = sampling.sample(denoise, s, (1, 1, 8, 8), method, 5, generator=[stream], **options)
        assert torch.allclose(result, alone[0], atol=1e-4)


def test_ddim_by_hand(drawing):
    """Guided, clipped, from times that are counted out here."""
    way = drawing.walk(**START | {"steps": 4, "w": 2.0, "clip": "static", "seed": 3})
    net, ab = drawing.net, schedules.linear().alpha_bar
    x = torch.stack([torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(12 + i)) for i in range(4)])
    assert way.times == [1000, 750, 500, 250]
    for number, t in enumerate(way.times):
        with torch.no_grad():
            given, free = (net(x, torch.full((4,), t), labels=torch.full((4,), label)) for label in (3, 10))
        signal, noise, s = ab[t].sqrt().item(), (1 - ab[t]).sqrt().item(), t - 250
        x0 = ((x - noise * (3 * given - 2 * free)) / signal).clamp(-1, 1)
        assert torch.allclose(way.x_t[number], x, atol=1e-4) and torch.allclose(way.x0[number], x0, atol=1e-3)
        x = ab[s].sqrt().item() * x0 + (1 - ab[s]).sqrt().item() * (x - signal * x0) / noise
    assert torch.allclose(way.result, x, atol=1e-3)


def test_the_noise_is_the_seeds_whatever_the_sampler(drawing):
    """x_T is; and so is each step's: DDIM at eta = 1 is DDPM with the posterior's variance, draw by draw."""
    ways = [drawing.walk(**START | {"sampler": sampler}) for sampler in explorer.SAMPLERS]
    assert all(torch.equal(way.x_t[0], ways[0].x_t[0]) for way in ways)
    full, posterior = (
        drawing.walk(**START | change) for change in ({"eta": 1.0}, {"sampler": "DDPM, posterior variance"})
    )
    assert torch.allclose(full.result, posterior.result, atol=1e-3)
    other = drawing.walk(**START | {"eta": 1.0, "seed": 1})
    assert not torch.allclose(full.result, other.result, atol=0.1)


def test_no_two_seeds_share_an_image(drawing):
    starts = torch.cat([drawing.walk(**START | {"steps": 1, "seed": seed}).x_t[0] for seed in (0, 1, 2)])
    assert torch.pdist(starts.flatten(1)).min() > 5


# ---------------------------------------------------------------- the words


class Recording(nn.Module):
    """The network, and the batch size of every call."""

    def __init__(self, net):
        super().__init__()
        self.net, self.no_label, self.batches = net, net.no_label, []

    def forward(self, x_t, t, labels):
        self.batches.append(len(x_t))
        return self.net(x_t, t, labels=labels)


@pytest.mark.parametrize("sampler", explorer.SAMPLERS)
def test_the_evaluations_are_those_that_the_network_saw(sampler):
    drawing = explorer.SamplingPicture()
    drawing.net = Recording(drawing.net)
    for steps, w, clip in itertools.product((1, 2, 6), (0.0, 2.0), ("none", "dynamic")):
        drawing.net.batches.clear()
        text = words(drawing, sampler=sampler, steps=steps, w=w, clip=clip)
        calls = len(drawing.net.batches)
        assert set(drawing.net.batches) == {4}
        assert calls == (2 * steps - 1 if sampler == "Heun" else steps) * (2 if w else 1)
        assert ("one evaluation of" if calls == 1 else f" {calls} evaluations of") in text
        assert ("with the digit and without (guidance, w = 2)" in text) == (w == 2)


def test_the_costliest_setting_is_one_that_a_hand_can_wait_for(drawing):
    """118 calls of a few milliseconds each: under a second on one core."""
    costliest = START | {"sampler": "Heun", "steps": explorer.STEPS[-1], "w": explorer.WEIGHTS[-1]}
    assert drawing.walk(**costliest).calls <= 120


def test_the_numbers_are_those_of_the_results_and_of_the_data(drawing):
    change = {"steps": 5, "w": 3.0, "seed": 2}
    x = drawing.walk(**START | change).result.double().numpy().reshape(4, 64)
    digits = data.digits()
    threes = digits.model_range()[digits.labels == 3].double().numpy().reshape(-1, 64)
    text = words(drawing, **change)
    assert f"Pixels: standard deviation {x.std(ddof=1):.3f} (the 3s of the data: {threes.std():.3f})" in text
    shares = [(np.abs(images) >= 1).mean() for images in (x, threes)]
    assert f"at or beyond -1 and 1: {shares[0]:.0%} (data: {shares[1]:.0%})" in text
    assert f"in colour, beyond by half a grey level: {(np.abs(x) >= 1.0625).mean():.1%}" in text
    assert f"largest |x| {np.abs(x).max():.3g}." in text
    apart = [
        np.mean([np.sqrt(np.mean((a - b) ** 2)) for a, b in itertools.combinations(images, 2)])
        for images in (x, threes)
    ]
    assert f"on average {apart[0]:.2f} apart (root mean square; two of the data: {apart[1]:.2f})" in text
    assert "DDIM, eta = 0, 5 steps" in text
    assert "all digits of the data" in words(drawing, digit="none")


@pytest.mark.parametrize("change", [{}, {"steps": 15, "w": 4.0}, {"sampler": "DDPM", "steps": 20}, {"steps": 1}])
def test_settled_is_the_first_time_after_which_x0_hat_stays_near(drawing, change):
    way = drawing.walk(**START | change)
    near = [rms(x0[0] - way.result[0]).item() < explorer.CLOSE for x0 in way.x0]
    start = way.times.index(way.settled())
    assert all(near[start:]) and (start == 0 or not near[start - 1])
    assert f"From t = {way.times[start]} on" in words(drawing, **change)


def test_with_a_clip_no_pixel_is_beyond(drawing):
    for clip in ("static", "dynamic"):
        text = words(drawing, w=6.0, clip=clip)
        assert "level: 0.0%" in text and "largest |x| 1." in text
    assert "level: 0.0%" not in words(drawing, w=6.0)


# ---------------------------------------------------------------- the plots


def test_the_dots_stand_at_the_visited_times_on_the_curve(drawing):
    drawing.draw(**START | {"sampler": "Heun"})
    times, heights = drawing.visited.get_data()
    assert [(int(t), int(s)) for t, s in itertools.pairwise([*times, 0])] == sampling.grids.uniform(1000, 8)
    assert heights == pytest.approx([(1 - drawing.s.alpha_bar[int(t)].item()) ** 0.5 for t in times])


def test_the_lines_are_distances_within_the_axis(drawing):
    values = START | {"w": 6.0, "sampler": "Heun", "steps": 5}
    drawing.draw(**values)
    way = drawing.walk(**values)
    for i, line in enumerate(drawing.lines):
        times, heights = line.get_data()
        expected = [np.clip(rms(x0[i] - way.result[i]).item(), 0.02, 20) for x0 in way.x0[:-1]]
        assert list(times) == way.times[:-1] and list(heights) == pytest.approx(expected)


# ---------------------------------------------------------------- the widget


def test_every_control_is_labelled_and_redraws_picture_and_words():
    box = widgets.sampling_explorer()
    assert set(box.controls) == set(START) and all(control.description for control in box.controls.values())
    changes = {"sampler": "DDPM", "steps": 4, "digit": 8, "w": 2.0, "clip": "static", "seed": 3}
    for name, value in changes.items():
        picture, text = box.image.value, box.readout.value
        box.controls[name].value = value
        assert box.image.value != picture and box.readout.value != text
    box.controls["sampler"].value, picture = "DDIM", box.image.value
    box.controls["eta"].value = 1.0
    assert box.image.value != picture and "DDIM, eta = 1, 4 steps: 8 evaluations" in re.sub(
        "<[^>]+>", "", box.readout.value
    )


def test_controls_without_effect_are_greyed_out():
    box = widgets.sampling_explorer(digit="none", steps=1)
    assert box.controls["w"].disabled and not box.controls["eta"].disabled
    box.controls["digit"].value = 0
    assert not box.controls["w"].disabled
    for sampler in explorer.SAMPLERS:
        box.controls["sampler"].value = sampler
        assert box.controls["eta"].disabled == (sampler != "DDIM")
