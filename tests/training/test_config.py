"""A configuration: what it refuses and in which words, and that it is the same after JSON."""

import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from ddpm_edu import models, schedules
from ddpm_edu.errors import ConfigError
from ddpm_edu.models import UNet, UNetConfig
from ddpm_edu.training import TrainConfig, presets
from ddpm_edu.training.config import FREE

ODD = TrainConfig(
    data="folder", folder="/some/where", size=48, net=replace(models.DIGITS, classes=3, T=77), schedule="cosine",
    predicts="v", weight="min_snr", label_dropout=0.2, flip=True, steps=7, batch=6, accumulate=2, lr=3e-4, warmup=2,
    decay="cosine", betas=(0.8, 0.95), clip=None, ema=(0.9, 0.99), ema_warmup=False, ema_widths=(0.05, 0.1),
    precision="bf16", compile=True, checkpointing=True, deterministic=True, seed=9, save_every=3, keep=4,
    snapshot_every=2, sample_every=5, log_every=6, poll_every=8,
)  # fmt: skip
"""No field at its default."""


def test_the_odd_one_is_odd_in_every_field():
    assert all(getattr(ODD, f.name) != getattr(TrainConfig(), f.name) for f in fields(TrainConfig))


# ---------------------------------------------------------------- JSON


@pytest.mark.parametrize("config", [TrainConfig(), ODD, *presets.PRESETS.values()])
def test_round_trip(config):
    again = TrainConfig.from_json(config.to_json())
    assert again == config and not again.differences(config)
    assert json.loads(config.to_json())["ema"] == list(config.ema)


def test_an_older_file_has_the_defaults_for_what_it_does_not_know():
    old = json.loads(ODD.to_json())
    del old["snapshot_every"], old["net"]["patch"]
    again = TrainConfig.from_json(json.dumps(old))
    assert again.differences(ODD) == {"snapshot_every": (0, 2)}


BROKEN = {
    "no JSON": "{",
    "a list": "[1]",
    "an empty list": "[]",
    "a number": "3",
    "no network": '{"net": 3}',
    "a number where several stand": '{"ema": 0.9}',
    "a wrong value": '{"lr": -1}',
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_json(kind):
    with pytest.raises(ConfigError):
        TrainConfig.from_json(BROKEN[kind])


def test_a_setting_of_a_newer_version_is_named():
    newer = json.loads(TrainConfig().to_json()) | {"warm_restart": 5}
    with pytest.raises(ConfigError, match="a training has no setting 'warm_restart'"):
        TrainConfig.from_json(json.dumps(newer))


def test_numpys_integers_are_integers():
    assert TrainConfig.from_json(TrainConfig(steps=np.int64(5)).to_json()).steps == 5


# ---------------------------------------------------------------- changed, differences


def test_changes_by_name_also_in_the_network():
    changed = presets.DIGITS_CPU.changed({"steps": 10, "net.width": 16, "net.groups": 4, "ema": [0.9]})
    assert (changed.steps, changed.net.width, changed.net.groups, changed.ema) == (10, 16, 4, (0.9,))
    assert presets.DIGITS_CPU.steps == 1500, "the other is as it was"
    assert changed.differences(presets.DIGITS_CPU) == {
        "steps": (10, 1500), "net.width": (16, 32), "net.groups": (4, 8), "ema": ((0.9,), (0.995,))
    }  # fmt: skip
    assert not changed.differences(changed)
    assert changed.changed({}) == changed


UNKNOWN = {
    "stepz": r"no setting 'stepz'; it has data, .*Did you mean steps",
    "learning_rate": r"no setting 'learning_rate'",
    "ema_warm_up": r"Did you mean ema_warmup",
    "net.widht": r"no setting 'net\.widht'.*Did you mean net\.width",
    "net": r"no setting 'net'; it has .*net\.width",
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_setting_is_answered_with_the_nearest(name):
    with pytest.raises(ConfigError, match=UNKNOWN[name]):
        TrainConfig().changed({name: 1})


def test_a_change_is_checked_like_a_beginning():
    with pytest.raises(ConfigError, match="steps must be an integer >= 1, got 0"):
        TrainConfig().changed({"steps": 0})
    with pytest.raises(ConfigError, match="width must be an integer >= 1, got 0"):
        TrainConfig().changed({"net.width": 0})


def test_what_may_change_unasked_exists():
    assert {f.name for f in fields(TrainConfig)} >= FREE


# ---------------------------------------------------------------- what is refused

WORDS = {
    ("predicts", "epsilon"): r"predicts must be one of .*eps.*got 'epsilon'\. Did you mean eps",
    ("predicts", "noise"): "predicts must be one of",
    ("schedule", "cosin"): r"got 'cosin'\. Did you mean cosine",
    ("schedule", None): "schedule must be one of linear.*got None",
    ("data", "cifar"): r"data must be one of digits, .*, folder, got 'cifar'\. Did you mean cifar10",
    ("weight", "snr"): "weight must be one of uniform, min_snr, got 'snr'",
    ("decay", "linear"): "decay must be one of constant, cosine",
    ("precision", "fp8"): "precision must be one of auto, fp32, bf16, fp16, got 'fp8'",
    ("flip", "yes"): "flip must be true or false, got 'yes'",
    ("compile", 1): "compile must be true or false, got 1",
}
NUMBERS = {
    ("steps", 0): "steps must be an integer >= 1, got 0",
    ("steps", 10.0): r"steps must be an integer >= 1, got 10\.0",
    ("steps", True): "got True",
    ("batch", 0): "batch must be an integer >= 1, got 0",
    ("batch", "8"): "batch must be an integer >= 1, got '8'",
    ("accumulate", 0): "accumulate must be",
    ("warmup", -1): "warmup must be an integer >= 0, got -1",
    ("seed", -1): "seed must be",
    ("seed", 0.5): "seed must be",
    ("seed", 2**70): "seed must be below",
    ("keep", 1): "keep must be an integer >= 2, got 1",
    ("save_every", 0): "save_every must be an integer >= 1, got 0",
    ("sample_every", -1): "sample_every must be an integer >= 0",
    ("log_every", 0): "log_every must be",
    ("poll_every", 0): "poll_every must be",
    ("snapshot_every", -5): "snapshot_every must be",
    ("lr", 0.0): r"lr must lie between 0 and 1, got 0\.0",
    ("lr", -1e-4): "lr must lie between 0 and 1",
    ("lr", 2): "lr must lie between 0 and 1, got 2",
    ("lr", math.nan): "lr must lie between 0 and 1, got nan",
    ("lr", "1e-3"): "lr must be a number.*got '1e-3'",
    ("lr", None): "lr must be a number.*got None",
    ("clip", 0): "clip must lie between 0 and inf, got 0",
    ("clip", math.inf): "clip must lie between",
    ("label_dropout", 1.0): r"label_dropout must lie in \[0, 1\), got 1\.0",
    ("label_dropout", 10): r"Usual cause: a percentage",
    ("ema", (99.99,)): r"ema must lie in \[0, 1\), got \(99\.99,\).*percentage \(99\.99 for 0\.9999\)",
    ("ema", (1.0,)): r"ema must lie in \[0, 1\)",
    ("ema", ()): "ema at least one",
    ("ema", 0.999): r"ema must be a tuple of numbers, got 0\.999\. Fix: \(0\.999,\) for one",
    ("ema", "0.999"): "ema must be a tuple of numbers",
    ("ema", ("0.9",)): "ema must be a number",
    ("ema", (0.9, 0.9)): "an average stands twice",
    ("ema_widths", (0.5,)): r"lies in \(1e-5, 0\.28\), got 0\.5",
    ("ema_widths", (0.1, 0.1)): "an average stands twice",
    ("betas", (0.9,)): "betas are two numbers",
    ("betas", (0.9, 1.0)): r"betas must lie in \[0, 1\)",
    ("snapshot_every", 10): r"snapshot_every=10 keeps the averages of ema_widths, and there are none.*Fix",
}
TOGETHER = {
    "a folder without a size": ({"data": "folder", "folder": "x"}, r'data="folder" needs folder= .*size=None'),
    "a size without a folder": ({"data": "folder", "size": 8}, "folder=None"),
    "a folder for digits": ({"folder": "x"}, "other data have their own.*folder='x'"),
    "a size for digits": ({"size": 8}, "other data have their own.*size=8"),
    "no size at all": ({"data": "folder", "folder": "x", "size": 0}, "size must be an integer >= 1, got 0"),
    "labels to hide without labels": ({"label_dropout": 0.1}, r"this network takes none\. Fix: net\.classes=10"),
    "more parts than images": ({"batch": 4, "accumulate": 5}, "4 cannot be cut into 5 parts.*Fix: accumulate=4"),
    "a path that is no string": ({"data": "folder", "folder": models, "size": 8}, "folder a string"),
    "a network that is one": ({"net": "unet"}, "net must be a UNetConfig.*got 'unet'"),
    "a learned variance": ({"net": UNetConfig(out_channels=6)}, "learns no variance.*out_channels=6.*Fix"),
    "text to go by": ({"net": UNetConfig(tokens=8)}, "tokens=8"),
    "a picture to go by": ({"net": UNetConfig(extra_channels=3)}, "extra_channels=3"),
}  # fmt: skip


@pytest.mark.parametrize("row", [*WORDS, *NUMBERS], ids=str)
def test_values_that_cannot_be(row):
    name, value = row
    with pytest.raises(ConfigError, match=(WORDS | NUMBERS)[row]):
        TrainConfig(**{name: value})


@pytest.mark.parametrize("row", TOGETHER)
def test_values_that_cannot_go_together(row):
    settings, words = TOGETHER[row]
    with pytest.raises(ConfigError, match=words):
        TrainConfig(**settings)


def test_it_is_frozen_and_takes_names_only():
    with pytest.raises(AttributeError):
        TrainConfig().steps = 5
    with pytest.raises(TypeError):
        TrainConfig("digits")


# ---------------------------------------------------------------- the rate of learning


def test_it_rises_and_then_stays():
    config = TrainConfig(lr=0.1, warmup=4, steps=10)
    assert [config.lr_at(step) for step in range(6)] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])
    assert TrainConfig(lr=0.1, warmup=0, steps=10).lr_at(0) == 0.1


def test_it_falls_along_half_a_cosine_to_nothing():
    config = TrainConfig(lr=0.1, warmup=0, steps=1000, decay="cosine")
    assert [config.lr_at(step) for step in (0, 250, 500, 1000)] == pytest.approx(
        [0.1, 0.05 + 0.05 / math.sqrt(2), 0.05, 0], abs=1e-12
    )
    rates = [config.lr_at(step) for step in range(1000)]
    assert rates == sorted(rates, reverse=True) and 0 < rates[-1] < 1e-6
    both = replace(config, warmup=100)
    assert both.lr_at(49) == pytest.approx(0.5 * config.lr_at(49)) and both.lr_at(500) == config.lr_at(500)


def test_torchs_own_cosine_is_the_same():
    config = TrainConfig(lr=0.1, warmup=0, steps=50, decay="cosine")
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 50)
    for step in range(50):
        assert optimiser.param_groups[0]["lr"] == pytest.approx(config.lr_at(step), rel=1e-9, abs=1e-12)
        optimiser.step()
        falling.step()


# ---------------------------------------------------------------- presets


@pytest.mark.parametrize("name", presets.PRESETS)
def test_a_presets_network_builds_and_its_schedule_exists(name):
    config = presets.by_name(name)
    with torch.device("meta"):
        net = UNet(config.net)
    assert schedules.by_name(config.schedule, config.net.T).T == config.net.T
    assert config.net.channels == {"digits": 1, "fashion_mnist": 1, "cifar10": 3, "folder": 3}[config.data]
    side = {"digits": 8, "fashion_mnist": 28, "cifar10": 32, "folder": config.size}[config.data]
    assert side % config.net.divisor == 0
    assert sum(p.numel() for p in net.parameters()) > 1e5


def test_cifar10_is_ddpms():
    config = presets.by_name("cifar10")
    with torch.device("meta"):
        assert sum(p.numel() for p in UNet(config.net).parameters()) == 35_746_307
    assert (config.steps, config.batch, config.lr, config.warmup) == (800_000, 128, 2e-4, 5000)
    assert config.ema == (0.9999,) and config.clip == 1.0 and config.flip and config.net.dropout == 0.1
    assert config.decay == "constant" and config.schedule == "linear" and config.net.T == 1000


def test_no_preset_has_an_average_that_is_too_slow():
    from ddpm_edu.training import ema

    for config in presets.PRESETS.values():
        ema.warn_if_slow(ema.rates(config.ema, config.ema_warmup, config.ema_widths), config.steps)


def test_an_unknown_preset_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no preset is called 'cifar'; there are digits-cpu, .*Did you mean cifar10"):
        presets.by_name("cifar")
    with pytest.raises(ConfigError, match="no preset is called 3"):
        presets.by_name(3)


def test_every_preset_has_a_line_for_people():
    assert list(presets.ABOUT) == list(presets.PRESETS)
    assert all(line.endswith(".") and len(line) < 105 and "\n" not in line for line in presets.ABOUT.values())
