"""A run from outside: what it leaves in its folder, what it says, and what does not disturb it."""

import json
import os
from dataclasses import replace
from unittest import mock

import pytest
import torch

from ddpm_edu import models, parameterization, sampling, training
from ddpm_edu.training import loop, samples
from ddpm_edu.training.meter import Log, read_log
from ddpm_edu.training.state import Run
from tests.training import faults, runs
from tests.training.runs import TINY, differing

SHORT = replace(TINY, steps=8, save_every=4)


@pytest.fixture(scope="module")
def short():
    """The end of a run of eight steps that nothing disturbs."""
    return runs.through(SHORT)


# ---------------------------------------------------------------- R10: what does not change a run


def test_sheets_of_samples_do_not_change_a_run(tmp_path, short):
    runs.train(tmp_path, replace(SHORT, sample_every=3))
    assert not differing(runs.state(tmp_path), short)
    sheets = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert sheets == ["step-00000003.png", "step-00000006.png"]
    assert (tmp_path / "samples" / sheets[0]).read_bytes().startswith(b"\x89PNG")


def test_the_same_noise_in_each_sheet(tmp_path):
    """So that two sheets differ by the weights alone; and more than steps of a short chain are not asked for."""
    asked = []
    with mock.patch.object(sampling, "sample", side_effect=lambda *a, **o: asked.append((a, o)) or torch.zeros(a[2])):
        run = runs.begun(tmp_path, replace(SHORT, net=replace(SHORT.net, T=10)))
        samples.write(run)
        run.step = 5
        samples.write(run)
    noise = [torch.randn(3, generator=options["generator"]) for _, options in asked]
    assert torch.equal(*noise)
    assert [given[4] for given, _ in asked] == [10, 10]


def evaluated(run):
    """All that somebody might do in the middle: sample from the weights and the average, draw, look at the loss."""
    torch.manual_seed(run.step)
    denoise = parameterization.denoiser(run.net.eval(), run.s, "eps", labels=torch.zeros(2, dtype=torch.int64))
    sampling.sample(denoise, run.s, (2, 1, 8, 8), "ddim", 3)
    averaged = run.averages.net(run.net, "0.9")
    with torch.no_grad():
        averaged.stem.weight.mul_(2)
    run.net.train()
    torch.randn(100)


def test_an_evaluation_in_the_middle_does_not_change_a_run(tmp_path, short):
    runs.train(tmp_path, SHORT, watch=evaluated)
    assert not differing(runs.state(tmp_path), short)


def test_torchs_own_generators_are_left_alone(tmp_path):
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    runs.train(tmp_path, replace(SHORT, steps=4, sample_every=2))
    assert torch.equal(before, torch.random.get_rng_state())


def test_nor_does_a_run_depend_on_them(tmp_path, short):
    torch.manual_seed(999)
    torch.randn(7)
    runs.train(tmp_path, SHORT)
    assert not differing(runs.state(tmp_path), short)


def test_what_is_computed_twice_to_save_memory_is_the_same(tmp_path, short):
    """With dropout: the second time the same numbers are drawn."""
    runs.train(tmp_path, replace(SHORT, checkpointing=True))
    assert not differing(runs.state(tmp_path), short)


def test_a_run_that_must_be_repeatable_allows_no_other_kernels(tmp_path, short, monkeypatch):
    """On a CPU they all are; what counts is that torch is told, and told again afterwards what held before."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    allowed = []

    def watch(run):
        allowed.append(not torch.are_deterministic_algorithms_enabled())

    runs.train(tmp_path, replace(SHORT, deterministic=True), watch=watch)
    assert allowed == [False] * 8 and not torch.are_deterministic_algorithms_enabled()
    assert os.environ.pop("CUBLAS_WORKSPACE_CONFIG") == ":4096:8"
    assert not differing(runs.state(tmp_path), short)
    runs.train(tmp_path / "other", SHORT, watch=watch)
    assert allowed[8:] == [True] * 8


def test_how_often_is_logged_saved_and_looked_does_not_change_a_run(tmp_path, short):
    runs.train(tmp_path, replace(SHORT, log_every=3, save_every=5, poll_every=1, keep=5))
    assert runs.steps(tmp_path) == [0, 5, 8]
    assert not differing(runs.state(tmp_path), short)


# ---------------------------------------------------------------- what it leaves


def test_the_weights_are_the_first_average_ready_to_sample(tmp_path):
    config = replace(SHORT, ema=(0.5, 0.9))
    report = runs.train(tmp_path, config)
    assert report == (8, tmp_path / "weights.safetensors", None)
    net, about = models.load(report.weights)
    for key, value in runs.state(tmp_path)["averages"]["weights"]["0.5"].items():
        assert torch.equal(net.get_parameter(key), value)
    assert about["schedule"] == {"family": "cosine", "T": 50} and about["predicts"] == "eps"
    assert about["size"] == [1, 8, 8]
    assert training.TrainConfig.from_json(about["training"]["config"]) == config
    assert about["training"]["step"] == 8 and about["training"]["average"] == "0.5"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "log.jsonl", "weights.safetensors"]


def test_a_checkpoint_stands_before_the_first_step(tmp_path):
    """So that a full disk shows now and not after the first hours."""
    there = []
    runs.train(tmp_path, SHORT, watch=lambda run: there.append(runs.steps(tmp_path)))
    assert there[0] == [0]


def test_the_log_has_a_line_a_log_step_and_the_last(tmp_path):
    runs.train(tmp_path, replace(SHORT, log_every=3, steps=7))
    events = read_log(tmp_path / "log.jsonl")
    assert [event["step"] for event in events] == [3, 6, 7]
    for event in events:
        assert event["kind"] == "loss" and event["lr"] == replace(SHORT, steps=7).lr_at(event["step"] - 1)
        assert 0.2 < event["loss"] < 3 and event["images_per_second"] > 0
        shares = [loss for loss in event["by_quarter"] if loss is not None]
        assert min(shares) <= event["loss"] <= max(shares)


def test_a_line_that_a_kill_cut_short_spoils_no_other(tmp_path):
    path = tmp_path / "log.jsonl"
    Log(path).write(kind="loss", step=1, loss=1.0)
    with path.open("a") as file:
        file.write('{"kind": "loss", "st')
    assert [event["step"] for event in read_log(path)] == [1]
    log = Log(path)
    log.write(kind="loss", step=2, loss=2.0)
    log.write(kind="loss", step=1, loss=3.0)
    assert [(event["step"], event["loss"]) for event in read_log(path)] == [(1, 3.0), (2, 2.0)], "the later one counts"
    assert len(path.read_text().splitlines()) == 4


def test_a_log_that_is_not_there_is_empty(tmp_path):
    assert read_log(tmp_path / "log.jsonl") == []


def test_the_bar_says_how_it_goes(tmp_path, capsys):
    training.train(SHORT, tmp_path, device="cpu")
    said = capsys.readouterr().err
    assert "8/8" in said and "loss " in said and "images/s" in said


def test_the_example_in_the_log_is_json(tmp_path):
    runs.train(tmp_path, replace(SHORT, steps=4))
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])["step"] == 4


# ---------------------------------------------------------------- R14: out of memory


def test_out_of_memory_comes_with_advice_and_touches_no_checkpoint(tmp_path):
    calls = faults.places(0, 12, 0, 1)
    right = loop.loss_of

    def too_large(run, *given):
        calls.pop()
        if not calls:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return right(run, *given)

    config = replace(TINY, accumulate=2)
    with mock.patch.object(loop, "loss_of", too_large), pytest.raises(torch.OutOfMemoryError) as error:
        runs.train(tmp_path, config)
    (note,) = error.value.__notes__
    assert "A batch of 8 in 2 part(s) does not fit. Fix: accumulate=4" in note and "checkpointing=true" in note
    assert "2.00 GiB" in str(error.value)
    assert runs.steps(tmp_path) == [0]
    runs.train(tmp_path, config)
    assert not differing(runs.state(tmp_path), runs.through(config))


def test_other_errors_come_as_they_are(tmp_path):
    def watch(run: Run) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine") as error:
        runs.train(tmp_path, SHORT, watch=watch)
    assert not hasattr(error.value, "__notes__")
