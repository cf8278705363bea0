"""The command line: what it prints, writes, returns, refuses, and what it does not import."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import ddpm_edu
from ddpm_edu import cli, data, doctor, metrics, models, parameterization, plots, sampling, schedules, training
from ddpm_edu.commands import evaluation, evaluation_card, facts, files, networks, program, texts
from ddpm_edu.errors import CheckpointError, ConfigError, DataError
from ddpm_edu.training import alone, checkpoint, planner
from ddpm_edu.training.distributed import Team
from ddpm_edu.training.state import RESUME

COMMANDS = ("train", "sample", "average", "evaluate", "plan", "presets", "data", "data list", "data fetch", "doctor")
COMMANDS = (*COMMANDS, "progress", "grade")
TINY = ("net.width=8", "net.groups=4", "net.T=20", "batch=4", "schedule=cosine", "decay=constant")
TINY = (*TINY, "save_every=3", "log_every=2", "ema=[0.5]", "warmup=0")


def run(*argv, code=0):
    """One command in this process; its result, after a look at its exit code."""
    result = CliRunner().invoke(program, [str(a) for a in argv], prog_name=cli.PROGRAM)
    assert result.exit_code == code, (argv, result.output, result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def train(out, *settings, code=0, options=(), steps=6):
    pairs = [f"--set={setting}" for setting in (*TINY, f"steps={steps}", *settings)]
    return run("train", "digits-cpu", *pairs, "--out", out, "--quiet", "--device", "cpu", *options, code=code)


def draw(folder, *options, code=0, name="x.npz", checkpoint=None, n=4):
    """The file that `sample` writes and, of an npz, its arrays."""
    out = folder / name
    where = ("--checkpoint", checkpoint or folder, "--n", n, "--out", out, "--device", "cpu", "--quiet")
    result = run("sample", *where, *options, code=code)
    if code or out.suffix != ".npz":
        return result
    with np.load(out) as found:
        return dict(found)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A tiny conditional training of 6 steps."""
    folder = tmp_path_factory.mktemp("run")
    train(folder)
    return folder


@pytest.fixture(scope="module")
def plain_folder(tmp_path_factory):
    """The same without labels."""
    folder = tmp_path_factory.mktemp("plain")
    train(folder, "net.classes=null", "label_dropout=0", steps=2)
    return folder


# ---------------------------------------------------------------- the program


def test_doctor_returns_1_when_something_is_wrong(monkeypatch):
    well, ill = doctor.Check("a", True, "fine"), doctor.Check("b", False, "broken", "mend it")
    monkeypatch.setattr(doctor, "checks", lambda: [well])
    assert run("doctor").output == "[ok] a: fine\n"
    monkeypatch.setattr(doctor, "checks", lambda: [well, ill])
    assert run("doctor", code=1).output.splitlines() == ["[ok] a: fine", "[problem] b: broken. fix: mend it"]


def test_the_doctor_speaks_without_click(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "click", None)
    for name in [name for name in sys.modules if name.startswith("ddpm_edu.commands")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(doctor, "checks", lambda: [doctor.Check("packages", False, "click is missing", "install it")])
    assert cli.main(["doctor"]) == 1
    assert "click is missing. fix: install it" in capsys.readouterr().out
    assert cli.main(["presets"]) == 2
    assert "`python -m ddpm_edu doctor` says what to do" in capsys.readouterr().err


def test_data_list_names_every_data_set():
    printed = run("data", "list").output
    for name, description in data.DATASETS.items():
        assert name in printed
        assert description in printed


def test_data_fetch_prints_the_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "fetch", lambda name: tmp_path / name)
    assert run("data", "fetch", "cifar10").output == f"{tmp_path / 'cifar10'}\n"


def test_an_error_of_ours_is_one_line_and_code_2(monkeypatch, capsys):
    def refuse(name):
        raise DataError("no such thing")

    monkeypatch.setattr(data, "fetch", refuse)
    assert cli.main(["data", "fetch", "x"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: no such thing\n"
    assert captured.out == ""


def test_an_error_that_is_not_ours_is_not_hidden(monkeypatch):
    def break_down(name):
        raise ZeroDivisionError

    monkeypatch.setattr(data, "fetch", break_down)
    with pytest.raises(ZeroDivisionError):
        cli.main(["data", "fetch", "x"])


def test_what_does_not_import_leads_to_the_doctor(monkeypatch, capsys):
    def missing(name):
        raise ImportError("No module named 'torch'")

    monkeypatch.setattr(data, "fetch", missing)
    assert cli.main(["data", "fetch", "x"]) == 2
    assert capsys.readouterr().err == "error: No module named 'torch'. `python -m ddpm_edu doctor` says what to do.\n"


def test_ctrl_c_has_its_own_code(monkeypatch, capsys):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "fetch", interrupted)
    assert cli.main(["data", "fetch", "x"]) == 130
    assert capsys.readouterr().err == "error: interrupted.\n"


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["data", "fetch"], ["train", "digits-cpu"], ["sample", "--n", "x"]])
def test_usage_errors(argv, capsys):
    assert cli.main(argv) == 2
    assert "Usage: python -m ddpm_edu" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_exit_codes(command):
    printed = " ".join(run(*command.split(), "--help").output.split())
    assert texts.EXIT_CODES in printed


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train", ("in seconds since 1970", "128 + the signal's number", "torchrun --standalone")),
        ("average", ("as a share of the training", "Smaller is shorter", "--set snapshot_every=1000")),
        ("sample", ("uint8 (N, height, width, channels)", "int64 (N,)", "w = s - 1")),
        ("evaluate", ("squared units of the features", "not FID", "pixels in [-1, 1]")),
        ("plan", ("GB (10^9 bytes)", "two for a multiply-add", "estimate")),
        ("progress", ("DDPM_EDU_PROGRESS=off stores nothing", "(local time)", "the old file stays beside")),
        ("grade", ("THIS IS NO SANDBOX", "--timeout SECONDS", "For each notebook as a whole", "2 where a file")),
    ],
)
def test_help_tells_units(command, words):
    printed = " ".join(run(command, "--help").output.split())
    assert [word for word in words if word not in printed] == []


def test_help_says_what_is_so():
    """These modules do not import torch, so they repeat names that live elsewhere."""
    printed = " ".join(run("sample", "--help").output.split())
    assert [name for name in sampling.METHODS if name not in printed] == []
    printed = " ".join(run("train", "--help").output.split())
    assert f"[{'|'.join(RESUME)}]" in printed
    printed = " ".join(run("plan", "--help").output.split())
    assert f"[default: {planner.EAGER:g}; with compile=true {planner.COMPILED:g}]" in printed


def test_help_imports_no_torch():
    heavy = "{'torch', 'numpy', 'matplotlib'} & set(sys.modules)"
    calls = "; ".join(f"cli.main({command.split()} + ['--help'])" for command in COMMANDS)
    code = f"import sys; from ddpm_edu import cli, doctor; {calls}; sys.exit(sorted({heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.strip() == "[]"
    assert done.stdout.count("Exit codes") == len(COMMANDS)


def test_presets_has_a_line_for_each():
    """And below it, under its words, a line with its settings."""
    lines = run("presets").output.splitlines()
    assert [line.split()[0] for line in lines[::2]] == list(training.presets.PRESETS)
    width = 2 + max(map(len, training.presets.PRESETS))
    assert [line[width:] for line in lines[::2]] == list(training.presets.ABOUT.values())
    assert all(line[:width].isspace() and not line[width].isspace() for line in lines[1::2])
    assert "800,000 steps of 128 images; predicts eps; U-Net 128 256 256 256" in lines[5]


# ---------------------------------------------------------------- train


def test_train_writes_weights_and_says_where(run_folder):
    assert {path.name for path in run_folder.iterdir()} >= {"checkpoints", "log.jsonl", "weights.safetensors"}
    net, about = models.load(run_folder / "weights.safetensors")
    assert net.config.width == 8, "net.width=8 reaches the network"
    assert net.config.T == 20
    assert about["schedule"] == {"family": "cosine", "T": 20}, "a word that is no JSON stays a word"


def test_the_same_command_goes_on(run_folder, tmp_path):
    """Stopped after 4 steps and called again: the weights of 6 steps in one go. What is finished stays as it is."""
    train(tmp_path, steps=4)
    done = train(tmp_path, options=("--resume", "must"))
    assert done.output == f"step 6, weights: {tmp_path / 'weights.safetensors'}\n"
    ours, theirs = (models.load(f / "weights.safetensors")[0].state_dict() for f in (tmp_path, run_folder))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    log = (tmp_path / "log.jsonl").read_bytes()
    train(tmp_path)
    assert (tmp_path / "log.jsonl").read_bytes() == log


def test_allowed_changes_are_allowed(tmp_path):
    train(tmp_path, steps=2)
    refused = train(tmp_path, "lr=0.5", "clip=null", code=2, steps=3).stderr
    assert refused.startswith("error: the checkpoint belongs to a run with other settings:")
    assert "lr: now 0.5" in refused
    assert "clip: now None" in refused, "null is JSON's word for none"
    train(tmp_path, "lr=0.5", "clip=null", options=("--allow-change", "lr, clip"), steps=3)


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        (("stepz=3",), (), "error: a training has no setting 'stepz'"),
        (("net.width=9",), (), "error: "),
        (("net.told=[1]",), (), "error: a setting has a value of the wrong kind"),
        (("lr=fast",), (), "error: lr must be a number"),
        (("steps",), (), "'steps' is not of the form key=value"),
        (("=3",), (), "'=3' is not of the form key=value"),
        ((), ("--resume", "must"), "error: there is no checkpoint in"),
        ((), ("--resume", "perhaps"), "'perhaps' is not one of 'auto', 'must', 'never'"),
        ((), ("--allow-change", "lr=1"), "error: --allow-change: a training has no setting 'lr=1'"),
        ((), ("--device", "toaster"), "error: --device 'toaster' is no device"),
        ((), ("--device", "cuda:77"), "error: cuda:77 is asked for"),
    ],
)
def test_train_refuses(settings, options, message, tmp_path):
    refused = train(tmp_path / "run", *settings, options=options, code=2).stderr
    assert message in refused
    assert "Traceback" not in refused
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_never_refuses_what_is_there(run_folder):
    assert 'and resume="never"' in train(run_folder, options=("--resume", "never"), code=2).stderr


def test_an_unknown_preset_is_told_the_near_ones(tmp_path):
    assert "Did you mean digits-cpu?" in run("train", "digits", "--out", tmp_path, code=2).stderr


@pytest.mark.skipif(os.name != "posix", reason="there are no locks")
def test_a_second_one_in_the_same_folder_is_refused(tmp_path):
    with alone.alone_in(tmp_path, Team(0, 1, torch.device("cpu"))):
        refused = train(tmp_path, code=2).stderr
        assert f"error: another training runs in {tmp_path} (process {os.getpid()} on " in refused
    train(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_signal_ends_it_with_its_own_code_and_it_goes_on(tmp_path):
    """A real process: SIGTERM, 143, and the next one continues."""
    settings = [f"--set={setting}" for setting in (*TINY, "steps=1000000", "net.multipliers=[1]", "net.attention=[]")]
    command = [sys.executable, "-m", "ddpm_edu", "train", "digits-cpu", *settings, "--out", str(tmp_path), "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (tmp_path / "log.jsonl").exists():
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert out == ""
    assert "stopped by SIGTERM after step " in err
    step = int(err.split("after step ")[1].split(", which")[0].replace(",", ""))
    onward = (f"steps={step + 1}", "net.multipliers=[1]", "net.attention=[]")
    done = train(tmp_path, *onward, options=("--resume", "must"))
    assert done.output.startswith(f"step {step + 1:,}, weights: ")


# ---------------------------------------------------------------- sample


def test_npz_holds_images_and_labels(run_folder):
    found = draw(run_folder, n=12)
    assert found["images"].shape == (12, 8, 8, 1)
    assert found["images"].dtype == np.uint8
    assert found["labels"].dtype == np.int64
    assert found["labels"].tolist() == [*range(10), 0, 1], "classes in turn"


def test_without_classes_there_are_no_labels(plain_folder):
    assert draw(plain_folder).keys() == {"images", "about"}


def test_npz_says_how_it_was_made(run_folder, tmp_path):
    """And needs no pickle for it: `draw` loads as a stranger would."""
    options = ("--method", "ddim", "--steps", 3, "--eta", 0.5, "--seed", 7, "--guidance", 1.5, "--label", 3)
    told = json.loads(str(draw(run_folder, *options)["about"]))
    weights = told.pop("weights_sha256")
    assert told.pop("checkpoint").startswith("weights.safetensors")
    assert told == {
        "average": "0.5",
        "method": "ddim",
        "steps": 3,
        "guidance": 1.5,
        "eta": 0.5,
        "clip": "static",
        "seed": 7,
        "label": "3",
        "torch": torch.__version__,
        "ddpm_edu": ddpm_edu.__version__,
    }
    assert {*told, "checkpoint", "weights_sha256"} == {*facts.KNOWN}
    net, _ = models.load(run_folder / "weights.safetensors")
    assert weights == metrics.reference.content_hash(net.state_dict())
    default = json.loads(str(draw(run_folder)["about"]))
    assert (default["steps"], default["guidance"], default["label"]) == (20, None, "all"), "what was left out, too"
    assert default["weights_sha256"] == weights
    shutil.copytree(run_folder / "checkpoints", tmp_path / "checkpoints")
    early = json.loads(str(draw(tmp_path)["about"]))
    assert (early["weights_sha256"], early["average"]) == (weights, "0.5"), "the same weights, from a checkpoint"
    assert early["checkpoint"].startswith("step-00000006-")


def test_what_is_not_known_of_weights_is_not_said(plain_folder, tmp_path):
    told = json.loads(str(draw(tmp_path, "--steps", 1, checkpoint="digits_mlp", n=1)["about"]))
    assert "average" not in told and told["checkpoint"] == "digits_mlp" and told["label"] is None
    other = json.loads(str(draw(plain_folder)["about"]))["weights_sha256"]
    assert other != told["weights_sha256"]


def test_an_image_depends_on_seed_and_number_alone(run_folder):
    """Up to rounding: one grey level, where a float lies at the border of two."""
    few, many, by_two, other = (
        draw(run_folder, *options)["images"].astype(int)
        for options in (("--n", 3), ("--n", 7), ("--n", 7, "--batch", 2), ("--n", 7, "--seed", 1))
    )
    assert np.abs(few - many[:3]).max() <= 1
    assert np.abs(by_two - many).max() <= 1
    differ = [np.abs(a - b).max() > 1 for a in many for b in other]
    assert all(differ), "negative control, and no seed repeats another's images"
    alike = draw(run_folder, "--label", 3, n=2)["images"].astype(int)
    assert np.abs(alike[0] - alike[1]).max() > 1, "two streams, not one"


def test_sample_is_the_library_with_these_streams(tmp_path):
    found = draw(tmp_path, "--method", "ddim", "--steps", 4, "--seed", 5, checkpoint="digits_mlp", n=3)["images"]
    net, about = models.load("digits_mlp")
    s = schedules.linear(1000)
    denoise = parameterization.denoiser(net, s, about["predicts"], parameterization.static_clip)
    streams = [training.generator(5, i) for i in range(3)]
    x = sampling.sample(denoise, s, (3, 1, 8, 8), "ddim", 4, generator=streams)
    assert np.array_equal(found, data.to_uint8(x).permute(0, 2, 3, 1).numpy())


def test_png_is_a_sheet_of_the_same_images(run_folder):
    """Ten columns, a class each; pixels four by four, with a grey gap of the same width."""
    images = draw(run_folder, n=12)["images"]
    draw(run_folder, n=12, name="x.PNG")
    with Image.open(run_folder / "x.PNG") as picture:
        sheet = np.asarray(picture)
    assert sheet.shape == (4 * (2 * 9 - 1), 4 * (10 * 9 - 1))
    framed = np.pad(sheet[::4, ::4], ((0, 1), (0, 1)), constant_values=plots.GAP)
    tiles = framed.reshape(2, 9, 10, 9).transpose(0, 2, 1, 3).reshape(20, 9, 9)
    assert np.array_equal(tiles[:12, :8, :8], images[..., 0])
    assert (tiles[:, 8] == plots.GAP).all() and (tiles[:, :, 8] == plots.GAP).all()
    assert (tiles[12:] == plots.GAP).all()
    draw(run_folder, "--label", 7, n=5, name="y.png")
    with Image.open(run_folder / "y.png") as picture:
        assert picture.size == (4 * (3 * 9 - 1), 4 * (2 * 9 - 1)), "nearly a square, where it is not a class a column"


def test_a_label_a_guidance_and_a_clip_are_heard(run_folder):
    """Guidance 0 is the network itself, by Ho and Salimans' convention."""
    plain, no_lean, leaning = (
        draw(run_folder, "--label", 7, "--method", "ddim", "--steps", 5, *options)
        for options in ((), ("--guidance", 0), ("--guidance", 400, "--clip", "none"))
    )
    assert plain["labels"].tolist() == [7] * 4
    assert np.array_equal(plain["images"], no_lean["images"])
    assert not np.array_equal(plain["images"], leaning["images"])
    clipped = [draw(run_folder, "--guidance", 400, "--clip", clip)["images"] for clip in ("none", "static", "dynamic")]
    assert len({images.tobytes() for images in clipped}) == 3


def test_guidance_is_that_of_the_library(tmp_path):
    """Of a network that has learned something: images that differ much from the unguided ones, and are those."""
    options = ("--method", "dpmpp_2m", "--steps", 5, "--label", 4)
    plain, guided = (
        draw(tmp_path, *options, *more, checkpoint="digits", n=2)["images"] for more in ((), ("--guidance", 3))
    )
    net, _ = models.load("digits_unet")
    s, labels = schedules.linear(1000), torch.tensor([4, 4])
    denoise = sampling.guidance.of_network(net, s, "eps", labels, 3.0)
    denoise = sampling.thresholding.limited(denoise, s, parameterization.static_clip)
    streams = [training.generator(0, i) for i in range(2)]
    x = sampling.sample(denoise, s, (2, 1, 8, 8), "dpmpp_2m", 5, generator=streams)
    assert np.array_equal(guided, data.to_uint8(x).permute(0, 2, 3, 1).numpy())
    assert np.abs(plain.astype(int) - guided).max() > 10


def test_eta_is_heard(run_folder):
    without, with_it = (draw(run_folder, "--method", "ddim", "--eta", eta, "--steps", 5)["images"] for eta in (0, 1))
    assert not np.array_equal(without, with_it)


def test_a_training_that_still_runs_can_be_sampled(run_folder, tmp_path):
    """From the newest checkpoint's average, which is what weights.safetensors would hold."""
    shutil.copytree(run_folder / "checkpoints", tmp_path / "checkpoints")
    assert np.array_equal(draw(tmp_path)["images"], draw(run_folder)["images"])
    by_file = draw(run_folder, checkpoint=run_folder / "weights.safetensors")["images"]
    assert np.array_equal(by_file, draw(run_folder)["images"])


def test_of_weights_and_a_checkpoint_the_later_step_counts(run_folder, tmp_path):
    """A run of 6 steps that is being extended: weights.safetensors of 6 beside checkpoints of 6 and 9."""
    train(tmp_path, steps=9)
    later = draw(tmp_path)["images"]
    shutil.copy(run_folder / "weights.safetensors", tmp_path)
    said = draw(tmp_path, name="x.png", code=0).output
    assert re.search(r"from step-00000009-[0-9a-f]{16}\.pt, step 9, the average 0\.5: ", said)
    assert np.array_equal(draw(tmp_path)["images"], later)
    newest = checkpoint.listed(tmp_path / "checkpoints")[0]
    content = newest.read_bytes()
    newest.unlink()
    said = draw(tmp_path, name="x.png").output
    assert f"from {tmp_path / 'weights.safetensors'}, step 6: " in said
    assert np.array_equal(draw(tmp_path)["images"], draw(run_folder)["images"])
    newest.write_bytes(content[:-1])
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        said = draw(tmp_path, name="x.png")
    assert "is damaged" in said.stderr and "weights.safetensors, step 6" in said.stdout, "nor is a damaged one later"


def test_weights_that_do_not_say_their_step_are_what_the_folder_is_for(run_folder, tmp_path):
    shutil.copytree(run_folder / "checkpoints", tmp_path / "checkpoints")
    net, about = models.load(run_folder / "weights.safetensors")
    for training_ in ({}, {"step": "six"}):
        models.save(tmp_path / "weights.safetensors", net, {**about, "training": training_})
        assert networks.find(str(tmp_path)).name == str(tmp_path / "weights.safetensors")


@pytest.fixture(scope="module")
def averages(tmp_path_factory):
    """A training of 8 steps with two decays, two widths, and snapshots."""
    folder = tmp_path_factory.mktemp("averages")
    train(folder, "ema=[0.2,0.9]", "ema_widths=[0.05,0.1]", "snapshot_every=2", steps=8)
    return folder


def test_one_average_of_several(averages):
    """Each by its name, and what it is called; without one it is the first, from the file that the end has left."""
    kept = checkpoint.newest(averages / "checkpoints").state["averages"]["weights"]
    for given, name in (("0.2", "0.2"), ("0.9", "0.9"), ("power 0.1", "power 0.1"), ("0.1", "power 0.1")):
        found = networks.find(str(averages), given)
        assert found.name.endswith(f".pt, step 8, the average {name}")
        assert torch.equal(found.net.stem.weight, kept[name]["stem.weight"])
    assert networks.find(str(averages), "0.07").name == "snapshots, step 8, the average power 0.07"
    first = networks.find(str(averages))
    assert first.name == f"{averages / 'weights.safetensors'}, step 8"
    assert torch.equal(first.net.stem.weight, kept["0.2"]["stem.weight"])


def test_samples_are_of_the_average_that_was_asked_for(averages):
    """Their file says which, and the weights are that one's."""
    kept = checkpoint.newest(averages / "checkpoints").state["averages"]["weights"]
    for given in ("0.9", "0.2"):
        told = json.loads(str(draw(averages, "--average", given, "--steps", 1, n=1)["about"]))
        net, *_ = networks.find(str(averages), given)
        assert torch.equal(net.stem.weight, kept[given]["stem.weight"])
        assert (told["average"], told["weights_sha256"]) == (given, metrics.reference.content_hash(net.state_dict()))


def test_an_average_that_is_not_there(averages, run_folder, tmp_path):
    with pytest.raises(
        ConfigError, match=r"no average '0\.5' in .*; there are 0\.2, 0\.9, power 0\.05, power 0\.1, and"
    ):
        networks.find(str(averages), "0.5")
    for given in ("digits", str(run_folder / "weights.safetensors")):
        with pytest.raises(ConfigError, match="only the folder of a training holds several averages"):
            networks.find(given, "0.5")
    shutil.copy(run_folder / "weights.safetensors", tmp_path)
    with pytest.raises(CheckpointError, match="there is no checkpoint in"):
        networks.find(str(tmp_path), "0.5")


# ---------------------------------------------------------------- average


def test_average_writes_what_sample_reads(averages, tmp_path):
    """A width that was kept comes back as it was; another is that of the library."""
    kept = checkpoint.newest(averages / "checkpoints").state["averages"]["weights"]["power 0.1"]
    for width, weights in ((0.1, kept), (0.07, training.posthoc.average(averages, 0.07))):
        out = tmp_path / "new" / f"{width}.safetensors"
        done = run("average", averages, "--width", width, "--out", out)
        assert done.output == f"the average power {width} at step 8: {out}\n"
        net, about = models.load(out)
        assert about["training"]["average"] == f"power {width}" and about["size"] == [1, 8, 8]
        assert all(torch.equal(net.get_parameter(key), value) for key, value in weights.items())
        assert draw(tmp_path, checkpoint=out)["images"].shape == (4, 8, 8, 1)
    assert [path.name for path in (tmp_path / "new").iterdir() if path.suffix != ".safetensors"] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--width", 0.9), "error: there is no average 'power 0.9' in"),
        (("--width", 0.5), "and from its snapshots all widths in (1e-5, 0.28)"),
        (("--width", "wide"), "'wide' is not a valid float"),
        (("--width", 0.1, "--out", "w.npz"), "error: --out w.npz: what is written is safetensors"),
        (("--width", 0.1, "--out", "file/w.safetensors"), "could not be written"),
    ],
)
def test_average_refuses(options, message, averages, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert message in run("average", averages, "--out", "w.safetensors", *options, code=2).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_average_needs_snapshots(run_folder, tmp_path):
    for folder, message in ((run_folder, "a width without snapshots (snapshot_every)"), (tmp_path, "no checkpoint in")):
        assert message in run("average", folder, "--width", 0.1, "--out", tmp_path / "w.safetensors", code=2).stderr
    assert not list(tmp_path.iterdir())


def test_a_file_without_a_size_is_refused(tmp_path):
    about = {"network": "MLP", "arguments": {"dim": 64}, "predicts": "eps", "schedule": {"family": "linear", "T": 9}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models.save(tmp_path / "own.safetensors", models.MLP(64), about)
        refused = draw(tmp_path, checkpoint=tmp_path / "own.safetensors", code=2).stderr
    assert "error: own.safetensors does not say how large its images are" in refused
    assert '"size": [channels, height, width]' in refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--n", 0), "error: --n must be >= 1, got 0."),
        (("--batch", 0), "error: --batch must be >= 1, got 0."),
        (("--out", "x.jpg"), "error: --out x.jpg: its end says what to write, .npz (the images) or .png"),
        (("--out", "x"), "not 'nothing'"),
        (("--label", 10), "error: --label must be 0..9 or all, got '10'"),
        (("--label", -1), "error: --label must be 0..9 or all, got '-1'"),
        (("--label", "three"), "error: --label must be 0..9 or all, got 'three'"),
        (("--guidance", "nan"), "error: the strength of guidance must be a number"),
        (("--method", "dimm"), "Did you mean 'ddim'"),
        (("--steps", 0), "error: "),
        (("--steps", 21), "error: "),
        (("--eta", 2, "--method", "ddim"), "error: eta must lie in 0..1"),
        (("--eta", 0.5, "--method", "heun"), 'error: eta=0.5 is an option of "ddim"'),
        (("--clip", "soft"), "'soft' is not one of 'none', 'static', 'dynamic'"),
        (("--device", "toaster"), "error: --device 'toaster' is no device"),
        (("--device", "cuda:77"), "error: cuda:77 is asked for"),
        (("--checkpoint", "nowhere"), "there are digits, digits_mlp, digits_unet, fashion, fashion_unet"),
    ],
)
def test_sample_refuses(options, message, run_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"--checkpoint": run_folder, "--n": 2, "--out": "z.npz"} | dict(
        zip(options[::2], options[1::2], strict=True)
    )
    refused = run("sample", "--quiet", *(part for pair in given.items() for part in pair), code=2).stderr
    assert message in refused
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "nonsense",
    [
        {"schedule": {"family": "linear"}},
        {"schedule": 7},
        {"first_t": "one"},
        {"training": {"config": "{"}},
        {"training": {"label_dropout": "much"}},
        {"training": 3},
    ],
    ids=str,
)
def test_sample_refuses_a_file_whose_metadata_make_no_sense(plain_folder, tmp_path, nonsense):
    net, about = models.load(plain_folder / "weights.safetensors")
    models.save(tmp_path / "odd.safetensors", net, {**about, **nonsense})
    said = draw(tmp_path, checkpoint=tmp_path / "odd.safetensors", code=2).stderr
    assert re.match(r"error: odd\.safetensors: its metadata (make no sense|say)", said), said


def test_sample_refuses_labels_where_there_are_none(plain_folder):
    assert "knows no classes" in draw(plain_folder, "--label", 1, code=2).stderr
    refused = draw(plain_folder, "--guidance", 1, code=2).stderr
    assert "knows no classes, so there is nothing to lean towards" in refused


def test_guidance_needs_a_network_that_learned_to_do_without(tmp_path):
    train(tmp_path, "label_dropout=0", steps=2)
    assert "was trained with label_dropout=0" in draw(tmp_path, "--guidance", 1, code=2).stderr
    (tmp_path / "weights.safetensors").unlink()
    assert "was trained with label_dropout=0" in draw(tmp_path, "--guidance", 1, code=2).stderr


def test_a_warning_of_ours_is_one_line(run_folder):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        where = ("--checkpoint", run_folder, "--n", 1, "--out", run_folder / "w.npz", "--quiet")
        said = run("sample", *where, "--guidance", -0.5, "--steps", 1).stderr
    assert said.startswith("warning: guidance of strength -0.5 leans away")
    assert said.count("\n") == 1


def test_a_name_that_is_also_a_path_is_not_guessed(run_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run_folder, "digits")
    refused = draw(tmp_path, checkpoint="digits", code=2).stderr
    assert f"Fix: .{os.sep}digits for the path" in refused
    assert draw(tmp_path, checkpoint="./digits")["images"].shape == (4, 8, 8, 1)


def test_an_empty_folder_is_no_training(tmp_path):
    assert "has neither weights.safetensors nor a checkpoint" in draw(tmp_path, code=2).stderr


@pytest.mark.parametrize(("where", "what"), [(os, "fsync"), (files.Path, "replace")])
def test_a_file_is_there_whole_or_not_at_all(where, what, run_folder, tmp_path, monkeypatch):
    """Where writing fails, the file from before is still there, and no part of the new one."""
    (tmp_path / "x.npz").write_bytes(b"before")

    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(where, what, full)
    refused = draw(tmp_path, checkpoint=run_folder, code=2).stderr
    assert "could not be written ([Errno 28]" in refused
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x.npz", b"before")]


def test_a_target_that_cannot_be_is_refused_before_the_work(run_folder, tmp_path, monkeypatch):
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(sampling, "sample", None)
    assert "it is a folder" in draw(tmp_path, checkpoint=run_folder, name="folder.npz", code=2).stderr
    assert "cannot be made" in draw(tmp_path, checkpoint=run_folder, name="file/x.npz", code=2).stderr


# ---------------------------------------------------------------- evaluate


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """What is kept of reference sets stays out of the user's folder."""
    monkeypatch.setattr(metrics.reference, "cache_folder", lambda name: tmp_path_factory.getbasetemp() / name)


def save(path, images, **more):
    np.savez(path, images=images, **more)
    return path


def stored_digits(count):
    """The first digits as `sample` would write them."""
    return data.to_uint8(data.digits().model_range()[:count]).permute(0, 2, 3, 1).numpy()


def evaluated(folder, images, *options, **more):
    """What `evaluate` prints, and what it writes as JSON."""
    where = ("--samples", save(folder / "e.npz", images, **more), "--out", folder / "e.json")
    return run("evaluate", *where, *options).output, json.loads((folder / "e.json").read_text())


def row(output, title):
    """The numbers of samples and real in the row called ``title`` of the table."""
    (line,) = [line for line in output.splitlines() if re.fullmatch(rf"{title}( +[-\d.,]+){{2}}", line)]
    return [float(word.replace(",", "")) for word in line.split()[-2:]]


def test_a_round_trip(run_folder):
    draw(run_folder, "--seed", 3, n=6)
    printed = run("evaluate", "--samples", run_folder / "x.npz").output
    lines = printed.splitlines()
    assert lines[0] == f"samples    6 images of 8 x 8 x 1, {run_folder / 'x.npz'}"
    assert re.fullmatch(r"  weights  weights\.safetensors.*, sha256 [0-9a-f]{16}, average \(EMA\) 0\.5", lines[1])
    assert lines[2] == "  sampler  ddpm, steps 20, guidance none, eta 0, clip static, seed 3, label all"
    assert lines[3] == f"  made by  ddpm_edu {ddpm_edu.__version__}, torch {torch.__version__}"
    assert "reference  1,791 images of digits (all), seen in training" in printed
    assert "real       6 other images of digits (all), kept out of the reference" in printed
    assert 'features   "digits", sha256 ' in printed
    assert "resize none, rounding 8 bits, flips none\nmeasured   with seed 0, ddpm_edu" in printed
    assert f"{evaluation.PROJECTIONS} directions, pixels in [-1, 1]" in printed
    assert row(printed, "images") == [6, 6]
    assert min(row(printed, "Frechet distance") + row(printed, "sliced Wasserstein")) > 0
    assert "NOT EQUAL" not in printed
    assert max(map(len, lines[1:])) <= 120


def test_real_images_are_near_and_noise_is_far(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 1), dtype=np.uint8)
    (real, _), (far, found) = (
        evaluated(tmp_path, images, "--data", "digits") for images in (stored_digits(300), noise)
    )
    for title in ("Frechet distance", "sliced Wasserstein"):
        (is_real, control), (is_far, again) = row(real, title), row(far, title)
        assert is_far > 5 * is_real
        assert is_real < 4 * control
        assert again == control, "the same images are kept out each time"
    assert row(far, "precision")[0] < 0.5 < 0.7 < min(row(real, "precision"))
    assert row(far, "kernel distance")[0] > 10 * abs(row(real, "kernel distance")[1])
    assert found["interval"]["low"] > found["floor"]["mean"] + 5 * found["floor"]["spread"]


def test_the_numbers_are_those_of_metrics(tmp_path):
    """What is kept out of the reference, for which number of samples, and how images are rounded is what they mean."""
    whole = data.digits()
    images = data.to_model_range(data.to_uint8(whole.model_range()))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    samples, held, reference = images[:50], images[order[:50]], images[order[50:]]
    printed, found = evaluated(tmp_path, stored_digits(50), labels=(whole.labels[:50] + 1).numpy() % 10)
    extractor = metrics.features.load("digits")
    f, g, r = map(extractor.features, (samples, held, reference))
    for name, x, y, labels in (("samples", samples, f, (whole.labels[:50] + 1) % 10), ("real", held, g, None)):
        near = metrics.precision_recall(r, y, 3)
        wanted = {
            "n": 50,
            "frechet": metrics.frechet_distance(y, r),
            "kernel": metrics.kernel_distance(y, r),
            "precision": near.precision,
            "recall": near.recall,
            "sliced_wasserstein": metrics.sliced_wasserstein(x, reference, 256, torch.Generator().manual_seed(0)),
            "agreement": metrics.agreement(extractor.logits(x), whole.labels[order[:50]] if labels is None else labels),
        }
        assert found["numbers"][name] == pytest.approx(wanted, rel=1e-4), name
    assert found["numbers"]["samples"]["agreement"] < 0.1, "labels that are all wrong"
    seeded = torch.Generator().manual_seed
    floor = metrics.floor(extractor.features(images), 50, 20, seeded(0))
    assert list(found["floor"].values()) == pytest.approx([*floor], rel=1e-4)
    interval = metrics.bootstrap(f, r, repeats=200, generator=seeded(0))
    told = [found["interval"][name] for name in ("low", "high", "bias")]
    assert told == pytest.approx([*interval[1:]], rel=1e-4)
    for name, (title, form) in {
        "frechet": ("Frechet distance", ".4f"),
        "agreement": ("agreement of labels", ".3f"),
    }.items():
        both = [float(format(found["numbers"][column][name], form)) for column in ("samples", "real")]
        assert row(printed, title) == both


def test_more_samples_than_can_be_kept_out_are_said_to_be_more(tmp_path):
    printed, found = evaluated(tmp_path, stored_digits(900))
    assert row(printed, "images") == [900, 898]
    assert "NOT EQUAL: 898 real images could be kept out beside 900 samples" in printed
    assert (found["floor"]["n"], found["reference"]["images"], found["reference"]["kept_out"]) == (898, 899, 898)


def test_images_that_were_trained_on_can_be_below_the_floor(tmp_path):
    """Every second digit: each is at no distance from one that was trained on."""
    printed, found = evaluated(tmp_path, stored_digits(1797)[np.arange(1797) % 2 == 0])
    assert found["nearest"]["median"] == 0 and found["nearest"]["median_real"] > 1
    assert "No image is left that the networks were not trained on" in printed
    found["numbers"]["samples"]["frechet"] = 0.0
    assert "BELOW THE FLOOR" in evaluation_card.card(found)
    found["numbers"]["samples"]["frechet"] = 99.0
    assert "BELOW THE FLOOR" not in evaluation_card.card(found)


def test_copies_of_training_images_are_found_where_others_were_kept_out(monkeypatch):
    """For a data set whose networks did not see the reference: noise for images, and half of the samples copies."""
    noise = torch.randint(0, 256, (600, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    training, test, fresh = data.ImageSet("t", noise[:300]), data.to_model_range(noise[300:500]), noise[500:]
    monkeypatch.setattr(data, "fashion_mnist", {"train": training}.__getitem__)
    source, held = evaluation.SOURCES["fashion_mnist"], data.to_model_range(fresh[:50])
    copied, new = (
        evaluation.nearest(data.to_model_range(x), held, test, source, test)
        for x in (torch.cat([noise[:50], fresh[:50]]), fresh)
    )
    assert copied["images"] == 100 and copied["training_images"] == 300
    assert 0.5 <= copied["shares"]["distance"]["share"] < 0.6 and copied["shares"]["distance"]["p_value"] < 1e-6
    assert copied["shares"]["ratio"]["p_value"] < 1e-6
    assert new["shares"]["distance"]["p_value"] > 0.01, "negative control"
    monkeypatch.setattr(evaluation, "LOOKS", 1)
    assert evaluation.nearest(test, held, test, source, test)["images"] == evaluation.LEAST_LOOKS


def escaped(text):
    return np.array(text)


NOT_FACTS = {
    "no JSON": escaped("{"),
    "a list": escaped('["method"]'),
    "a number": escaped("7"),
    "nested without end": escaped("[" * 10_000),
    "digits without end": escaped('{"seed": ' + "9" * 5000 + "}"),
    "too much": escaped(json.dumps({"method": "ddim", "filler": "x" * 10**5})),
    "bytes": np.array(b'{"method": "ddim"}'),
    "two": np.array(['{"method": "ddim"}'] * 2),
    "numbers": np.zeros((3, 3)),
    "other keys": escaped('{"price": 3}'),
    "nested": escaped('{"method": {"name": "ddim"}, "steps": [3], "seed": 1e999, "clip": NaN}'),
    "an escape sequence": escaped(json.dumps({"method": "\x1b[2J", "checkpoint": "a\nb", "clip": "\u202eb"})),
    "long": escaped(json.dumps({"method": "x" * 101, "seed": 2**70})),
}


@pytest.mark.parametrize("about", NOT_FACTS.values(), ids=NOT_FACTS)
def test_what_a_stranger_says_of_a_file_is_not_trusted(about, tmp_path):
    stored = files.read(save(tmp_path / "x.npz", stored_digits(4), about=about))
    assert stored.about == {}
    assert stored.images.shape == (4, 1, 8, 8)


class Harm:
    def __reduce__(self):
        return (print, ("ran",))


def test_a_pickle_in_a_file_is_not_run(tmp_path, capsys):
    harm = np.array([Harm()] * 4, dtype=object)
    np.savez(tmp_path / "x.npz", images=stored_digits(4), about=harm, labels=harm)
    stored = files.read(tmp_path / "x.npz")
    assert (stored.about, stored.labels) == ({}, None)
    assert capsys.readouterr().out == ""


def test_what_a_file_does_not_say_is_not_known(tmp_path):
    printed, found = evaluated(
        tmp_path, stored_digits(10), about=escaped('{"steps": 5, "eta": 0.25, "guidance": null}')
    )
    assert "  weights  not known, sha256 not known, average (EMA) not known\n" in printed
    assert "  sampler  not known, steps 5, guidance none, eta 0.25, clip not known, seed not known" in printed
    assert re.search(r"agreement of labels +not known +[\d.]+\n", printed)
    assert found["samples"]["about"] == {"steps": 5, "eta": 0.25, "guidance": None}
    assert found["numbers"]["samples"]["agreement"] is None


@pytest.mark.parametrize(
    "labels",
    [np.zeros(3, int), np.zeros((4, 1), int), np.zeros(4), np.array([0, 1, 2, -1]), np.zeros((4, 10**6), int)],
    ids=["too few", "a column", "floats", "none", "large"],
)
def test_labels_that_are_none_are_not_known(labels, tmp_path):
    assert files.read(save(tmp_path / "x.npz", stored_digits(4), labels=labels)).labels is None
    ten = np.array([0, 1, 2, 10])
    assert files.read(save(tmp_path / "x.npz", stored_digits(4), labels=ten)).labels.tolist() == [0, 1, 2, 10]
    assert evaluated(tmp_path, stored_digits(4), labels=ten)[1]["numbers"]["samples"]["agreement"] is None


def test_evaluate_writes_only_json(tmp_path):
    x = save(tmp_path / "x.npz", stored_digits(4))
    refused = run("evaluate", "--samples", x, "--out", tmp_path / "y.txt", code=2).stderr
    assert "its end says what to write, .json (all numbers), not '.txt'" in refused
    assert list(tmp_path.iterdir()) == [x]


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (np.zeros((4, 8, 8, 1), np.float32), (), '"images" is float32 (4, 8, 8, 1); uint8 (N, H, W, 1 or 3)'),
        (np.zeros((4, 1, 8, 8), np.uint8), (), "channels in front"),
        (np.zeros((0, 8, 8, 1), np.uint8), (), "N >= 1, is expected"),
        (np.zeros((4, 9, 9, 1), np.uint8), (), "error: --data must be digits or fashion_mnist, got 'none'"),
        (np.zeros((4, 8, 8, 1), np.uint8), ("--data", "cifar10"), "got 'cifar10' for images of 8 x 8 x 1"),
        (np.zeros((4, 9, 9, 1), np.uint8), ("--data", "digits"), "has images of 9 x 9 x 1, digits of 8 x 8 x 1"),
        (np.eye(8, dtype=np.uint8)[None, ..., None], (), "x.npz holds 1 images; at least 4 are needed"),
        (np.array([[[[{}]]]]), (), "cannot be read as samples"),
    ],
)
def test_evaluate_refuses(images, options, message, tmp_path):
    refused = run("evaluate", "--samples", save(tmp_path / "x.npz", images), *options, code=2).stderr
    assert message in refused
    assert refused.startswith("error: ")


def test_evaluate_refuses_what_is_no_npz(run_folder, tmp_path):
    missing = run("evaluate", "--samples", tmp_path / "x.npz", code=2).stderr
    assert missing == f"error: there is no file {tmp_path / 'x.npz'}.\n"
    draw(run_folder)
    whole, buffer = (run_folder / "x.npz").read_bytes(), io.BytesIO()
    np.savez(buffer, labels=np.zeros(3))
    flipped = bytearray(whole)
    flipped[100] ^= 255
    contents = {"text": b"no zip", "cut": whole[: len(whole) // 2], "other": buffer.getvalue(), "flipped": flipped}
    for name, content in contents.items():
        (tmp_path / "x.npz").write_bytes(content)
        refused = run("evaluate", "--samples", tmp_path / "x.npz", code=2).stderr
        assert "cannot be read as samples" in refused, name
        assert "pickle" not in refused, name


def test_what_is_written_is_read(tmp_path):
    images = torch.randint(0, 256, (3, 3, 5, 6), dtype=torch.uint8)
    labels, about = torch.tensor([2, 0, 1]), {"method": "ddim", "steps": 3, "guidance": None, "eta": 0.5}
    files.write(tmp_path / "x.npz", files.npz(images, labels, about))
    found = files.read(tmp_path / "x.npz")
    assert torch.equal(found.images, images) and torch.equal(found.labels, labels)
    assert found.about == about
    files.write(tmp_path / "x.npz", files.npz(images, None, {}))
    assert files.read(tmp_path / "x.npz")[1:] == (None, {})


# ---------------------------------------------------------------- plan


def test_plan_prints_an_estimate_and_its_assumptions():
    printed = run("plan", "cifar10", "--gpu", "h100").output
    assert printed.startswith("ESTIMATES: nothing was trained")
    assert "35,746,307 parameters" in printed
    assert "800,000 steps, 102.40 million images" in printed
    assert "Assumed: a step reaches 15% of the published dense peak" in printed
    assert "H100 SXM" in printed
    assert "A100" not in printed


def test_plan_hears_its_options(monkeypatch):
    monkeypatch.setattr(planner, "measured", lambda config, seconds: 100.0)
    settings = ("--set", "steps=3600", "--set", "batch=100", "--set", "compile=true")
    printed = run("plan", "digits-cpu", *settings, "--measure").output
    for gpu in planner.GPUS:
        assert gpu.name in printed
    assert "reaches 30% of" in printed, "compiled"
    (row,) = [line for line in printed.splitlines() if line.startswith("this CPU")]
    assert row.split()[-6:] == ["100", "1.0", "s", "60.0", "min", "measured"]
    assert "Measured: images/s of this CPU" in printed
    assert "reaches 50% of" in run("plan", "digits-cpu", "--gpu", "t4", "--utilisation", 0.5).output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("cifar10", "--gpu", "V100"), "error: no GPU is called 'V100'; the table has H100 SXM, A100 80G"),
        (("cifar10", "--utilisation", 30), "error: utilisation is the share of the peak"),
        (("cifar10", "--set", "batsch=1"), "Did you mean batch"),
        (("cifar11",), "Did you mean cifar10"),
    ],
)
def test_plan_refuses(options, message):
    assert message in run("plan", *options, code=2).stderr


# ---------------------------------------------------------------- as a program


def test_the_module_runs():
    command = [sys.executable, "-m", "ddpm_edu", "data", "fetch", "no-such-set"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown data set 'no-such-set'")
    assert done.stderr.count("\n") == 1
