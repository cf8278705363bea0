"""What the CPU cannot show: that on a GPU nothing waits for the device, that a killed run goes on bit for bit, that
half precision and compiled networks train. ``make gpu`` runs it; elsewhere, as in CI, it is skipped.
"""

import os
import signal
import subprocess
import sys
import warnings
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from ddpm_edu import models, parameterization, sampling, schedules, training
from ddpm_edu.errors import NonFiniteLossError
from ddpm_edu.training import generator, loop, planner
from ddpm_edu.training.distributed import together
from ddpm_edu.training.interruptions import StopRequest
from ddpm_edu.training.meter import read_log
from ddpm_edu.training.state import start
from tests.training import runs

pytestmark = pytest.mark.skipif("DDPM_EDU_GPU_TESTS" not in os.environ, reason="make gpu, where there is one")

WIDE = replace(runs.NET, width=32, groups=8, multipliers=(1, 2), blocks=1, attention=(1,))
CONFIG = replace(runs.TINY, net=WIDE, steps=60, batch=32, save_every=20, log_every=10, poll_every=10, precision="auto")
REPEATABLE = replace(CONFIG, deterministic=True, decay="constant")
DIES = """
import os, signal, sys
from tests.training import test_on_gpu as t
t.train(sys.argv[1], t.REPEATABLE, watch=lambda run: run.step == 33 and os.kill(os.getpid(), signal.SIGKILL))
"""


def train(out, config=CONFIG, **options):
    return training.train(config, out, device="cuda", progress=False, **options)


@contextmanager
def begun(config=CONFIG):
    """A run on the GPU before its next step, and its images there."""
    with runs.folder() as out, torch.random.fork_rng(["cuda"]), together("cuda") as team:
        run = start(config, out, team)
        yield run, run.images.images.to(team.device)


def several(number, run, pixels):
    for _ in range(number):
        run.step += loop.one_step(run, pixels)


def peak_of_a_step(run, pixels):
    """Bytes; of the second one, when the optimiser has its moments."""
    several(1, run, pixels)
    torch.cuda.reset_peak_memory_stats()
    several(1, run, pixels)
    return torch.cuda.max_memory_allocated()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_it_learns_in_each_precision(precision):
    with runs.folder() as out:
        report = train(out, replace(CONFIG, precision=precision, steps=200, lr=2e-3))
        losses = [event["loss"] for event in read_log(out / "log.jsonl") if event["kind"] == "loss"]
        net, about = models.load(report.weights)
    assert report.step == 200 and losses[-1] < 0.5 * losses[0]
    s = schedules.by_name(*about["schedule"].values())
    denoise = parameterization.denoiser(net.cuda(), s, about["predicts"], labels=torch.arange(10, device="cuda"))
    made = sampling.sample(denoise, s, (10, 1, 8, 8), "ddim", 10, generator=generator(0), device="cuda")
    assert made.device.type == "cuda" and made.isfinite().all()


def test_no_step_waits_for_the_device():
    """torch raises at whatever would: a copy from ordinary memory, .item(), a comparison in an if."""
    with begun(replace(CONFIG, poll_every=10**6)) as (run, pixels):
        several(3, run, pixels)
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # "a prototype feature"
            torch.cuda.set_sync_debug_mode("error")
        try:
            several(5, run, pixels)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert run.step == 8 and not run.finite.flag.item()


def test_a_run_that_was_stopped_goes_on_bit_for_bit():
    with runs.folder() as whole, runs.folder() as parts:
        train(whole, REPEATABLE)
        stop = StopRequest()
        train(parts, REPEATABLE, watch=lambda run: stop.ask() if run.step == 33 else None, stop=stop)
        assert runs.steps(parts)[-1] == 33
        train(parts, REPEATABLE)
        assert not runs.differing(runs.state(whole), runs.state(parts))


def test_a_run_that_was_killed_goes_on_bit_for_bit():
    with runs.folder() as whole, runs.folder() as parts:
        train(whole, REPEATABLE)
        ended = subprocess.run([sys.executable, "-c", DIES, str(parts)])
        assert ended.returncode == -signal.SIGKILL and runs.steps(parts) == [0, 20]
        train(parts, REPEATABLE)
        assert not runs.differing(runs.state(whole), runs.state(parts))


def test_the_gpu_computes_what_the_cpu_does():
    """In float64 the same loss and gradient, of the same weights, images, times and noise."""
    config = replace(CONFIG, precision="fp32")
    results = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        net = models.UNet(replace(config.net, dropout=0.0)).double().to(device)
        g = generator(0)
        x = torch.randn(8, 1, 8, 8, generator=g, dtype=torch.float64).to(device)
        t = torch.randint(1, config.net.T + 1, (8,), generator=g).to(device)
        out = net(x, t, labels=torch.arange(8, device=device))
        (out - x).square().sum().backward()
        results.append([out.detach().cpu(), *(p.grad.cpu() for p in net.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_nan_stops_at_the_next_look_with_the_weights_of_before():
    with begun() as (run, pixels):
        several(4, run, pixels)
        before = runs.held(run)
        run.net.register_forward_hook(lambda net, given, out: out * torch.nan)
        with pytest.raises(NonFiniteLossError, match="step 4: the loss in"):
            several(20, run, pixels)
        assert run.step == 10, "the host looks every poll_every steps"
        after = runs.held(run)
        changed = runs.differing(_on_cpu(after), _on_cpu(before))
        assert not [name for name in changed if name.startswith(("net.", "optimiser.state."))]


def _on_cpu(value):
    if isinstance(value, dict):
        return {key: _on_cpu(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_on_cpu(inner) for inner in value]
    return value.cpu() if isinstance(value, torch.Tensor) else value


@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores:UserWarning")  # the compiler's advice
def test_a_compiled_network_trains_and_keeps_its_names():
    with runs.folder() as out:
        report = train(out, replace(CONFIG, compile=True, steps=20))
        net, _ = models.load(report.weights)
    assert not [name for name in net.state_dict() if "_orig_mod" in name]


def test_checkpointing_saves_memory():
    peaks = []
    for kept in (False, True):
        with begun(replace(CONFIG, batch=256, checkpointing=kept)) as (run, pixels):
            peaks.append(peak_of_a_step(run, pixels))
    assert peaks[1] < 0.7 * peaks[0]


def test_the_plan_counts_the_memory():
    """Within a quarter of what torch's allocator reports at the fullest moment of a step."""
    config = replace(CONFIG, batch=512, precision="bf16")
    with begun(config) as (run, pixels):
        assert planner.cost(config, "bf16").memory.total == pytest.approx(peak_of_a_step(run, pixels), rel=0.25)
