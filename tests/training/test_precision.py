"""Half precision: what overflows is skipped and changes nothing but the scale; the choice is what the device can do."""

from unittest import mock

import pytest
import torch

from ddpm_edu.errors import ConfigError, NonFiniteLossError, TrainingWarning
from ddpm_edu.training import loop, precision
from ddpm_edu.training.precision import Precision, choose
from tests.training import runs
from tests.training.runs import CPU, TINY, differing

CUDA = torch.device("cuda")


def in_fp16(out, scale=1024.0, **options):
    """A run in fp16 on the CPU, where GradScaler works too."""
    run = runs.begun(out)
    run.precision = Precision("fp16", CPU)
    run.scaler = torch.amp.GradScaler("cpu", init_scale=scale, **options)
    return run


def stepped(run, number=1):
    with torch.random.fork_rng([]):
        done = []
        for _ in range(number):
            done.append(loop.one_step(run, run.images.images))
            run.step += done[-1]
    return done


def test_an_overflow_halves_the_scale_and_changes_nothing_else():
    with runs.folder() as out:
        run = in_fp16(out)
        assert stepped(run, 3) == [True] * 3
        run.scaler.update(2.0**40)  # real gradients, times this, are beyond fp16's 65504
        before, rate = runs.held(run), run.optimiser.param_groups[0]["lr"]
        assert stepped(run) == [False]
        assert set(runs.moved(run, before)) == {"scaler.scale", "scaler._growth_tracker"}
        assert run.scaler.get_scale() == 2.0**39 and run.step == 3 and run.averages.updates == 3
        assert run.optimiser.param_groups[0]["lr"] == run.config.lr_at(3) > rate
        assert stepped(run) == [False]
        assert run.optimiser.param_groups[0]["lr"] == run.config.lr_at(3), "the same step again, at the same rate"
        run.scaler.update(1024.0)
        assert stepped(run) == [True] and run.step == 4 and run.averages.updates == 4


def test_what_was_skipped_is_done_again_to_the_same_end():
    """The step after overflows is the one that would have come without: same images, times, noise and rate."""
    with runs.folder() as a, runs.folder() as b:
        smooth, bumpy = in_fp16(a), in_fp16(b)
        stepped(smooth, 2), stepped(bumpy, 2)
        bumpy.scaler.update(2.0**40)
        assert stepped(bumpy) == [False]
        bumpy.scaler.update(1024.0)
        stepped(smooth), stepped(bumpy)
        assert not [name for name in differing(runs.held(smooth), runs.held(bumpy)) if "scaler" not in name]


def test_endless_overflow_is_an_error():
    with runs.folder() as out:
        run = in_fp16(out, scale=8.0)
        next(run.net.parameters()).register_hook(lambda g: g * torch.inf)
        before = runs.weights(run)
        with pytest.raises(NonFiniteLossError, match=r"step 0: fp16 overflows however small its scale.*precision=fp32"):
            stepped(run, 100)
        assert all(map(torch.equal, before, runs.weights(run)))


def test_scaled_gradients_are_clipped_in_their_own_units():
    """The clip sees the true norm, whatever the scale."""
    for scale in (1.0, 4096.0):
        with runs.folder() as out:
            run = in_fp16(out, scale)
            run.config = run.config.changed({"clip": 1e-3})
            stepped(run)
            norm = torch.nn.utils.get_total_norm([p.grad for p in run.net.parameters()])
            assert norm.item() == pytest.approx(1e-3, rel=0.01)


def test_the_scale_travels_with_the_run():
    with runs.folder() as out:
        run = in_fp16(out, growth_interval=50)
        stepped(run, 3)
        assert run.state_dict()["scaler"]["_growth_tracker"] == 3
        run.save()
        with mock.patch("ddpm_edu.training.state.choose", lambda name, device: Precision("fp16", device)):
            again = runs.begun(out)
        assert again.scaler.state_dict() == run.scaler.state_dict()
        assert not differing(runs.held(again), runs.held(run))


def test_bfloat16_computes_in_it_and_keeps_the_rest():
    with runs.folder() as out:
        run, seen = runs.begun(out), []
        run.precision = Precision("bf16", CPU)
        run.net.stem.register_forward_hook(lambda layer, given, out: seen.append(out.dtype))
        assert stepped(run, 5) == [True] * 5 and not run.scaler.is_enabled()
        assert seen == [torch.bfloat16] * 5
        held = runs.held(run)
        kinds = {v.dtype for v in held["net"].values()} | {v.dtype for v in held["averages"]["weights"]["0.9"].values()}
        assert kinds == {torch.float32}
        with runs.folder() as other:
            plain = runs.begun(other)
            first = runs.weights(plain)
            stepped(plain, 5)
        ends = (runs.weights(run), runs.weights(plain), first)
        here, there, start = map(torch.nn.utils.parameters_to_vector, ends)
        assert 0 < (here - there).norm() / (there - start).norm() < 0.2


# ---------------------------------------------------------------- the choice


def test_on_a_cpu():
    with mock.patch.object(precision, "has_bf16", return_value=False):
        assert choose("auto", CPU).name == choose("fp32", CPU).name == "fp32"
        with pytest.raises(ConfigError, match=r"this cpu has no bfloat16.*Fix: precision=\"fp32\""):
            choose("bf16", CPU)
        with pytest.raises(ConfigError, match=r"fp16 needs a CUDA GPU, and this is cpu.*precision=\"fp32\""):
            choose("fp16", CPU)
    with mock.patch.object(precision, "has_bf16", return_value=True):
        assert choose("auto", CPU).name == choose("bf16", CPU).name == "bf16"
        with pytest.raises(ConfigError, match=r"precision=\"bf16\", or \"auto\""):
            choose("fp16", CPU)


def test_on_a_gpu_that_has_bfloat16():
    with mock.patch.object(precision, "has_bf16", return_value=True):
        assert {name: choose(name, CUDA).name for name in ("auto", "bf16", "fp16", "fp32")} == {
            "auto": "bf16", "bf16": "bf16", "fp16": "fp16", "fp32": "fp32"
        }  # fmt: skip


def test_on_a_gpu_that_would_emulate_it():
    """A T4: torch.cuda.is_bf16_supported() says yes unless told not to count emulation."""

    def t4(including_emulation=True):
        return including_emulation

    with (
        mock.patch.object(torch.cuda, "is_bf16_supported", t4),
        mock.patch.object(torch.cuda, "get_device_name", return_value="Tesla T4"),
    ):
        assert choose("auto", CUDA).name == "fp16"
        with pytest.warns(TrainingWarning, match=r"Tesla T4 has no bfloat16.*fp16 is taken"):
            assert choose("bf16", CUDA).name == "fp16"


def test_only_fp16_is_scaled():
    assert [Precision(name, CPU).scaler().is_enabled() for name in ("fp32", "bf16", "fp16")] == [False, False, True]


def test_another_device_has_none():
    assert not precision.has_bf16(torch.device("mps"))
    assert choose("auto", torch.device("mps")).name == "fp32"


def test_the_config_says_it_before_the_first_step(tmp_path):
    with pytest.raises(ConfigError, match="fp16 needs a CUDA GPU"):
        runs.train(tmp_path, TINY.changed({"precision": "fp16"}))
    assert not list(tmp_path.iterdir())
