"""A run to look at: what the picture shows, when it is drawn anew, and that looking changes nothing."""

import json
import math
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import IPython
import IPython.display
import matplotlib.pyplot as plt
import pytest
import torch

from ddpm_edu import models, plots, training
from ddpm_edu.errors import ConfigError
from ddpm_edu.training import live, tensorboard
from ddpm_edu.training.meter import read_log

CONFIG = replace(
    training.presets.DIGITS_CPU,
    net=replace(models.DIGITS, width=8, groups=4, multipliers=(1,), attention=()),
    batch=4,
    steps=6,
    log_every=2,
    save_every=3,
    decay="constant",
    precision="fp32",
)
LOSSES = [0.9, 0.5, 0.4, 0.45, 0.2]


def line(step, loss, quarters=(0.8, 0.4, 0.2, 0.1), **more):
    event = {"kind": "loss", "step": step, "loss": loss, "by_quarter": list(quarters), "lr": 1e-3 * step}
    return json.dumps(event | {"images_per_second": 100.0 + step} | more) + "\n"


@pytest.fixture
def folder(tmp_path):
    """A run of five lines; in the second nobody drew a time of the last quarter."""
    quarters = [(0.8, 0.4, 0.2, 0.1)] * 5
    quarters[1] = (0.8, 0.4, 0.2, None)
    lines = [line(10 * (i + 1), loss, quarters[i]) for i, loss in enumerate(LOSSES)]
    (tmp_path / "log.jsonl").write_text("".join(lines))
    return tmp_path


class Shown:
    """What display(..., display_id=True) gives: it keeps what it was given."""

    def __init__(self, first=None):
        self.pictures = [] if first is None else [first]

    def __call__(self, picture):
        self.pictures.append(picture)
        return self

    def update(self, picture):
        self.pictures.append(picture)


class Clock:
    """A clock that is moved by hand."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def at_step(step, main=True, steps=1000):
    config = SimpleNamespace(steps=steps, log_every=2)
    return SimpleNamespace(step=step, config=config, team=SimpleNamespace(is_main=main))


def curves(ax):
    """The curves of a panel by label, as (x, y) lists."""
    return {drawn.get_label(): (list(map(float, drawn.get_xdata())), list(drawn.get_ydata())) for drawn in ax.lines}


# ---------------------------------------------------------------- the picture


def test_the_picture_shows_the_log(folder):
    picture = live.plot(folder)
    loss, quarters, lr, speed = (curves(ax) for ax in picture.axes)
    steps = [10.0, 20.0, 30.0, 40.0, 50.0]
    assert loss["each log line"] == (steps, LOSSES)
    assert lr["lr"] == (steps, pytest.approx([1e-3 * step for step in steps]))
    (found,) = speed.values()
    assert found == (steps, [100.0 + step for step in steps])
    assert list(quarters) == ["first quarter", "second quarter", "third quarter", "last quarter"]
    assert quarters["first quarter"][1] == pytest.approx([0.8] * 5), "a mean of equal numbers is that number"
    last = quarters["last quarter"][1]
    assert math.isnan(last[1]), "a gap, not a zero"
    assert last[2] == pytest.approx(0.1)
    assert [ax.get_yscale() for ax in picture.axes] == ["log", "log", "linear", "linear"]
    assert [ax.get_xlabel() for ax in picture.axes] == ["step"] * 4
    assert all(ax.get_ylabel() for ax in picture.axes)
    assert picture.png().startswith(b"\x89PNG")
    assert plt.get_fignums() == [], "no figure of pyplot's"


def test_the_smooth_curve_is_a_mean_of_what_was(folder):
    """Weights 0.9^k into the past, divided by their sum."""
    found = curves(live.plot(folder).axes[0])["smoothed"][1]
    for i, value in enumerate(found):
        weights = [0.9 ** (i - j) for j in range(i + 1)]
        wanted = sum(w * x for w, x in zip(weights, LOSSES, strict=False)) / sum(weights)
        assert value == pytest.approx(wanted)


def test_nan_is_a_gap_and_spoils_nothing():
    found = live.smoothed(torch.tensor([math.nan, 1.0, math.inf, 3.0]), 0.5)
    assert found.isnan().tolist() == [True, False, True, False]
    assert found[3] == pytest.approx((0.5 * 1 + 3) / 1.5)


def test_of_a_repeated_step_the_last_counts(folder):
    """A killed run goes on from its checkpoint and does some steps again."""
    with (folder / "log.jsonl").open("a") as file:
        file.write(line(40, 0.3) + '{"kind": "loss", "st')
    steps, losses = curves(live.plot(folder).axes[0])["each log line"]
    assert steps == [10.0, 20.0, 30.0, 40.0, 50.0]
    assert losses == [0.9, 0.5, 0.4, 0.3, 0.2]


def test_where_there_is_nothing_yet_the_picture_says_so(tmp_path):
    for text in (None, "", '{"kind": "loss", "st'):
        if text is not None:
            (tmp_path / "log.jsonl").write_text(text)
        picture = live.plot(tmp_path)
        assert [text.get_text() for text in picture.texts] == [f"{tmp_path.name}: no line in log.jsonl yet"]
        assert picture.png().startswith(b"\x89PNG")


def test_a_run_that_diverges_at_once_can_be_drawn(tmp_path):
    (tmp_path / "log.jsonl").write_text(line(1, math.nan, [None, None, math.nan, math.nan]))
    assert live.plot(tmp_path).png().startswith(b"\x89PNG")


def test_the_newest_line_is_the_last_that_was_written_up_to_a_step(folder):
    """A killed run has written lines behind its checkpoint: where it goes on, they are not yet true."""
    assert [(live.newest_line(folder, step) or {}).get("step") for step in (9, 10, 39, 40, 1000)] == [
        None, 10, 30, 40, 50,
    ]  # fmt: skip
    with (folder / "log.jsonl").open("a") as file:
        file.write(line(40, 0.3) + '{"kind": "loss", "st')
    assert live.newest_line(folder, 45)["loss"] == 0.3, "the later one counts"


def test_of_a_long_log_only_the_end_is_read(tmp_path):
    assert live.newest_line(tmp_path, 5) is None
    (tmp_path / "log.jsonl").write_text("".join(line(step, 0.5) for step in range(1, 2000)))
    assert live.newest_line(tmp_path, 5000)["step"] == 1999
    assert live.newest_line(tmp_path, 5) is None


# ---------------------------------------------------------------- while it trains


def test_it_is_drawn_now_and_then_and_after_the_last_step(folder):
    shown, clock = Shown(), Clock()
    watch = live.LivePlot(folder, 5.0, shown, clock)
    assert len(shown.pictures) == 1, "at once, so that the place is taken"
    for step, now, drawn in ((1, 0.1, 1), (2, 4.9, 1), (3, 5.0, 2), (4, 9.9, 2), (5, 10.1, 3)):
        clock.now = now
        watch(at_step(step))
        assert len(shown.pictures) == drawn, (step, now)
    watch(at_step(1000))
    assert len(shown.pictures) == 4
    watch.update()
    assert len(shown.pictures) == 5
    assert all(isinstance(picture, plots.Picture) for picture in shown.pictures)


def test_only_the_first_process_draws(folder):
    shown = Shown()
    live.LivePlot(folder, 0.0, shown)(at_step(5, main=False))
    assert len(shown.pictures) == 1


def test_without_a_notebook_nothing_is_drawn(folder, monkeypatch):
    monkeypatch.setattr(live, "plot", None)
    for shell in (None, SimpleNamespace(kernel=None)):
        monkeypatch.setattr(IPython, "get_ipython", lambda shell=shell: shell)
        watch = live.watch_run(folder, 0.0)
        watch(at_step(1))
        watch.update()
    monkeypatch.setitem(sys.modules, "IPython", None)
    live.watch_run(folder, 0.0)(at_step(1000))


def test_in_a_notebook_one_display_is_updated(folder, monkeypatch):
    shown = Shown()

    def display(picture, display_id):
        assert display_id is True
        return shown(picture)

    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setattr(IPython.display, "display", display)
    watch = live.watch_run(folder, 0.0)
    watch(at_step(1))
    assert len(shown.pictures) == 2


def test_looking_changes_nothing(tmp_path):
    shown = Shown()
    watch = live.LivePlot(tmp_path / "seen", 0.0, shown)
    training.train(CONFIG, tmp_path / "seen", device="cpu", progress=False, watch=watch)
    training.train(CONFIG, tmp_path / "alone", device="cpu", progress=False)
    assert len(shown.pictures) == 1 + CONFIG.steps
    steps, losses = curves(shown.pictures[-1].axes[0])["each log line"]
    assert steps == [2.0, 4.0, 6.0]
    assert losses == [event["loss"] for event in read_log(tmp_path / "seen" / "log.jsonl")]
    seen, alone = (models.load(tmp_path / name / "weights.safetensors")[0].state_dict() for name in ("seen", "alone"))
    assert all(torch.equal(seen[key], alone[key]) for key in alone)


# ---------------------------------------------------------------- TensorBoard


class Writer:
    """Stands in for torch.utils.tensorboard.SummaryWriter."""

    made = ()

    def __init__(self, folder, purge_step):
        self.folder, self.purge_step, self.scalars = folder, purge_step, []
        Writer.made = (*Writer.made, self)

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))

    def flush(self):
        pass


@pytest.fixture
def made(monkeypatch):
    """A TensorBoard that is there; the writers that were made."""
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(Writer, "made", ())
    return lambda: Writer.made


def test_without_tensorboard_the_fix_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match="Fix: python -m pip install tensorboard"):
        tensorboard.writer(tmp_path)


def test_tensorboard_gets_what_the_log_says(tmp_path, made):
    for steps in (4, 5):  # the second goes on at 4, and ends between two lines
        watch = tensorboard.writer(tmp_path)
        training.train(replace(CONFIG, steps=steps), tmp_path, device="cpu", progress=False, watch=watch)
    first, second = made()
    assert first.folder == str(tmp_path / "tensorboard")
    assert (first.purge_step, second.purge_step) == (1, 5)
    wanted = []
    for event in read_log(tmp_path / "log.jsonl"):
        step = event["step"]
        wanted += [("loss/all", event["loss"], step), ("lr", event["lr"], step)]
        wanted += [("images per second", event["images_per_second"], step)]
        names = ("the first", "the second", "the third", "the last")
        quarters = zip(names, event["by_quarter"], strict=True)
        wanted += [(f"loss/{name} quarter of t", value, step) for name, value in quarters if value is not None]
    assert first.scalars + second.scalars == wanted
    assert {step for _, _, step in wanted} == {2, 4, 5}


def test_tensorboard_is_not_stopped_by_a_line_that_a_kill_has_cut(tmp_path, made):
    (tmp_path / "log.jsonl").write_text(line(2, 0.5) + '{"kind": "loss", "step": 4, "lo\n' + line(4, 0.4))
    tensorboard.writer(tmp_path)(at_step(4))
    (writer,) = made()
    assert ("loss/all", 0.4, 4) in writer.scalars


def test_tensorboard_reads_the_end_of_a_long_log(tmp_path, made):
    (tmp_path / "log.jsonl").write_text("".join(line(2 * i, 0.5) for i in range(1, 200)))
    watch = tensorboard.writer(tmp_path)
    watch(at_step(398, main=False))
    assert made() == (), "only the first process writes"
    watch(at_step(397))
    watch(at_step(398))
    (writer,) = made()
    assert {step for _, _, step in writer.scalars} == {398}
