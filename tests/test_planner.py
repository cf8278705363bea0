"""What a training will need: parameters, FLOPs, memory, hours, held to published numbers and to counting by hand."""

import contextlib
import dataclasses
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from ddpm_edu import data, models
from ddpm_edu.errors import ConfigError
from ddpm_edu.models.memory import Alive, peak_bytes
from ddpm_edu.training import plan_text, planner, precision, presets
from ddpm_edu.training.counting import InHalf, Operations

H100, A100, RTX, T4 = planner.GPUS
BY_BOOK = 37.32e9  # FLOPs an image of DDPM's network, forward and backward, where a 3x3 window stays one
CIFAR10 = presets.CIFAR10
SMALL = replace(presets.DIGITS_CPU, net=replace(models.DIGITS, width=8, groups=4), batch=4)


def seen(config, rate):
    """A plan with a known rate."""
    return planner.Plan("a machine", "bf16", config, planner.cost(config, "bf16"), rate, "measured")


# ---------------------------------------------------------------- what a training asks for


def test_ddpms_network():
    found = planner.cost(CIFAR10, "fp32")
    assert found.parameters == 35_746_307
    # Four 2x2 windows in place of one 3x3 save 12.444 - 11.687 GFLOP forward, and twice that backward.
    assert found.flops_per_image + 3 * (12.444e9 - 11.687e9) == pytest.approx(BY_BOOK, rel=1e-3)
    assert 900 < found.operations < 1300, "1,289 operations have been counted in diffusers' network"


def test_the_whole_state_of_ddpms_network_is_0_572_gb():
    memory = planner.cost(CIFAR10, "fp32").memory
    assert memory.weights == memory.gradients == memory.averages == 4 * 35_746_307
    assert (memory.weights + memory.optimiser + memory.averages) / 1e9 == pytest.approx(0.572, abs=5e-4)
    parts = (memory.weights, memory.gradients, memory.optimiser, memory.averages, memory.saved)
    assert memory.total == sum(parts)


def test_each_average_is_a_copy():
    several = planner.cost(replace(SMALL, ema=(0.5, 0.9), ema_widths=(0.1,)))
    assert several.memory.averages == 3 * planner.cost(SMALL).memory.averages


def test_what_saves_memory_and_what_it_costs():
    plain, parts, again = (
        planner.cost(replace(SMALL, batch=16, **options))
        for options in ({}, {"accumulate": 4}, {"checkpointing": True})
    )
    assert 0.24 < parts.memory.saved / plain.memory.saved < 0.3, "a quarter of the batch, and weights that are combined"
    assert parts.flops_per_image == plain.flops_per_image
    assert again.memory.saved < 0.6 * plain.memory.saved
    assert 1.15 < again.flops_per_image / plain.flops_per_image < 4 / 3


@pytest.mark.parametrize(("checkpointing", "least", "most"), [(False, 0.97, 1.0), (True, 0.75, 1.05)])
@pytest.mark.parametrize("config", [SMALL, presets.FASHION_CPU], ids=["digits", "clothes"])
def test_memory_of_a_pass_beside_what_is_alive_in_one(config, checkpointing, least, most):
    """At the fullest moment of forward and backward; the weights' gradients are there before, so they do not count."""
    config = replace(config, batch=16, accumulate=1, checkpointing=checkpointing)
    with torch.device("meta"):
        net, inputs = models.UNet(config.net), models.summary.example(config.net, planner.size(config), 16)
    if checkpointing:
        models.checkpointing.enable(net)
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    peak = peak_bytes(lambda: net(**inputs).sum().backward())
    assert least < planner.saved(config) / peak <= most


def test_sixteen_bits_save_less_than_half():
    """Norms keep a float32 copy of what they get."""
    single, half = (planner.cost(CIFAR10, name).memory for name in ("fp32", "bf16"))
    assert 0.75 < half.saved / single.saved < 0.95
    assert replace(half, saved=0) == replace(single, saved=0), "weights and all that belongs to them stay float32"
    assert planner.cost(CIFAR10, "fp16").memory == half


def test_sixteen_bits_by_hand():
    """The lists of torch's own documentation, for what the networks here are made of."""
    x, weight = torch.ones(2, 4, 8, 8, device="meta"), torch.ones(4, 4, 3, 3, device="meta")
    with InHalf():
        product = F.conv2d(x, weight)
        assert product.dtype == torch.bfloat16
        assert F.group_norm(product, 2).dtype == torch.float32
        assert torch.nn.GroupNorm(2, 4, device="meta")(product).dtype == torch.float32
        assert F.silu(product).dtype == torch.bfloat16, "what is not on a list follows its argument"
        assert (x @ x).dtype == torch.bfloat16
        assert F.linear(x, torch.ones(3, 8, device="meta")).dtype == torch.bfloat16
        assert torch.softmax(product, -1).dtype == torch.float32
        assert torch.arange(3, device="meta").dtype == torch.int64


@pytest.mark.parametrize(("dtype", "bytes_a_number"), [(torch.float32, 12), (torch.bfloat16, 10)])
def test_what_a_norm_silu_and_convolution_keep(dtype, bytes_a_number):
    """Three times float32; or float32 of the norm (a copy) and of SiLU, and 16 bits of the convolution."""
    before = torch.ones(2, 16, 32, 32, dtype=dtype, device="meta", requires_grad=True)
    with torch.device("meta"):
        layers = torch.nn.Sequential(torch.nn.GroupNorm(2, 16), torch.nn.SiLU(), torch.nn.Conv2d(16, 16, 1))
    with Alive() as alive, InHalf() if dtype == torch.bfloat16 else contextlib.nullcontext():
        out = layers(before * 1)
    kept = sum(alive.by_tag().values()) - out.numel() * out.element_size()
    assert out.dtype == dtype
    assert kept / before.numel() == pytest.approx(bytes_a_number, rel=0.02)


def test_operations_are_those_that_start_something():
    x = torch.ones(2, 3, device="meta")
    with Operations() as counted:
        x.t().reshape(6).view(3, 2)  # the reshape of a transpose is a copy
    assert counted.count == 1
    with Operations() as counted:
        (x + 1).mul_(2)
    assert counted.count == 2


@pytest.mark.parametrize("name", presets.PRESETS)
def test_images_have_the_size_of_their_data(name):
    config = presets.by_name(name)
    known = {"cifar10": 32, "folder": config.size, "fashion_mnist": 28, "digits": data.digits().images.shape[-1]}
    assert planner.size(config) == known[config.data]


# ---------------------------------------------------------------- on a device


@pytest.mark.parametrize(("gpu", "rate"), [(H100, 26_500), (A100, 8360), (RTX, 4420), (T4, 1740)])
def test_published_peaks(gpu, rate):
    """Images a second of DDPM's network if every FLOP of the peak were reached."""
    assert gpu.peak("bf16") / BY_BOOK == pytest.approx(rate, rel=5e-3)


@pytest.mark.parametrize(("rate", "hours"), [(7000, 4.1), (10_000, 2.8)])
def test_hours_of_ddpms_training(rate, hours):
    assert seen(CIFAR10, rate).hours == pytest.approx(hours, abs=0.06)


def test_a_step_takes_its_arithmetic_over_what_is_reached():
    found = planner.plan(CIFAR10, A100, 0.25)
    assert found.limit == "arithmetic"
    assert found.flops_per_step == 128 * found.cost.flops_per_image
    assert found.seconds_per_step == pytest.approx(found.flops_per_step / (0.25 * 312e12))
    assert found.images_per_second == pytest.approx(128 / found.seconds_per_step)
    assert found.hours == pytest.approx(800_000 * found.seconds_per_step / 3600)
    assert planner.plan(CIFAR10, A100, 0.5).hours == pytest.approx(found.hours / 2)


def test_a_small_network_waits_for_the_host():
    """On every GPU it is as slow as operations can be started, however many images they are for."""
    fast, slow = (planner.plan(presets.DIGITS_CPU, gpu) for gpu in (H100, A100))
    assert fast.limit == slow.limit == "launches"
    assert fast.seconds_per_step == slow.seconds_per_step == pytest.approx(planner.LAUNCH_EAGER * fast.cost.operations)
    in_parts = planner.plan(replace(presets.DIGITS_CPU, accumulate=2), H100)
    assert in_parts.seconds_per_step == pytest.approx(2 * fast.seconds_per_step)


def test_compiling_is_assumed_to_help():
    eager, compiled = (planner.plan(replace(CIFAR10, compile=c), T4) for c in (False, True))
    assert (eager.utilisation, compiled.utilisation) == (planner.EAGER, planner.COMPILED)
    assert compiled.hours == pytest.approx(eager.hours * planner.EAGER / planner.COMPILED)


@pytest.mark.parametrize(
    ("gpu", "wanted", "given"),
    [
        (H100, "auto", "bf16"),
        (T4, "auto", "fp16"),
        (T4, "bf16", "fp16"),
        (H100, "fp16", "fp16"),
        (T4, "fp32", "fp32"),
        (RTX, "fp32", "fp32"),
    ],
)
def test_the_precision_is_the_one_that_training_would_choose(gpu, wanted, given, monkeypatch):
    assert gpu.precision(wanted) == given
    monkeypatch.setattr(precision, "has_bf16", lambda device: gpu.half == "bf16")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: gpu.name)
    monkeypatch.setattr(precision.warnings, "warn", lambda *said, **how: None)
    assert precision.choose(wanted, torch.device("cuda")).name == given
    assert gpu.peak(given) == (gpu.single_peak if given == "fp32" else gpu.half_peak)


def test_whether_it_fits():
    assert planner.plan(CIFAR10, T4).fits
    assert not planner.plan(replace(CIFAR10, batch=1024, precision="fp32"), T4).fits
    assert seen(SMALL, 1.0).fits is None


@pytest.mark.parametrize("utilisation", [0, -0.1, 1.1, 30, math.nan])
def test_a_share_is_a_share(utilisation):
    with pytest.raises(ConfigError, match=r"in \(0, 1\], got .* Fix: 0\.3 for 30 %"):
        planner.plan(SMALL, H100, utilisation)


@pytest.mark.parametrize(("name", "gpu"), [("h100", H100), (" A100 80g", A100), ("4090", RTX), ("T4", T4)])
def test_a_gpu_is_found_by_a_part_of_its_name(name, gpu):
    assert planner.gpu_by_name(name) is gpu


@pytest.mark.parametrize(("name", "message"), [("V100", "no GPU is called"), ("0", "several GPUs"), ("", "no GPU is")])
def test_a_gpu_is_not_guessed(name, message):
    with pytest.raises(ConfigError, match=message):
        planner.gpu_by_name(name)


# ---------------------------------------------------------------- on this CPU, and for a reader


@pytest.mark.parametrize("config", [SMALL, replace(SMALL, net=replace(SMALL.net, classes=None), label_dropout=0.0)])
def test_this_cpu_is_measured(config):
    """At least one step, however little time there is."""
    found = planner.plan_here(replace(config, precision="fp32"), seconds=0)
    assert found.limit == "measured"
    assert found.device.startswith("this CPU, ")
    assert 0 < found.images_per_second < math.inf
    assert found.utilisation is None


def test_measuring_leaves_no_mark(monkeypatch):
    """As many images a second as images were computed in the time: the clock is one that we hold."""
    ticks = iter([0.0, 10.0, 10.0, 11.0, 12.0, 12.0, 12.5, 14.0, 14.0, 14.0])
    monkeypatch.setattr(planner.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(planner, "WORK_OF_A_STEP", 0.0)
    before = torch.random.get_rng_state()
    rate = planner.measured(replace(SMALL, precision="fp32"), seconds=2.0)
    assert rate == pytest.approx(3 / 2.0), (
        "three steps of one image in the seconds 10 to 12; the first of all is left out"
    )
    assert torch.equal(torch.random.get_rng_state(), before)


def test_results_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        planner.plan(SMALL, H100).config = CIFAR10


def test_the_table_says_that_it_is_an_estimate():
    text = plan_text.table([planner.plan(CIFAR10, gpu) for gpu in planner.GPUS] + [seen(CIFAR10, 2.0)])
    lines = text.splitlines()
    assert lines[0].startswith("ESTIMATES: nothing was trained")
    assert max(map(len, lines)) <= 120
    assert "35.05 GFLOP forward and backward; 128 a step" in text
    assert [line.split()[0] for line in lines if line.startswith("bf16, fp16")] == ["bf16,"], "equal rows are one row"
    assert "a machine" in text
    assert "2.00" in text
    assert "Assumed: a step reaches 15% of the published dense peak" in text
    assert "Measured: " in text
    assert "Not counted: " in text
    assert "Measured: " not in plan_text.table([planner.plan(CIFAR10, H100)])
    big = plan_text.table([planner.plan(replace(CIFAR10, batch=1024, precision="fp32"), T4)])
    assert "16 GB TOO SMALL" in big


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0042, "4.2 ms"), (1.5, "1.5 s"), (738, "12.3 min"), (24_000, "6.7 h"), (5e7, "13,888.9 h")]
)
def test_durations_have_the_unit_that_suits(seconds, text):
    assert plan_text.duration(seconds) == text
