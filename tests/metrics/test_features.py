"""The feature spaces that the package carries: they tell classes apart, ignore the batch, order distances."""

import functools
import itertools
import json

import pytest
import torch
import torch.nn.functional as F

from ddpm_edu import data, metrics
from ddpm_edu.errors import ConfigError, DataError, ShapeError
from ddpm_edu.metrics import features
from ddpm_edu.models import pretrained
from tools import make_features

NAMES = ("digits", "fashion", "fashion_turned")
needs_fashion = pytest.mark.skipif(not data.fashion_mnist_available(), reason="Fashion-MNIST is not installed")


@functools.cache
def digits():
    return features.load("digits"), data.digits()


@functools.cache
def fashion():
    return features.load("fashion"), data.fashion_mnist("test").subset(slice(2000))


def accuracy(extractor, found):
    return (extractor.logits(found.model_range()).argmax(1) == found.labels).double().mean().item()


# ---------------------------------------------------------------- the files


@pytest.mark.parametrize("name", NAMES)
def test_a_carried_file_says_how_it_was_made(name):
    path = features.FOLDER / f"{name}.safetensors"
    extractor, log = features.load(name), json.loads(path.with_suffix(".json").read_text())
    assert path.stat().st_size < 300_000
    assert not extractor.net.training
    for key in ("command", "data", "training", "images", "accuracy", "torch"):
        assert extractor.config[key] == log[key]
    assert log["command"] == f"python tools/make_features.py {name}"
    assert log["date"] and log["machine"] and log["seconds"] > 0
    assert extractor.config["training"] == make_features.RECIPES[name].training
    assert extractor.config["arguments"] == make_features.RECIPES[name].arguments


def test_digits_that_were_held_out_are_recognised():
    extractor, found = digits()
    out = found.subset(features.held_out(len(found)))
    assert accuracy(extractor, out) >= 0.97
    assert round(accuracy(extractor, out), 3) == round(extractor.config["accuracy"], 3)
    assert extractor.config["images"] == {"trained on": len(found) - len(out), "held out": len(out)}


@needs_fashion
def test_clothes_are_recognised():
    extractor, found = fashion()
    assert accuracy(extractor, found) >= 0.88
    assert extractor.config["accuracy"] >= 0.90


@needs_fashion
def test_how_clothes_are_turned_is_seen():
    """By the second opinion, whose classes are quarters of a turn: an upright coat is a 0, on its side a 1."""
    extractor, (_, found) = features.load("fashion_turned"), fashion()
    upright = found.model_range()
    for k in range(4):
        assert (extractor.logits(upright.rot90(k, (2, 3))).argmax(1) == k).double().mean() > 0.9
    assert extractor.config["accuracy"] > 0.95


def test_a_fifth_is_held_out_and_all_classes_alike():
    found = data.digits()
    out = features.held_out(len(found))
    counts = torch.bincount(found.labels[out], minlength=10)
    assert 0.19 < out.double().mean() < 0.21
    assert counts.min() >= 30 and counts.max() <= 42
    learned, tried = make_features.digits()
    assert len(learned) + len(tried) == len(found)
    assert torch.equal(tried.images, found.images[out]) and torch.equal(learned.images, found.images[~out])


def test_a_file_of_ones_own(tmp_path):
    net = features.Classifier([3, 8, 8], [8], classes=4, features=5)
    path = tmp_path / "own.safetensors"
    arguments = {"shape": [3, 8, 8], "widths": [8], "classes": 4, "features": 5}
    pretrained.write(path, net, {"network": "Classifier", "arguments": arguments}, torch.float32)
    extractor = features.load(path)
    x = torch.rand(6, 3, 8, 8) * 2 - 1
    assert extractor.features(x).shape == (6, 5)
    with torch.no_grad():
        torch.testing.assert_close(extractor.logits(x), net.eval()(x))


# ---------------------------------------------------------------- the extractor


def test_features_are_what_the_last_layer_sees():
    extractor, found = digits()
    x = found.model_range()[:50]
    f = extractor.features(x)
    assert f.shape == (50, 64) and f.dtype == torch.float32 and not f.requires_grad
    torch.testing.assert_close(extractor.net.name(f).detach(), extractor.logits(x))
    assert metrics.moments(extractor.features(found.model_range())).covariance.diag().min() > 1e-3, "none is idle"


def test_a_batch_changes_nothing():
    """An image has the same features alone, among others, among black ones, at any batch size, and again."""
    extractor, found = digits()
    x = found.model_range()[:40]
    f = extractor.features(x)
    small = features.Extractor(extractor.net, extractor.config, batch_size=7)
    again = {
        "again": extractor.features(x),
        "alone": torch.cat([extractor.features(one) for one in x.split(1)]),
        "among black images": extractor.features(torch.cat([x, torch.full((600, 1, 8, 8), -1.0)]))[:40],
        "backwards": extractor.features(x.flip(0)).flip(0),
        "by sevens": small.features(x),
    }
    for how, other in again.items():
        assert other.shape == f.shape and (other - f).abs().max() < 1e-4, how


def test_any_floating_dtype_is_taken():
    extractor, found = digits()
    x = found.model_range()[:20]
    assert (extractor.features(x.double()) - extractor.features(x)).abs().max() < 1e-5
    assert extractor.features(x.bfloat16()).dtype == torch.float32


def distances_with_noise(extractor, found):
    """From the images to themselves with more and more noise."""
    x = found.model_range()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    real = extractor.features(x)
    noisy = [(x + std * noise).clamp(-1, 1) for std in (0.05, 0.1, 0.2, 0.4, 0.8)]
    return [metrics.frechet_distance(real, extractor.features(one)) for one in noisy]


def halves_and_blur(extractor, found):
    """Of one half of the images: the distance to the other half, and to the other half blurred."""
    x = found.model_range()[torch.randperm(len(found), generator=torch.Generator().manual_seed(0))]
    one, other = x[: len(x) // 2], x[len(x) // 2 :]
    blurred = F.avg_pool2d(other, 3, 1, 1, count_include_pad=False)
    f = extractor.features(one)
    return [metrics.frechet_distance(f, extractor.features(images)) for images in (other, blurred)]


def test_more_noise_is_farther_away():
    found = distances_with_noise(*digits())
    assert all(2 * less < more for less, more in itertools.pairwise(found)), found


def test_halves_are_near_and_blur_is_far():
    near, far = halves_and_blur(*digits())
    assert 0 < 10 * near < far


@needs_fashion
def test_the_same_holds_for_clothes():
    extractor, clothes = fashion()
    clothes = clothes.subset(slice(1000))
    found = distances_with_noise(extractor, clothes)
    assert all(2 * less < more for less, more in itertools.pairwise(found)), found
    near, far = halves_and_blur(extractor, clothes)
    assert 0 < 5 * near < far


# ---------------------------------------------------------------- bad inputs


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ConfigError, match=r"'mnist'; there are digits, fashion, fashion_turned\."):
        features.load("mnist")


def test_a_file_of_another_network_is_refused():
    with pytest.raises(DataError, match="describe no network"):
        features.load(pretrained.FOLDER / "digits_unet.safetensors")
    with pytest.raises(DataError, match="no file"):
        features.load(features.FOLDER / "absent.safetensors")


BAD = {
    "another size": (torch.zeros(3, 1, 28, 28), ShapeError, r"of images \(N, 1, 8, 8\), got \(3, 1, 28, 28\)"),
    "colours": (torch.zeros(3, 3, 8, 8), ShapeError, "expects 1 channel, got 3"),
    "no batch": (torch.zeros(1, 8, 8), ShapeError, r"x\[None\]"),
    "rows of pixels": (torch.zeros(3, 64), ShapeError, r"\(N, C, H, W\) is expected"),
    "bytes": (torch.zeros(3, 1, 8, 8, dtype=torch.uint8), DataError, "to_model_range"),
    "never scaled": (torch.full((3, 1, 8, 8), 16.0), DataError, "without scaling"),
    "NaN": (torch.full((3, 1, 8, 8), float("nan")), DataError, "NaN or infinity"),
    "no images": (torch.zeros(0, 1, 8, 8), DataError, "empty batch"),
}


@pytest.mark.filterwarnings("ignore::ddpm_edu.errors.DataWarning")
@pytest.mark.parametrize(("images", "error", "words"), BAD.values(), ids=BAD)
def test_images_that_have_no_features(images, error, words):
    for way in (digits()[0].features, digits()[0].logits):
        with pytest.raises(error, match=words):
            way(images)


@pytest.mark.parametrize(
    "arguments",
    [([8, 8], [8]), ([1, 8, 8], []), ([1, 8, 8], [12]), ([1, 8, 8], [8, 8, 8, 8]), ([], [8])],
    ids=["no channels", "no stage", "no whole groups", "halved to nothing", "no shape"],
)
def test_networks_that_cannot_be(arguments):
    with pytest.raises(ConfigError, match=r"shape must be \(C, H, W\)"):
        features.Classifier(*arguments)


# ---------------------------------------------------------------- how they are trained


def test_images_are_shifted_by_a_pixel_at_most():
    """A lit pixel lands on each of the nine places about it, about as often, and black comes in."""
    x = torch.full((9000, 2, 5, 6), -1.0)
    x[:, 0, 2, 3], x[:, 1, 2, 2] = 1.0, 0.5
    moved = make_features.shifted(x, 1, torch.Generator().manual_seed(0))
    assert moved.shape == x.shape
    places = (moved[:, 0] == 1).sum(0)
    assert places.sum() == 9000 and places[1:4, 2:5].sum() == 9000
    assert places[1:4, 2:5].min() > 850
    assert torch.equal(moved[:, 1, :, :-1] == 0.5, moved[:, 0, :, 1:] == 1), "channels move together"
    edge = make_features.shifted(torch.ones(200, 1, 3, 3), 1, torch.Generator().manual_seed(0))
    assert edge.min() == -1 and (edge[:, 0, 1, 1] == 1).all()
