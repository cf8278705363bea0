"""Found again: a run goes on only from a checkpoint of its own, and says in one table what is not."""

import json
from dataclasses import replace

import pytest
import torch

from ddpm_edu import data, models
from ddpm_edu.data import ImageSet
from ddpm_edu.errors import CheckpointError, ConfigError
from ddpm_edu.training import checkpoint
from ddpm_edu.training.image_sets import fingerprint
from tests.training import runs
from tests.training.runs import NET, TINY

STEADY = replace(TINY, decay="constant", steps=6)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A run of six steps that is done. The tests that use it end before a step."""
    folder = tmp_path_factory.mktemp("done")
    runs.train(folder, STEADY)
    return folder


# ---------------------------------------------------------------- resume


def test_must_and_never_and_auto(out, tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no checkpoint in .*resume=\"must\".*Fix: that folder"):
        runs.begun(tmp_path, STEADY, resume="must")
    with pytest.raises(CheckpointError, match=r"step-00000006.* is there, and resume=\"never\".*Fix: another folder"):
        runs.begun(out, STEADY, resume="never")
    with pytest.raises(ConfigError, match="resume must be one of auto, must, never, got 'always'"):
        runs.begun(out, STEADY, resume="always")
    assert runs.begun(tmp_path, STEADY, resume="never").step == 0
    assert runs.begun(tmp_path, STEADY).step == 0
    assert runs.begun(out, STEADY, resume="must").step == 6
    assert runs.begun(out, STEADY).step == 6


def test_nothing_is_written_before_the_first_step_is_due(tmp_path):
    with pytest.raises(CheckpointError):
        runs.train(tmp_path / "out", STEADY, resume="must")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- other settings


def test_all_settings_that_differ_are_in_one_table(out):
    other = replace(STEADY, lr=5e-4, batch=16, seed=3, net=replace(NET, T=60), betas=(0.9, 0.99))
    with pytest.raises(CheckpointError) as error:
        runs.begun(out, other)
    words = str(error.value)
    assert "the checkpoint belongs to a run with other settings" in words
    for line in (
        "  lr: now 0.0005, in the checkpoint 0.001",
        "  batch: now 16, in the checkpoint 8",
        "  seed: now 3, in the checkpoint 0",
        "  net.T: now 60, in the checkpoint 50",
        "  betas: now (0.9, 0.99), in the checkpoint (0.9, 0.999)",
    ):
        assert line in words.split("\n"), line
    assert len(words.split("\n")) == 7
    assert words.endswith("--allow-change batch,lr,betas,seed,net.T if you mean it.")


def test_only_the_rest_is_in_the_table_where_some_are_allowed(out):
    with pytest.raises(CheckpointError) as error:
        runs.begun(out, replace(STEADY, lr=5e-4, batch=16), allow=("lr",))
    assert "batch: now 16" in str(error.value) and "lr: now" not in str(error.value)


def test_allowed_in_one_string_as_on_the_command_line(out):
    assert runs.begun(out, replace(STEADY, lr=5e-4, clip=None), allow="lr,clip").step == 6
    with pytest.raises(CheckpointError, match="ema: now"):  # which stands inside "ema_warmup"
        runs.begun(out, replace(STEADY, ema=(0.5,)), allow="ema_warmup")


def test_what_it_writes_and_how_long_it_goes_on_may_change(out):
    free = replace(STEADY, steps=9, save_every=2, sample_every=3, log_every=1, keep=2, poll_every=1, snapshot_every=2)
    assert runs.begun(out, free).step == 6


def test_but_not_how_long_where_the_rate_falls_towards_the_end(tmp_path):
    config = replace(TINY, steps=6)
    runs.train(tmp_path, config)
    with pytest.raises(CheckpointError, match="steps: now 9, in the checkpoint 6"):
        runs.begun(tmp_path, replace(config, steps=9))
    assert runs.begun(tmp_path, replace(config, steps=9), allow=("steps",)).step == 6
    assert runs.begun(tmp_path, replace(config, save_every=9)).step == 6


def test_what_is_allowed_takes_effect(out, tmp_path):
    """Also what the optimiser's own state would bring back."""
    other = replace(STEADY, lr=5e-4, betas=(0.5, 0.6), clip=None, seed=7, steps=8)
    run = runs.begun(out, other, allow=("lr", "betas", "clip", "seed"))
    assert run.step == 6
    assert run.optimiser.param_groups[0]["betas"] == (0.5, 0.6)
    (tmp_path / "checkpoints").mkdir()
    for path in runs.files(out):
        (tmp_path / "checkpoints" / path.name).write_bytes(path.read_bytes())
    runs.train(tmp_path, other, allow=("lr", "betas", "clip", "seed"))
    saved = runs.state(tmp_path)
    assert saved["optimiser"]["param_groups"][0]["lr"] == 5e-4
    assert json.loads(saved["config"])["betas"] == [0.5, 0.6]
    assert runs.begun(tmp_path, other).step == 8, "and from now on it is this run's own"


def test_another_network_cannot_be_allowed(out):
    wider = replace(STEADY, net=replace(NET, width=16))
    with pytest.raises(CheckpointError, match=r"does not fit this run.*Usual cause: another network"):
        runs.begun(out, wider, allow=("net.width",))


def test_other_images_are_refused(out, tmp_path):
    with runs.trained_on(runs.images(40)), pytest.raises(CheckpointError, match=r"made with other images \(sha256"):
        runs.begun(out, STEADY)
    one, other = runs.images(40), runs.images(40)
    other.images[7, 0, 3, 3] ^= 1
    relabelled = runs.images(40)
    relabelled.labels[7] += 1
    assert len({fingerprint(given) for given in (one, other, relabelled)}) == 3
    assert fingerprint(one) == fingerprint(runs.images(40))


# ---------------------------------------------------------------- files that are whole and yet no run

NO_RUN = {
    "nothing in it": ({}, "is of no training that this version knows"),
    "no network": ({"config": STEADY.to_json(), "data": None}, "other images|does not fit"),
    "another configuration": ({"config": "[]", "data": ""}, "is of no training that this version knows"),
    "a newer configuration": (
        {"config": json.dumps({"warm_restart": 1}), "data": ""},
        "is of no training that this version knows: a training has no setting 'warm_restart'",
    ),
}


@pytest.mark.parametrize("kind", NO_RUN)
def test_a_whole_file_that_is_no_run_is_an_error_and_no_fallback(kind, tmp_path):
    content, words = NO_RUN[kind]
    if content.get("data", "") is None:
        content = content | {"data": fingerprint(runs.begun(tmp_path, STEADY).images)}
    checkpoint.save(tmp_path / "checkpoints", 3, content)
    with pytest.raises(CheckpointError, match=words):
        runs.begun(tmp_path, STEADY)


# ---------------------------------------------------------------- images


def test_images_that_do_not_fit_the_network(tmp_path):
    with pytest.raises(ConfigError, match=r"has 1 channels, the network 3\. Fix: net\.channels"):
        runs.begun(tmp_path, replace(STEADY, net=replace(NET, channels=3)))
    unlabelled = replace(runs.images(9), labels=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "digits", lambda: unlabelled)
        with pytest.raises(ConfigError, match="has no labels, and the network wants 10 classes"):
            runs.begun(tmp_path, STEADY)
        assert runs.begun(tmp_path, replace(STEADY, net=replace(NET, classes=None), label_dropout=0.0)).step == 0


def test_a_folder_of_ones_own_images_trains(tmp_path):
    from PIL import Image

    (tmp_path / "images").mkdir()
    for number in range(12):
        Image.new("RGB", (10, 10), (20 * number, 100, 200)).save(tmp_path / "images" / f"{number}.png")
    config = replace(
        STEADY, data="folder", folder=str(tmp_path / "images"), size=8, label_dropout=0.0,
        net=replace(NET, channels=3, classes=None),
    )  # fmt: skip
    report = runs.train(tmp_path / "out", config)
    assert report.step == 6 and report.weights.exists()
    Image.new("RGB", (10, 10), (1, 2, 3)).save(tmp_path / "images" / "12.png")
    with pytest.raises(CheckpointError, match=r"made with other images.*Usual cause: a folder that has changed"):
        runs.begun(tmp_path / "out", config)


# ---------------------------------------------------------------- images of one's own


def test_given_images_take_the_place_of_those_by_name(out, tmp_path):
    """The digits, given, are the digits by name, bit for bit; and other images are learned from and named."""
    runs.train(tmp_path / "digits", replace(STEADY, data="cifar10"), images=data.digits())
    assert not runs.differing(runs.state(tmp_path / "digits"), runs.state(out))
    report = runs.train(tmp_path / "own", STEADY, images=runs.images(40))
    assert "net.stem.weight" in runs.differing(runs.state(tmp_path / "own"), runs.state(out))
    _, about = models.load(report.weights)
    assert about["data"] == "noise" and about["size"] == [1, 8, 8]


def test_a_run_is_held_to_given_images_too():
    dark = replace(runs.images(40), images=runs.images(40).images // 2)
    relabelled = replace(dark, labels=dark.labels.flip(0))
    brighter, flat = replace(dark, levels=128), replace(dark, images=dark.images.view(40, 1, 4, 16))  # the same bytes
    with runs.folder() as out:
        runs.train(out, STEADY, images=dark)
        for others in (None, dark.subset(slice(39)), runs.images(40), relabelled, brighter, flat):
            with pytest.raises(CheckpointError, match=r"made with other images \(sha256"):
                runs.begun(out, STEADY, images=others)
        assert runs.begun(out, STEADY, images=replace(dark, name="renamed")).step == 6


def test_a_checkpoint_from_before_images_could_be_given(out, tmp_path):
    state = runs.state(out)
    del state["images"]
    checkpoint.save(tmp_path / "checkpoints", 6, state)
    assert runs.begun(tmp_path, STEADY).step == 6


NO_IMAGES = {
    "bytes alone": (torch.zeros(9, 1, 8, 8, dtype=torch.uint8), r"must be an ImageSet, got Tensor\. Fix: "),
    "three channels": (ImageSet("c", torch.zeros(9, 3, 8, 8).byte()), r"c has 3 channels, the network 1\. Fix: "),
    "no labels": (replace(runs.images(9), labels=None), "has no labels, and the network wants 10 classes"),
    "labels from 1": (
        replace(runs.images(10), labels=torch.arange(1, 11)),
        r"labels must lie in 0\.\.9 for this network, got 10 in noise\. Fix: net\.classes",
    ),
}


@pytest.mark.parametrize("kind", NO_IMAGES)
def test_given_images_are_looked_at_like_others(kind, tmp_path):
    given, words = NO_IMAGES[kind]
    with pytest.raises(ConfigError, match=words):
        runs.train(tmp_path / "out", STEADY, images=given)
    assert not (tmp_path / "out").exists()


def test_the_versions_stand_in_the_file(out):
    assert runs.state(out)["versions"]["torch"] == str(torch.__version__)
