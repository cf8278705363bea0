"""The weights that come with the package: they load, they do what they are for, and a bad file says so."""

import json

import pytest
import torch
from safetensors.torch import save_file

from ddpm_edu import data, losses, models, oracles, parameterization, sampling, schedules
from ddpm_edu.errors import ConfigError, DataError
from ddpm_edu.models import checkpointing, pretrained
from ddpm_edu.models.unet import at_once
from tests.models.helpers import inputs, off_by, small


def digits():
    net, config = models.load("digits_mlp")
    return net, config, schedules.by_name(config["schedule"]["family"], config["schedule"]["T"])


def test_every_carried_file_loads_and_says_how_it_was_made():
    paths = sorted(pretrained.FOLDER.glob("*.safetensors"))
    assert {path.stem for path in paths} >= {"digits_mlp", "digits_unet"}
    for path in paths:
        net, config = models.load(path.stem)
        assert not net.training
        assert config["command"].startswith("python ") and config["torch"]
        assert path.stat().st_size < 4_000_000


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


# ---------------------------------------------------------------- U-Nets


def unet_config(net, **more):
    return {
        "network": "UNet",
        "arguments": net.config.to_dict(),
        "predicts": "eps",
        "schedule": {"family": "linear", "T": 1000},
        **more,
    }


def test_a_unet_in_half_precision_comes_back_whole(tmp_path):
    """Numbers of the file float16, of the network float32; its configuration and whatever stood beside it."""
    net = small(told="scale_shift", classes=3, multipliers=(1, 2, 2), heads=None, head_width=4)
    path = tmp_path / "unet.safetensors"
    models.save(path, net, unet_config(net, command="by hand", numbers=[1, 2]), torch.float16)
    again, config = models.load(path)
    assert again.config == net.config and not again.training
    assert config["numbers"] == [1, 2] and config["predicts"] == "eps" and config["schedule"]["T"] == 1000
    for key, tensor in net.state_dict().items():
        assert again.state_dict()[key].dtype == torch.float32
        assert torch.equal(again.state_dict()[key], tensor.half().float()), key
    given = inputs(net.config)
    with torch.no_grad():
        assert 0 < off_by(again(**given), net.eval()(**given)) < 0.01
    whole = tmp_path / "whole.safetensors"
    models.save(whole, net, unet_config(net))
    assert path.stat().st_size < 0.7 * whole.stat().st_size
    assert torch.equal(models.load(whole)[0](**given), net(**given))


def test_how_blocks_are_run_and_where_weights_lie_is_not_saved(tmp_path):
    net = small().to(memory_format=torch.channels_last)
    checkpointing.enable(net)
    models.save(tmp_path / "a.safetensors", net, unet_config(net))
    again, _ = models.load(tmp_path / "a.safetensors")
    assert again.run is at_once
    given = inputs(net.config)
    with torch.no_grad():
        assert off_by(again(**given), net(**given)) < 1e-5


@pytest.mark.parametrize("key", ["network", "arguments", "predicts", "schedule"])
def test_a_configuration_that_lacks_something_is_not_written(tmp_path, key):
    net = small()
    config = {name: value for name, value in unet_config(net).items() if name != key}
    with pytest.raises(ConfigError, match=f"the configuration lacks {key}"):
        models.save(tmp_path / "a.safetensors", net, config)
    assert not list(tmp_path.iterdir())


def test_a_network_of_another_kind_is_not_written(tmp_path):
    with pytest.raises(ConfigError, match="lacks a network out of MLP, UNet"):
        models.save(tmp_path / "a.safetensors", small(), unet_config(small(), network="DiT"))


BAD_UNETS = {
    "another width": ({"width": 16}, r"\d+ tensors differ, the first is down\.0"),
    "an option that is not known": ({"depth": 3}, r"describe no network.*UNetConfig has no depth"),
    "an option that cannot be": ({"groups": 3}, r"describe no network.*3 groups do not divide"),
    "a level too few": ({"multipliers": [1], "attention": [0]}, r"tensors differ"),
    "no multipliers": ({"multipliers": None}, r"describe no network.*multipliers"),
}


@pytest.mark.parametrize("row", BAD_UNETS)
def test_arguments_that_do_not_fit_say_how(tmp_path, row):
    changes, words = BAD_UNETS[row]
    net = small()
    path = tmp_path / "a.safetensors"
    models.save(path, net, unet_config(net, arguments={**net.config.to_dict(), **changes}))
    with pytest.raises(DataError, match=f"(?s){words}"):
        models.load(path)


@pytest.mark.parametrize("config", [[1, 2], "UNet", {"network": "UNet"}, {"network": "UNet", "arguments": [1]}, {}])
def test_metadata_of_another_shape_describe_no_network(tmp_path, config):
    save_file(small().state_dict(), tmp_path / "a.safetensors", {"config": json.dumps(config)})
    with pytest.raises(DataError, match="describe no network"):
        models.load(tmp_path / "a.safetensors")


def test_the_digits_unet_knows_its_classes():
    """Told the right class it does better than told none, and told a wrong one worse; with none, as any denoiser."""
    net, config = models.load("digits_unet")
    s = schedules.by_name(config["schedule"]["family"], config["schedule"]["T"])
    digits = data.digits()
    x0, labels = digits.model_range()[:300], digits.labels[:300].long()
    g = torch.Generator().manual_seed(0)
    t, noise = torch.randint(1, s.T + 1, (300,), generator=g), torch.randn(x0.shape, generator=g)

    def loss(said):
        with torch.no_grad():
            return losses.simple(lambda x, t: net(x, t, labels=said), s, x0, t, noise).mean().item()

    right, none, wrong = loss(labels), loss(torch.full((300,), net.no_label)), loss((labels + 1) % 10)
    assert right < none < wrong
    wiener = oracles.FullGaussian.fit(data.digits().model_range()).eps_floor(s)[1:].mean().item()
    assert none < 0.85 * wiener
