"""Averages of any width out of snapshots of two: against the average itself, and inner products against sums."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from ddpm_edu.errors import CheckpointError, ConfigError
from ddpm_edu.training import checkpoint, ema, posthoc
from tests.training import faults, runs
from tests.training.runs import TINY

KEPT = (0.05, 0.1)
OTHERS = (0.03, 0.05, 0.06, 0.07, 0.1, 0.15, 0.2)


def wandered(out, every, steps=600, kept=KEPT, direct=OTHERS):
    """A synthetic training, weights that approach a goal and jump about it: the averages that it should have had."""
    g = torch.Generator().manual_seed(0)
    net = nn.Linear(20, 20)
    averages = ema.Averages(net, ema.rates((0.9,), True, kept))
    wanted = ema.Averages(net, ema.rates((0.9,), True, direct))
    goal = torch.randn(20, 20, generator=g)
    for step in range(1, steps + 1):
        left = math.exp(-4 * step / steps)
        with torch.no_grad():
            net.weight.copy_(goal * (1 - left) + (0.1 + left) * torch.randn(20, 20, generator=g))
        averages.update(net)
        wanted.update(net)
        if step % every == 0:
            posthoc.write(out, step, averages)
    return {width: wanted.weights[ema.power_name(width)] for width in direct}


def off_by(found, wanted):
    return ((found["weight"] - wanted["weight"]).norm() / wanted["weight"].norm()).item()


def test_any_width_out_of_two():
    with runs.folder() as out:
        wanted = wandered(out, every=20)
        for width, weights in wanted.items():
            assert off_by(posthoc.average(out, width), weights) < 2e-3, width
        apart = off_by(wanted[0.03], wanted[0.2])
        assert apart > 0.05, "and they are not all the same"


def test_a_width_that_was_kept_comes_back():
    with runs.folder() as out:
        wanted = wandered(out, every=50)
        for width in KEPT:
            found = posthoc.average(out, width)
            for key, value in wanted[width].items():
                assert found[key].dtype == torch.float32 and torch.allclose(found[key], value, atol=1e-6)


def test_more_snapshots_are_closer():
    errors = []
    for every in (100, 50, 25):
        with runs.folder() as out:
            wanted = wandered(out, every)
            errors.append(off_by(posthoc.average(out, 0.15), wanted[0.15]))
    assert errors[0] > 4 * errors[1] > 16 * errors[2]


def test_the_average_of_an_earlier_step_sees_nothing_of_what_came_later():
    with runs.folder() as out, runs.folder() as shorter:
        wandered(out, every=30)
        early = posthoc.average(out, 0.07, step=300)
        for path in checkpoint.listed(out / "snapshots"):
            if checkpoint.step_of(path) <= 300:
                (shorter / "snapshots").mkdir(exist_ok=True)
                (shorter / "snapshots" / path.name).write_bytes(path.read_bytes())
        assert torch.equal(posthoc.average(shorter, 0.07)["weight"], early["weight"])
        assert off_by(early, posthoc.average(out, 0.07)) > 0.02


def test_inner_products_by_quadrature():
    """<p_a, p_b> as a sum over a fine grid, for profiles of equal and unequal length, in both orders."""
    grid = (torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000

    def profile(t, gamma):
        return torch.where(grid <= t, (gamma + 1) * grid**gamma / t ** (gamma + 1), 0.0)

    rows = ((1, 7, 1, 17), (0.3, 7, 1, 17), (1, 7, 0.3, 17), (0.5, 2, 0.6, 0.5), (1, 3, 1, 3))
    for t_a, gamma_a, t_b, gamma_b in rows:
        given = [torch.tensor(v, dtype=torch.float64) for v in (t_a, gamma_a, t_b, gamma_b)]
        found = posthoc.inner(*given).item()
        assert found == pytest.approx((profile(t_a, gamma_a) * profile(t_b, gamma_b)).mean().item(), rel=1e-4)
        assert found == pytest.approx(posthoc.inner(*given[2:], *given[:2]).item(), rel=1e-12)


def test_coefficients_are_the_least_squares_fit_of_the_profiles():
    """Against torch's least squares on profiles drawn on a grid; and they add up to about 1, as profiles do."""
    steps, widths = [100, 200, 300, 400] * 2, [0.05] * 4 + [0.1] * 4
    grid = (torch.arange(40_000, dtype=torch.float64) + 0.5) / 100

    def profile(t, width):
        gamma = ema.gamma_of(width)
        return torch.where(grid <= t, (gamma + 1) * (grid / t) ** gamma / t, 0.0)

    columns = torch.stack([profile(t, w) for t, w in zip(steps, widths, strict=True)], 1)
    fitted = torch.linalg.lstsq(columns, profile(400, 0.08)[:, None]).solution[:, 0]
    found = posthoc.coefficients(steps, widths, 400, 0.08)
    assert found.dtype == torch.float64
    assert torch.allclose(found, fitted, atol=1e-3)
    assert found.sum().item() == pytest.approx(1, abs=0.02)


def test_one_kept_width_alone_is_what_it_is():
    assert posthoc.coefficients([50, 100], [0.1, 0.1], 100, 0.1).tolist() == pytest.approx([0, 1], abs=1e-9)


# ---------------------------------------------------------------- in a run

WITH = replace(TINY, ema_widths=KEPT, snapshot_every=4)


def test_a_run_keeps_its_snapshots_and_changes_no_bit(tmp_path):
    report = runs.train(tmp_path, WITH)
    files = checkpoint.listed(tmp_path / "snapshots")
    assert [checkpoint.step_of(path) for path in files] == [24, 20, 16, 12, 8, 4]
    assert not runs.differing(runs.state(tmp_path), runs.through(replace(WITH, snapshot_every=0)))
    kept = checkpoint.load(files[0])["weights"]
    assert list(kept) == ["power 0.05", "power 0.1"], "not the averages with a decay"
    last = runs.state(tmp_path)["averages"]["weights"]
    assert all(torch.equal(kept[name][key], value) for name in kept for key, value in last[name].items())
    run = runs.begun(tmp_path, WITH)
    run.net.load_state_dict(posthoc.average(tmp_path, 0.07), strict=False)
    assert report.step == 24


def test_a_killed_run_has_the_same_snapshots(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    runs.train(whole, WITH)
    ended = faults.forked(lambda: runs.train(killed, WITH, watch=lambda run: run.step == 17 and faults.die()))
    assert ended.killed
    runs.train(killed, WITH)
    one, other = (posthoc.average(out, 0.07) for out in (whole, killed))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_of_two_snapshots_of_a_step_the_later_counts(tmp_path):
    """A run that went on from before it with other settings."""
    net = nn.Linear(1, 1, bias=False)
    for value in (1.0, 2.0):
        nn.init.constant_(net.weight, value)
        posthoc.write(tmp_path, 10, ema.Averages(net, ema.rates((), True, KEPT)))
    assert len(checkpoint.listed(tmp_path / "snapshots")) == 1
    assert posthoc.average(tmp_path, 0.1)["weight"].item() == pytest.approx(2.0)


def test_what_cannot_be(tmp_path):
    with pytest.raises(CheckpointError, match=r"no snapshot up to step 0 in .*Fix: ema_widths=\(0\.05, 0\.1\)"):
        posthoc.average(tmp_path, 0.1)
    wandered(tmp_path, every=300)
    with pytest.raises(CheckpointError, match="no snapshot up to step 200"):
        posthoc.average(tmp_path, 0.1, step=200)
    with pytest.raises(ConfigError, match="relative width"):
        posthoc.average(tmp_path, 0.5)
    with pytest.raises(ConfigError, match=r"step 1 or later, got step 0"):
        posthoc.coefficients([10], [0.1], 0, 0.1)
    newest = checkpoint.listed(tmp_path / "snapshots")[0]
    runs.flip_byte(newest, 500)
    with pytest.raises(CheckpointError, match=f"{newest.name} is damaged"):
        posthoc.average(tmp_path, 0.1)
