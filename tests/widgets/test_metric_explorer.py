"""The metric explorer without a front end: its damages and numbers by other means, its picture against each control."""

import importlib
import io
import re

import numpy as np
import pytest
import scipy.linalg
import torch
from PIL import Image

from ddpm_edu import data, widgets

explorer = importlib.import_module("ddpm_edu.widgets.metric_explorer")
START = {"kind": "noise", "strength": 2, "n": 50, "seed": 0}
IMAGES, METERS = (slice(0, 185), slice(0, 235)), (slice(0, 175), slice(420, 920))
ROWS = {key: (slice(3 + 25 * i, 27 + 25 * i), slice(420, 800)) for i, key in enumerate(explorer.METRICS)}


@pytest.fixture(scope="module")
def drawing():
    return explorer.MetricPicture()


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), float)


def words(drawing, **change):
    return re.sub(r"<[^>]+>", " ", drawing.describe(**START | change)).replace("  ", " ")


def made(drawing, **change):
    return drawing.made(**START | change)


def numbers(drawing, **change):
    return drawing.numbers(**START | change)


# ---------------------------------------------------------------- the sets


def test_the_three_parts_of_the_digits_share_none_and_are_all(drawing):
    parts = [drawing.reference, drawing.pool, drawing.held_out]
    assert [len(part) for part in parts] == [700, 800, 297]
    assert torch.equal(torch.cat(parts).sum(0), data.digits().model_range().sum(0))
    named = {image.numpy().tobytes(): int(label) for image, label in zip(drawing.pool, drawing.labels, strict=True)}
    digits = data.digits()
    for image, label in zip(digits.model_range(), digits.labels, strict=True):
        assert named.get(image.numpy().tobytes(), int(label)) == int(label)


@pytest.mark.parametrize("kind", explorer.DAMAGES)
def test_strength_0_is_the_pool_whatever_the_damage(drawing, kind):
    images = made(drawing, kind=kind, strength=0)
    assert len(images) == 50 and torch.equal(images, made(drawing, kind="blur", strength=0))
    known = {image.numpy().tobytes() for image in drawing.pool}
    assert {image.numpy().tobytes() for image in images} <= known


def test_blur_mixes_in_the_mean_of_nine(drawing):
    sharp, soft = (made(drawing, kind="blur", strength=strength)[7, 0].numpy() for strength in (0, 3))
    wide = np.pad(sharp, 1, mode="edge")
    mean = np.array([[wide[i : i + 3, j : j + 3].mean() for j in range(8)] for i in range(8)])
    assert np.abs(soft - (0.25 * sharp + 0.75 * mean)).max() < 1e-6


def test_noise_has_its_standard_deviation_and_stays_in_range(drawing):
    clean, noisy = (made(drawing, strength=strength, n=400) for strength in (0, 3))
    middle = clean.abs() < 0.1  # nothing is clipped there
    assert (noisy - clean)[middle].std().item() == pytest.approx(0.3, rel=0.03)
    assert noisy.abs().max() <= 1


def test_dropped_classes_are_gone_and_the_others_are_not(drawing):
    names = {image.numpy().tobytes(): int(label) for image, label in zip(drawing.pool, drawing.labels, strict=True)}
    images = made(drawing, kind="classes dropped", strength=4, n=400)
    assert {names[image.numpy().tobytes()] for image in images} == {4, 5, 6, 7, 8, 9} and len(images) == 400


def test_repeats_and_copies_are_as_many_as_told(drawing):
    repeated = made(drawing, kind="repeated images", strength=3, n=400)
    assert [len(torch.unique(repeated, dim=0)), len(repeated)] == [50, 400]
    copied = made(drawing, kind="copies of the reference", strength=3, n=400)
    reference = {image.numpy().tobytes() for image in drawing.reference}
    assert sum(image.numpy().tobytes() in reference for image in copied) == 300 and len(copied) == 400


def test_the_smallest_set_can_be_repeated_most(drawing):
    images = made(drawing, kind="repeated images", strength=4, n=25)
    assert len(torch.unique(images, dim=0)) == 1
    assert all(np.isfinite(value) for value in numbers(drawing, kind="repeated images", strength=4, n=25).values())


# ---------------------------------------------------------------- the numbers


def _pairs(real, made):
    return {"rr": (real, real), "mm": (made, made), "rm": (real, made)}


@pytest.mark.parametrize("change", [{}, {"kind": "copies of the reference"}, {"kind": "classes dropped", "n": 100}])
def test_the_numbers_by_other_means(drawing, change):
    found, images = numbers(drawing, **change), made(drawing, **change)
    made_f, real_f = (drawing.extractor.features(x).double().numpy() for x in (images, drawing.reference))
    gap, (a, b) = made_f.mean(0) - real_f.mean(0), (np.cov(f.T) for f in (made_f, real_f))
    frechet = gap @ gap + np.trace(a + b) - 2 * np.trace(scipy.linalg.sqrtm(a @ b)).real
    assert found["frechet"] == pytest.approx(frechet, rel=1e-3)  # 50 samples: a singular covariance, rounded roots
    apart = {key: np.linalg.norm(x[:, None] - y[None], axis=2) for key, (x, y) in _pairs(real_f, made_f).items()}
    reach = {key: np.sort(apart[key], 1)[:, 3] + 1e-12 for key in ("rr", "mm")}  # number 0 is the image itself
    assert found["precision"] == pytest.approx((apart["rm"] <= reach["rr"][:, None]).any(0).mean())
    assert found["recall"] == pytest.approx((apart["rm"] <= reach["mm"][None]).any(1).mean())
    k = [(x @ y.T / 64 + 1) ** 3 for x, y in ((made_f, made_f), (real_f, real_f), (made_f, real_f))]
    within = [(m.sum() - np.trace(m)) / (len(m) * (len(m) - 1)) for m in k[:2]]
    assert found["kernel"] == pytest.approx(sum(within) - 2 * k[2].mean(), abs=1e-9)
    p = drawing.extractor.logits(images).double().softmax(1).numpy()
    assert found["score"] == pytest.approx(np.exp((p * np.log(p / p.mean(0))).sum(1).mean()))
    near = [
        ((x.flatten(1)[:, None] - drawing.reference.flatten(1)[None]) ** 2).sum(2).sqrt().amin(1)
        for x in (images, drawing.held_out)
    ]
    limit = near[1].sort().values[1]  # the second of 297: 1%
    assert found["copies"] == pytest.approx((near[0] < limit - 1e-5).double().mean().item())


def test_damage_is_seen_by_those_that_should_see_it(drawing):
    at = {kind: numbers(drawing, kind=kind, strength=3, n=200) for kind in explorer.DAMAGES}
    grey = drawing.undamaged(200)
    low = {key: min(one[key] for one in grey) for key in explorer.METRICS}
    high = {key: max(one[key] for one in grey) for key in explorer.METRICS}
    for kind in ("blur", "noise", "classes dropped", "repeated images"):
        assert at[kind]["frechet"] > high["frechet"] and at[kind]["kernel"] > high["kernel"], kind
    assert at["classes dropped"]["recall"] < low["recall"] and at["classes dropped"]["precision"] >= high["precision"]
    assert at["repeated images"]["recall"] == 0
    assert at["copies of the reference"]["copies"] == 0.75 and at["copies of the reference"]["frechet"] < low["frechet"]
    assert all(at[kind]["copies"] < 0.05 for kind in explorer.DAMAGES if kind != "copies of the reference")


def test_the_words_give_every_number_and_who_complains(drawing):
    found = numbers(drawing, kind="classes dropped", n=200)
    text = words(drawing, kind="classes dropped", n=200)
    for key, metric in explorer.METRICS.items():
        assert f"{metric.name} {format(found[key], metric.form)} (" in text
    assert "200 digits, 2 of ten classes left out." in text
    worse = text.split("Worse than all of these:")[1].split(". Better")[0]
    assert "Frechet distance" in worse and "recall" in worse and "copies" not in worse
    assert "undamaged" in words(drawing, strength=0)
    copied = words(drawing, kind="copies of the reference", strength=4, n=200)
    assert "100% of the images are copies of reference images" in copied
    assert "Frechet distance" in copied.split("Better than all:")[1] and "share of copies 100%" in copied


# ---------------------------------------------------------------- the picture


def test_each_control_moves_images_and_meters(drawing):
    start = pixels(drawing.draw(**START))
    for change in ({"kind": "blur"}, {"strength": 4}, {"seed": 1}, {"n": 100}):
        now = pixels(drawing.draw(**START | change))
        assert np.abs(now - start)[METERS].mean() > 0.1, change
        same_images = "n" in change  # the first of a set are the first of a larger one, but for their noise
        assert same_images or np.abs(now - start)[IMAGES].mean() > 1, change


def test_the_points_stand_where_the_numbers_are(drawing):
    values = START | {"kind": "blur", "strength": 3}
    drawing.draw(**values)
    found = drawing.numbers(**values)
    for key, metric in explorer.METRICS.items():
        grey, orange, number = drawing.marks[key]
        assert number.get_text() == format(found[key], metric.form)
        ends = [metric.worse, metric.better, found[key]]
        worse, better, value = np.log(np.maximum(ends, 1e-9)) if metric.log else ends
        assert orange.get_data()[0][0] == pytest.approx(np.clip((value - worse) / (better - worse), 0, 1))
        assert len(grey.get_data()[0]) == explorer.UNDAMAGED
        assert all(0 <= x <= 1 for x in [*grey.get_data()[0], *orange.get_data()[0]])


def test_every_meter_has_its_point_in_the_picture(drawing):
    """Orange in each row: a frozen background alone has once looked like success."""
    shown = pixels(drawing.draw(**START))
    for key, place in ROWS.items():
        red, green, blue = np.moveaxis(shown[place], 2, 0)
        assert ((red > 180) & (green < 140) & (blue < 60)).sum() > 20, key


def test_the_same_values_give_the_same_bytes(drawing):
    first = drawing.draw(**START)
    drawing.draw(**START | {"kind": "blur", "strength": 4, "n": 25, "seed": 3})
    assert drawing.draw(**START) == first


# ---------------------------------------------------------------- the widget


def test_every_control_is_labelled_and_redraws_picture_and_words():
    box = widgets.metric_explorer(n=25)
    assert set(box.controls) == set(START) and all(control.description for control in box.controls.values())
    for name, value in {"kind": "noise", "strength": 3, "n": 50, "seed": 3}.items():
        picture, text = box.image.value, box.readout.value
        box.controls[name].value = value
        assert box.image.value != picture and box.readout.value != text


def test_every_setting_of_the_sliders_is_possible(drawing):
    for kind in explorer.DAMAGES:
        for n in (explorer.COUNTS[0], explorer.COUNTS[-1]):
            assert len(made(drawing, kind=kind, strength=explorer.STRENGTHS, n=int(n))) == n
