"""What goes wrong on the way into a training and out of it: each a clear error, before anything is lost.

The ids number the kinds of bad input across the whole test suite (see tests/data/test_bad_inputs.py). Those that are
not here are where their code is tested:

- 51 to 55 and 70, images, files and labels: tests/data/test_bad_inputs.py; here what a training makes of some
- 56, another network than the checkpoint's; 60, other settings or data; 61, no checkpoint: tests/training/test_state.py
- 58, a newer format; 59, truncated, empty, foreign: tests/training/test_checkpoint.py, tests/security/
- 62 and 63, fp16 on a CPU, bf16 on a T4: tests/training/test_precision.py
- 65, a batch of which a process would get nothing: tests/training_distributed/test_shares.py. (One that does not
  divide is no bad input here: shares are uneven and weighted.)
- 66, rates, decays and dropout out of range: tests/training/test_config.py
- 67, an average that is too slow: tests/training/test_ema.py
- 68, worker processes: there are none, all images are in memory
- 69, a folder that may not be written to, a full disk: tests/training/test_room.py
"""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from ddpm_edu import models, training
from ddpm_edu.errors import ConfigError, DataError, DDPMError, ShapeError
from ddpm_edu.models import pretrained
from ddpm_edu.training import checkpoint
from tests.security import corpus
from tests.training_distributed.setting import CONFIG, NET

FOLDER = replace(CONFIG, data="folder", folder="", size=8, net=replace(NET, classes=None), label_dropout=0.0, steps=2)


def train(config=CONFIG, **options):
    return lambda tmp: training.train(config, tmp / "out", progress=False, **options)


def on_images(count, **settings):
    """Trains on a folder with so many images."""

    def call(tmp):
        (tmp / "images").mkdir()
        for number in range(count):
            Image.new("L", (8, 8), 40 * number).save(tmp / "images" / f"{number}.png")
        config = replace(FOLDER, folder=str(tmp / "images"), **settings)
        return training.train(config, tmp / "out", progress=False)

    return call


class Wrapped(torch.nn.Module):
    """A network inside of another, as DistributedDataParallel and torch.compile have it."""

    def __init__(self, net, name):
        super().__init__()
        self.add_module(name, net)


def saved_within(*names):
    """Loads weights that were saved from the outside of such wrappers."""

    def call(tmp):
        net = models.UNet(corpus.NET)
        for name in names:
            net = Wrapped(net, name)
        pretrained.write(tmp / "a.safetensors", net, corpus.ABOUT, torch.float32)
        return models.load(tmp / "a.safetensors")

    return call


def checkpoint_as_weights(tmp):
    return models.load(checkpoint.save(tmp, 5, {"net": models.UNet(corpus.NET).state_dict()}))


ROWS = [
    ("C51", on_images(0), DataError, r"0 images found in .*images; looked for .*\.png"),
    ("C51-no-folder", train(replace(FOLDER, folder="nowhere")), DataError, r"nowhere is not a folder"),
    ("C55-labels", train(CONFIG.changed({"net.classes": 5})), ConfigError, r"labels must lie in 0\.\.4.*got \d"),
    ("C57-ddp", saved_within("module"), DataError, r"all names in a\..* begin with 'module\.'.*DistributedDataP"),
    ("C57-compile", saved_within("_orig_mod"), DataError, r"begin with '_orig_mod\.'.*inside of torch\.compile"),
    ("C57-both", saved_within("_orig_mod", "module"), DataError, r"begin with 'module\.'"),
    ("C57-other", saved_within("ema_model"), DataError, r"tensors differ, the first is down\..*: missing in"),
    ("C59-for-weights", checkpoint_as_weights, DataError, r"\.pt cannot be read as safetensors.*pickle with another"),
    ("C61-word", train(resume="yes"), ConfigError, r"resume must be one of auto, must, never, got 'yes'"),
    ("C64", train(device="cuda:99"), ConfigError, r"cuda:99 is asked for, and there (is no CUDA GPU|are cuda:0 to)"),
    ("C64-word", train(device="gpu"), ConfigError, r"a device is called cpu, cuda, cuda:1 or mps, got 'gpu'"),
    (
        "C22-levels",
        train(CONFIG.changed({"net.multipliers": (1,) * 5})),
        ShapeError,
        r"height 8 .*multiple of 16.*5 le",
    ),
    ("C19-channels", train(CONFIG.changed({"net.channels": 3})), ConfigError, r"digits has 1 channels, the network 3"),
]


@pytest.mark.parametrize(("call", "error", "words"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_a_clear_error(tmp_path, monkeypatch, call, error, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DDPMError, match=words) as caught:
        call(tmp_path)
    assert type(caught.value) is error
    assert "Fix: " in str(caught.value) or "must" in str(caught.value) or "Usual cause" in str(caught.value)


def test_names_are_never_written_with_a_wrapper():
    """The other half of 57: a network that is compiled, in place, keeps its names."""
    net = models.UNet(corpus.NET)
    names = [*net.state_dict()]
    net.compile()
    assert [*net.state_dict()] == names


def test_fewer_images_than_a_batch_go_round(tmp_path):
    """52 is none here: an epoch ends where it ends, be it in the middle of a batch or twice in one."""
    report = on_images(3, batch=8)(tmp_path)
    assert report.step == 2 and report.weights.exists()
