"""The layer around the Inception network, with a small stand-in for it: its real weights are too large to be here."""

import sys
import tomllib
import types
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from torch import nn

from ddpm_edu import metrics
from ddpm_edu.errors import ConfigError, ShapeError
from ddpm_edu.metrics import inception

ROOT = Path(__file__).resolve().parents[2]


class StandIn(nn.Module):
    """As torch-fidelity's: uint8 (N, 3, H, W) -> a tuple of features; notes what it is given."""

    def __init__(self, name="", layers=(), weights=None):
        super().__init__()
        self.given, self.batches = (name, list(layers), weights), []
        self.mix = nn.Linear(6, 5)
        with torch.no_grad():
            self.mix.weight.copy_(torch.randn(5, 6, generator=torch.Generator().manual_seed(0)))
            self.mix.bias.zero_()

    def forward(self, x):
        assert x.dtype == torch.uint8 and x.shape[1] == 3 and x.is_contiguous()
        self.batches.append(len(x))
        x = x.float() / 255
        return (self.mix(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)),)


def bytes_(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ConfigError, match=r"(?s)does not import here.*Fix: pip install 'ddpm-edu\[fid\]'"):
        inception.load()


def test_a_torchvision_that_does_not_fit_is_told_too(monkeypatch):
    def broken(name):
        raise ImportError("operator torchvision::nms does not exist")

    monkeypatch.setattr(inception.importlib, "import_module", broken)
    with pytest.raises(ConfigError, match=r"torchvision::nms does not exist.*a torchvision that fits your torch"):
        inception.load()


def test_the_extra_is_declared_with_a_range():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (wanted,) = map(Requirement, extras["fid"])
    assert wanted.name == "torch-fidelity"
    assert {s.operator for s in wanted.specifier} == {">=", "<"}


def fake_package(monkeypatch):
    module = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = StandIn
    monkeypatch.setitem(sys.modules, "torch_fidelity", types.ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_loading_takes_weights_whose_hash_was_checked(monkeypatch, tmp_path):
    fake_package(monkeypatch)
    monkeypatch.setenv("DDPM_EDU_DATA", str(tmp_path))
    monkeypatch.setattr(inception, "fetch_file", lambda file, folder: folder / file.name)
    found = inception.load()
    name = "weights-inception-2015-12-05-6726825d.pth"
    assert found.net.given == ("inception-v3-compat", ["2048"], str(tmp_path / "inception" / name))
    assert not found.net.training
    assert inception.WEIGHTS.sha256[:8] in name, "torch's way of putting the hash into the name"
    assert inception.load(tmp_path / "own.pth").net.given[2] == str(tmp_path / "own.pth")


def test_grey_is_three_channels_and_batches_do_not_show():
    extractor = inception.Inception(StandIn(), batch_size=4)
    grey = bytes_(10, 1, 6, 6)
    found = extractor.features(grey)
    assert extractor.net.batches == [4, 4, 2]
    assert found.shape == (10, 5) and not found.requires_grad
    assert torch.equal(found, extractor.features(torch.cat([grey, grey, grey], 1)))
    torch.testing.assert_close(found, inception.Inception(StandIn()).features(grey))


def test_fid_is_the_frechet_distance_of_these_features(tmp_path):
    extractor = inception.Inception(StandIn())
    a, b = bytes_(30, 3, 6, 6), bytes_(40, 3, 6, 6, seed=1) // 2
    wanted = metrics.frechet_distance(StandIn()(a)[0].detach(), StandIn()(b)[0].detach())
    assert inception.fid(a, b, extractor, tmp_path) == pytest.approx(wanted, rel=1e-6)
    assert wanted > 0.01
    seen = len(extractor.net.batches)
    inception.fid(a, b, extractor, tmp_path)
    assert len(extractor.net.batches) == seen + 1, "the real images are not asked again"


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(2, 3, 4, 4), r"takes uint8 \(N, 1 or 3, H, W\).*got torch.float32.*to_uint8"),
        (bytes_(3, 4, 4), r"got torch.uint8 \(3, 4, 4\)"),
        (bytes_(0, 3, 4, 4), "N >= 1"),
        (bytes_(2, 4, 4, 3), r"images have 4 channels; 1 \(grey\) or 3"),
        (None, "got NoneType"),
    ],
)
def test_images_that_it_does_not_take(images, words):
    with pytest.raises(ShapeError, match=f"(?s){words}"):
        inception.Inception(StandIn()).features(images)
