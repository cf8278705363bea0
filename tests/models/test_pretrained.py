"""The weights that come with the package: they load, they do what they are for, and a bad file says so."""

import json

import pytest
import torch
from safetensors.torch import save_file

from ddpm_edu import data, losses, models, oracles, parameterization, sampling, schedules
from ddpm_edu.errors import ConfigError, DataError
from ddpm_edu.models import pretrained


def digits():
    net, config = models.load("digits_mlp")
    return net, config, schedules.by_name(config["schedule"]["family"], config["schedule"]["T"])


def test_every_carried_file_loads_and_says_how_it_was_made():
    paths = sorted(pretrained.FOLDER.glob("*.safetensors"))
    assert [path.stem for path in paths] == ["digits_mlp"]
    for path in paths:
        net, config = models.load(path.stem)
        assert not net.training
        assert config["command"].startswith("python ") and config["torch"]
        assert path.stat().st_size < 2_000_000


def test_the_digits_network_beats_everything_linear():
    """Its loss lies below the Wiener filter's (the best of all linear denoisers) and above the memorising optimum."""
    net, config, s = digits()
    x0 = data.digits().model_range()
    g = torch.Generator().manual_seed(0)
    t = torch.randint(1, s.T + 1, (len(x0),), generator=g)
    noise = torch.randn(x0.shape, generator=g)
    with torch.no_grad():
        loss = losses.simple(net, s, x0, t, noise, config["predicts"]).mean().item()
        wiener = oracles.FullGaussian.fit(x0).eps_floor(s)[1:].mean().item()
        memory = oracles.FiniteDataset(x0).denoiser(s)
        least = losses.simple(lambda x, t: memory(x, t).eps, s, x0, t, noise).mean().item()
    assert least < loss < 0.85 * wiener


def test_its_samples_look_like_digits():
    """Judged by distance: as near to the training set as digits are to each other, and no copies of it."""
    net, config, s = digits()
    x0 = data.digits().model_range().flatten(1)
    denoise = parameterization.denoiser(net, s, config["predicts"])
    x = sampling.sample(denoise, s, (64, 1, 8, 8), "ddim", 50, generator=torch.Generator().manual_seed(0)).flatten(1)
    among = torch.cdist(x0, x0) + 100 * torch.eye(len(x0))
    real, made = among.min(1).values.median(), torch.cdist(x, x0).min(1).values
    assert 0.7 * real < made.median() < 1.3 * real
    assert made.min() > 0.2 * real
    blurred = x0.mean(0).expand(64, -1) + 0.5 * torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.cdist(blurred, x0).min(1).values.median() > 1.3 * real, "the measure tells noise from digits"


def tiny(tmp_path, tensors=None, **changes):
    """A file as the package writes them, with changes; its path."""
    net = models.MLP(2, width=8, depth=1)
    config = {"network": "MLP", "arguments": {"dim": 2, "width": 8, "depth": 1}, **changes}
    path = tmp_path / "tiny.safetensors"
    save_file(net.state_dict() if tensors is None else tensors(net.state_dict()), path, {"config": json.dumps(config)})
    return path


def test_a_file_of_ones_own_loads(tmp_path):
    net, config = models.load(tiny(tmp_path))
    assert isinstance(net, models.MLP) and config["arguments"]["width"] == 8


BAD = {
    "another width": ({"arguments": {"dim": 2, "width": 9, "depth": 1}}, r"\d+ tensors differ, the first is"),
    "a deeper network": ({"arguments": {"dim": 2, "width": 8, "depth": 2}}, r"blocks\.1.*: missing in the file"),
    "a tensor too many": ({"tensors": lambda d: {**d, "extra": torch.zeros(1)}}, "extra: .*not known"),
    "NaN": ({"tensors": lambda d: {k: v.float() * float("nan") for k, v in d.items()}}, "holds NaN"),
    "an unknown network": ({"network": "GAN"}, "describe no network.*GAN"),
    "an unknown argument": ({"arguments": {"dims": 2}}, "describe no network.*dims"),
}


@pytest.mark.parametrize(("changes", "words"), BAD.values(), ids=BAD)
def test_a_file_that_does_not_fit_says_how(tmp_path, changes, words):
    with pytest.raises(DataError, match=words):
        models.load(tiny(tmp_path, **changes))


def test_damaged_and_foreign_files(tmp_path):
    path = tiny(tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        models.load(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(DataError, match='no JSON "config"'):
        models.load(path)
    with pytest.raises(DataError, match="no file"):
        models.load(tmp_path / "absent.safetensors")


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ConfigError, match=r"'digit'; there are digits_mlp"):
        models.load("digit")
