"""Killed at any moment, a run goes on by the same call and ends with the same bits: the promise of the loop."""

import contextlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch

from ddpm_edu.errors import TrainingWarning
from ddpm_edu.training import checkpoint, draws, loop
from ddpm_edu.training.precision import Precision
from tests.training import faults, runs
from tests.training.runs import TINY, differing


@pytest.fixture(scope="module")
def whole():
    """The end of a run that nothing interrupts."""
    return runs.through()


def killed_after(step, out, config=TINY):
    """A run in ``out``, dead as soon as ``step`` is done: after the update, before what comes behind it."""
    ended = faults.forked(lambda: runs.train(out, config, watch=lambda run: run.step == step and faults.die()))
    assert ended.killed, ended


# ---------------------------------------------------------------- R1: killed anywhere


def test_a_run_is_the_same_bits_twice():
    """What the rest stands on; and other seeds and longer runs are other bits."""
    one, two = runs.through(), runs.through()
    assert not differing(one, two)
    assert one["step"] == 24
    other = differing(one, runs.through(replace(TINY, seed=1)))
    assert {name.split(".")[0] for name in other} == {"net", "averages", "optimiser"}


def test_found_again_it_is_the_same_run():
    """Saved after three steps and loaded: all that a step may change is as it was, and so are the next two steps."""

    def go(run, number):
        with torch.random.fork_rng([]):
            torch.seed()  # whatever torch's own generator is at
            for _ in range(number):
                loop.one_step(run, run.images.images)
                run.step += 1

    with runs.folder() as out:
        run = runs.begun(out)
        go(run, 3)
        run.save()
        again = runs.begun(out)
        assert not runs.moved(again, runs.held(run)) and again.averages.updates == 3
        go(run, 2), go(again, 2)
        assert not runs.moved(again, runs.held(run))


def test_killed_once_it_goes_on_bit_for_bit():
    with runs.folder() as out:
        killed_after(15, out)
        assert runs.steps(out)[-1] == 12
        seen = []
        report = runs.train(out, watch=lambda run: seen.append(run.step))
        assert seen == list(range(13, 25)) and report.step == 24 and report.weights.exists()
        assert not differing(runs.state(out), runs.through())


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_moments_again_and_again(seed, whole):
    """Eight times in one run, each at a random call of a function: in a step, in a save, in the set-up."""
    config = replace(TINY, save_every=3)
    with runs.folder() as out, runs.folder() as calm:
        number = faults.events(lambda: runs.train(calm, config))
        kills = 0  # (whole: by now all is imported, so that the next runs have as many calls)
        for share in faults.places(seed, 8, 0.05, 0.7):
            left = 1 - (runs.steps(out) or [0])[-1] / config.steps
            ended = faults.forked(faults.dies_at(int(share * left * number), lambda: runs.train(out, config)))
            assert ended.killed or ended.well, ended
            kills += ended.killed
        assert kills >= 7
        runs.train(out, config)
        assert not differing(runs.state(out), runs.state(calm))


def half_written(path, mode="r", *args, **options):
    """Path.open, but what is written to a part ends in the middle, with the process."""
    file = open(path, mode, *args, **options)  # noqa: PTH123, SIM115 (it takes the place of Path.open)
    if not path.name.endswith(".part"):
        return file
    whole = file.write

    def write(content):
        whole(content[: len(content) // 2])
        file.flush()
        faults.die()

    return mock.MagicMock(__enter__=lambda _: mock.Mock(write=write))


IN_A_SAVE = {  # the second save of a run that goes on at step 6, so after step 18
    "before anything": lambda: mock.patch.object(checkpoint, "encoded", faults.dying(checkpoint.encoded, 2)),
    "before a byte is written": lambda: mock.patch.object(Path, "open", faults.dying(Path.open, 2)),
    "half written": lambda: mock.patch.object(Path, "open", half_written),
    "before the flush": lambda: mock.patch.object(os, "fsync", faults.dying(os.fsync, 3)),
    "before the rename": lambda: mock.patch.object(Path, "replace", faults.dying(Path.replace, 2)),
    "after the rename": lambda: mock.patch.object(Path, "replace", faults.dying(Path.replace, 2, after=True)),
    "before the old are deleted": lambda: mock.patch.object(
        checkpoint, "_remove_old", faults.dying(checkpoint._remove_old, 2)
    ),
}


@pytest.mark.parametrize("place", IN_A_SAVE)
def test_killed_in_a_save(place, tmp_path, whole):
    killed_after(7, tmp_path)  # so that there is something to lose; the saves count on from here

    def dies_in_a_save():
        with IN_A_SAVE[place]():
            runs.train(tmp_path, replace(TINY, log_every=100))

    ended = faults.forked(dies_in_a_save)
    assert ended.killed, ended
    report = runs.train(tmp_path)
    assert report.step == 24
    assert not differing(runs.state(tmp_path), whole)
    assert not list((tmp_path / "checkpoints").glob(".*")), "no part is left"


def test_in_fp16_too_where_the_scale_is_part_of_the_state():
    """Real overflows on the way, and a kill while the scale has not grown for some steps."""

    def begins_too_large(self):
        return torch.amp.GradScaler("cpu", init_scale=2.0**26, growth_interval=7)

    with (
        mock.patch("ddpm_edu.training.state.choose", lambda name, device: Precision("fp16", device)),
        mock.patch.object(Precision, "scaler", begins_too_large),
        runs.folder() as out,
    ):
        whole = runs.through()
        assert whole["scaler"]["scale"] < 2.0**26 and whole["scaler"]["_growth_tracker"] > 0
        killed_after(15, out)
        assert runs.state(out)["scaler"]["_growth_tracker"] > 0
        runs.train(out)
        assert not differing(runs.state(out), whole)


def test_a_finished_run_called_again_changes_nothing():
    with runs.folder() as out:
        runs.train(out)
        before, files = runs.state(out), runs.files(out)
        report = runs.train(out, watch=lambda run: pytest.fail("a step"))
        assert report.step == 24 and runs.files(out) == files
        assert not differing(runs.state(out), before)


# ---------------------------------------------------------------- R13: the comparison can fail


def goes_on_otherwise(perturb, whole):
    """What differs at the end where, after a kill at step 15, ``perturb(out)`` (a context or a change) came between."""
    with runs.folder() as out:
        killed_after(15, out)
        with perturb(out) or contextlib.nullcontext():
            runs.train(out)
        return differing(runs.state(out), whole)


def nudged_moment(out):
    """One number of one moment of the optimiser, by a thousandth."""
    saved = runs.state(out)
    saved["optimiser"]["state"][3]["exp_avg"].view(-1)[0] += 1e-3
    checkpoint.save(out / "checkpoints", 12, saved)
    assert runs.steps(out).count(12) == 2, "of two of the same step the later counts"


def reversed_order(out):
    right = draws.permutation
    return mock.patch.object(draws, "permutation", lambda *key: right(*key).flip(0))


PERTURBED = {
    "the key of the noise": lambda out: mock.patch.object(draws, "NOISE", 17),
    "the key of dropout": lambda out: mock.patch.object(draws, "DROPOUT", 17),
    "one moment": nudged_moment,
    "the order of the images": reversed_order,
}


@pytest.mark.parametrize("what", PERTURBED)
def test_the_comparison_sees(what, whole):
    found = {name.split(".")[0] for name in goes_on_otherwise(PERTURBED[what], whole)}
    assert {"net", "averages", "optimiser"} <= found


def test_the_comparison_finds_none_where_nothing_was_done(whole):
    assert not goes_on_otherwise(lambda out: None, whole)


# ---------------------------------------------------------------- R2: epochs


def recorded(out, kills, n, batch, number):
    """The images of each step of a run of ``number`` steps that dies after each step of ``kills``."""
    config = replace(TINY, batch=batch, steps=number, save_every=2)
    record = out / "record"
    right = loop._batch

    def watched(run, images, drawn):
        with record.open("a") as file:
            file.write(f"{run.step} {' '.join(map(str, drawn.image.tolist()))}\n")
        return right(run, images, drawn)

    with runs.trained_on(runs.images(n)), mock.patch.object(loop, "_batch", watched):
        for step in kills:
            killed_after(step, out, config)
        ended = faults.forked(lambda: runs.train(out, config))
        assert ended.well, ended
        whole = runs.through(config)
    by_step = {}
    for line in record.read_text().splitlines():
        step, *which = map(int, line.split())
        assert by_step.setdefault(step, which) == which, "a step that is done again sees the same images"
    return [by_step[step] for step in range(number)], differing(runs.state(out), whole)


KILLS = {  # n images, batch, steps, kills after
    "twice in an epoch": (64, 8, 16, (3, 5)),
    "twice at one place": (64, 8, 16, (5, 5)),
    "at the end of an epoch": (32, 8, 12, (4, 8)),
    "epochs that end within a batch": (20, 8, 10, (2, 3, 7)),
    "a batch of several epochs": (5, 12, 5, (1, 3)),
}


@pytest.mark.parametrize("row", KILLS)
def test_every_image_once_an_epoch_whatever_is_killed(row, tmp_path):
    n, batch, number, kills = KILLS[row]
    seen, different = recorded(tmp_path, kills, n, batch, number)
    assert not different
    in_order = [image for which in seen for image in which]
    epochs = [in_order[start : start + n] for start in range(0, number * batch - n + 1, n)]
    assert len(epochs) >= 2
    assert all(sorted(epoch) == list(range(n)) for epoch in epochs)
    assert epochs[0] != epochs[1], "in another order"


# ---------------------------------------------------------------- R3: a damaged file


REGIONS = {"zip header": 1, "pickle": 300, "tensors": 0.5, "zip directory": -300, "tail": -1}


@pytest.fixture(scope="module")
def killed_at_20(tmp_path_factory):
    out = tmp_path_factory.mktemp("killed")
    killed_after(20, out)
    return out


@pytest.mark.parametrize("region", REGIONS)
def test_one_flipped_bit_falls_back_loudly_to_the_same_end(region, tmp_path, killed_at_20, whole):
    shutil.copytree(killed_at_20, tmp_path, dirs_exist_ok=True)
    newest, place = runs.files(tmp_path)[0], REGIONS[region]
    size = newest.stat().st_size
    runs.flip_byte(newest, int(place * size) if isinstance(place, float) else place)
    seen = []
    with pytest.warns(TrainingWarning, match=rf"{newest.name} is damaged.*Falling back"):
        runs.train(tmp_path, watch=lambda run: seen.append(run.step))
    assert seen[0] == 13, "not from 18"
    assert not differing(runs.state(tmp_path), whole)
