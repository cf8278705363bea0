"""NaN and infinity: the step at which they come is named, and no weight, moment, average or file ever sees them."""

from dataclasses import replace
from unittest import mock

import pytest
import torch

from ddpm_edu.errors import NonFiniteLossError
from ddpm_edu.training import loop
from ddpm_edu.training.meter import Finite, Meter, read_log
from tests.training import runs
from tests.training.runs import CPU, TINY


def poisoned(step, poison, config=TINY):
    """A run whose network ``poison(run)`` spoils at ``step``: what it held before, the run, the folder's steps, why."""
    kept = {}

    def watch(run):
        if run.step == step:
            kept.update(run=run, before=runs.held(run))
            poison(run)

    with runs.folder() as out:
        with pytest.raises(NonFiniteLossError) as error:
            runs.train(out, config, watch=watch)
        return kept["before"], kept["run"], runs.steps(out), str(error.value), read_log(out / "log.jsonl")


def nan_in_the_third_quarter(run):
    """In the loss alone: torch.where takes it out of the gradient again."""

    def spoil(net, given, out):
        quarter = (given[1] - 1) * 4 // run.s.T
        return torch.where((quarter == 2)[:, None, None, None], torch.nan, out)

    run.net.register_forward_hook(spoil)


def infinite_gradient(run):
    next(run.net.parameters()).register_hook(lambda g: g * torch.inf)


def huge_loss(run):
    run.net.register_forward_hook(lambda net, given, out: out * 1e30)


def draws_the_third_quarter(step, config=TINY):
    from ddpm_edu.training import draws

    t = draws.draw(config.seed, step, config.batch, 1797, config.net.T, (1, 8, 8), 0.1, CPU).t
    return bool((((t - 1) * 4 // config.net.T) == 2).any())


def test_nan_raises_at_its_step_and_changes_nothing():
    assert draws_the_third_quarter(8)
    before, run, saved, words, log = poisoned(8, nan_in_the_third_quarter)
    assert run.step == 8 and not runs.moved(run, before)
    assert "step 8: the loss in the third quarter of t is NaN or infinite" in words and str(run.folder) in words
    assert "Fix: lr / 2" in words
    assert saved == [0, 6] and [event["step"] for event in log] == [4, 8]
    assert all(p.isfinite().all() for p in run.net.parameters())


def test_an_infinite_gradient_too():
    before, run, _, words, _ = poisoned(8, infinite_gradient)
    assert not runs.moved(run, before)
    assert "step 8: the gradient is NaN or infinite" in words


def test_a_loss_beyond_float32_too():
    before, run, _, words, _ = poisoned(8, huge_loss)
    assert not runs.moved(run, before)
    assert "step 8: the loss in" in words and " and the " in words


def test_a_loss_that_was_averaged_away_in_another_part_is_found():
    """One bad sample in the first of four parts."""
    config = replace(TINY, accumulate=4)
    before, run, _, words, _ = poisoned(8, nan_in_the_third_quarter, config)
    assert not runs.moved(run, before)
    assert "step 8: the loss in the third quarter" in words


def test_where_nobody_looks_for_some_steps_the_weights_are_those_before_the_first():
    """As on a GPU: the flag is read by the optimiser on the device, the host looks later."""
    with runs.folder() as out:
        run = runs.begun(out)
        images, watching = run.images.images, Finite.check
        with torch.random.fork_rng([]), mock.patch.object(Finite, "check"):
            for _ in range(5):
                assert loop.one_step(run, images)
                run.step += 1
            before = runs.held(run)
            hook = next(run.net.parameters()).register_hook(lambda g: g * torch.nan)
            loop.one_step(run, images)
            hook.remove()
            run.step += 1
            for _ in range(3):  # good ones: the flag stays up
                loop.one_step(run, images)
                run.step += 1
        assert {name.split(".")[0] for name in runs.moved(run, before)} == {"averages", "step"}
        with pytest.raises(NonFiniteLossError, match="step 5: "):
            watching(run.finite, run.meter, run.folder)


@pytest.mark.parametrize("every", ["log_every", "save_every", "sample_every", "snapshot_every"])
def test_nothing_is_written_of_weights_that_nobody_has_looked_at(every, tmp_path):
    """Before a log line, a sheet, a snapshot or a checkpoint somebody looks, however rarely that is else done."""
    quiet = replace(TINY, log_every=100, save_every=100, ema_widths=(0.05,))
    run = runs.begun(tmp_path, replace(quiet, **{every: 7}))
    run.step = 7
    run.finite.note(torch.tensor(torch.nan), 5)
    with pytest.raises(NonFiniteLossError, match="step 5"):
        loop._look(run, mock.Mock(), mock.Mock())


def test_the_first_bad_step_is_the_one_that_is_named():
    finite, meter = Finite(CPU), Meter(50, CPU)
    finite.note(torch.tensor(1.0), 3)
    finite.check(meter, "there")
    for step, norm in ((4, torch.inf), (5, torch.nan), (6, 1.0)):
        finite.note(torch.tensor(norm), step)
    with pytest.raises(NonFiniteLossError, match="step 4: the gradient"):
        finite.check(meter, "there")


def test_the_meter_sorts_losses_by_quarter():
    meter = Meter(10, CPU)
    t = torch.arange(1, 11)
    meter.add(t, t.double())
    read = meter.read(meter.sums, meter.counts)
    assert meter.counts.tolist() == [3, 2, 3, 2]
    assert read["by_quarter"] == pytest.approx([2, 4.5, 7, 9.5])
    assert read["loss"] == pytest.approx(5.5)
    meter.clear()
    meter.add(torch.tensor([10]), torch.tensor([2.0]))
    assert meter.read(meter.sums, meter.counts)["by_quarter"] == [None, None, None, 2.0]
