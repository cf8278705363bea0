"""Averaged weights against torch's own, against their closed forms, and where a careless average stands still."""

import copy
import math
import warnings

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ddpm_edu.errors import CheckpointError, ConfigError, TrainingWarning
from ddpm_edu.training import ema
from tests.training import runs
from tests.training.runs import TINY


def net(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).to(dtype)


def wander(network, steps, seed=0):
    """The weights of a network on a random walk, step by step; its buffers move too."""
    g = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        with torch.no_grad():
            for p in network.parameters():
                p.add_(torch.randn(p.shape, generator=g).to(p.dtype))
            network[1].running_mean.add_(1)
            network[1].num_batches_tracked.add_(1)
        yield


def one_number(rate, values, first=0.0):
    """The average of a network with one weight, which is set to each of the values in turn."""
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, first)
    averages = ema.Averages(network, {"it": rate})
    for value in values:
        nn.init.constant_(network.weight, value)
        averages.update(network)
    return averages.weights["it"]["weight"].item()


# ---------------------------------------------------------------- R11: torch's own


def test_without_warm_up_it_is_torchs_average_bit_for_bit():
    """torch's copies the weights at its first update: with that one at the first weights, both average the same."""
    for decay in (0.9, 0.999):
        network = net()
        theirs = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay))
        theirs.update_parameters(network)
        averages = ema.Averages(network, {"it": ema.constant(decay)})
        for _ in wander(network, 50):
            theirs.update_parameters(network)
            averages.update(network)
        ours = averages.net(network, "it")
        for (name, p), q in zip(ours.named_parameters(), theirs.module.parameters(), strict=True):
            assert torch.equal(p, q), name
        for p, q in zip(ours.buffers(), theirs.module.buffers(), strict=True):
            assert torch.equal(p, q), "torch, too, copies buffers unless it is told otherwise"


def test_several_averages_are_each_what_they_would_be_alone():
    network, rates = net(), {"a": ema.constant(0.5), "b": ema.warmed_up(0.99), "c": ema.power(0.1)}
    together = ema.Averages(network, rates)
    alone = {name: ema.Averages(network, {name: rate}) for name, rate in rates.items()}
    for _ in wander(network, 20):
        together.update(network)
        for averages in alone.values():
            averages.update(network)
    for name, averages in alone.items():
        for key, value in averages.weights[name].items():
            assert torch.equal(together.weights[name][key], value)


def test_closed_form_after_n_steps():
    """Weights that stay at 1 after a start at 0: the average is 1 - decay^n."""
    for decay, n in ((0.9, 20), (0.99, 100), (0.0, 1)):
        assert one_number(ema.constant(decay), [1.0] * n) == pytest.approx(1 - decay**n, rel=1e-5)


def test_warm_up_forgets_the_first_weights():
    """min(decay, (1 + n) / (10 + n)): after n steps of it, what is left of the first is a product in closed form."""
    n = 50
    left = math.prod((1 + k) / (10 + k) for k in range(1, n + 1))
    assert one_number(ema.warmed_up(0.9999), [1.0] * n) == pytest.approx(1 - left, rel=1e-5)
    assert left < 1e-7
    assert ema.warmed_up(0.9999)(1) == 2 / 11
    assert [ema.warmed_up(0.5)(n) for n in (7, 8, 9, 10)] == pytest.approx([8 / 17, 0.5, 0.5, 0.5])


def test_a_power_function_average_is_its_integral():
    """After n updates, update k counts for the integral of (g + 1) t^g / n^(g + 1) from k - 1 to k: exactly."""
    values = torch.randn(300, generator=torch.Generator().manual_seed(0)).tolist()
    for width in (0.05, 0.1, 0.2):
        power = ema.gamma_of(width) + 1
        n = len(values)
        shares = [(k / n) ** power - ((k - 1) / n) ** power for k in range(1, n + 1)]
        assert sum(shares) == pytest.approx(1)
        want = sum(share * value for share, value in zip(shares, values, strict=True))
        assert one_number(ema.power(width), values, first=1e6) == pytest.approx(want, abs=1e-4)


def test_the_width_is_the_standard_deviation_of_the_profile():
    """As a share of the training; the profile (g + 1) t^g on 0..1, by sums."""
    t = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    for width in (0.01, 0.05, 0.1, 0.25):
        profile = t ** ema.gamma_of(width)
        profile = profile / profile.sum()
        mean = (profile * t).sum()
        assert (profile * (t - mean).square()).sum().sqrt().item() == pytest.approx(width, rel=1e-4)
    assert ema.gamma_of(0.05) == pytest.approx(16.97, abs=0.01), "EDM2, section 3.1"
    assert ema.gamma_of(0.10) == pytest.approx(6.94, abs=0.01)


# ---------------------------------------------------------------- kinds of numbers


def test_the_average_of_a_bfloat16_network_moves():
    """In bfloat16, 0.9999 of the old and 0.0001 of the new rounds to the old, for ever."""
    network = net(torch.bfloat16)
    with torch.no_grad():
        for p in network.parameters():
            p.fill_(1)
    averages = ema.Averages(network, {"it": ema.constant(0.9999)})
    stuck = copy.deepcopy(network)
    with torch.no_grad():
        for p in network.parameters():
            p.fill_(2)
        for _ in range(2000):
            averages.update(network)
            torch._foreach_lerp_(list(stuck.parameters()), list(network.parameters()), 1e-4)
    want = 2 - 0.9999**2000
    for value in averages.weights["it"].values():
        assert value.dtype == torch.float32
        assert torch.allclose(value, torch.full_like(value, want), rtol=1e-4)
    assert all((p == 1).all() for p in stuck.parameters()), "(what the careless way would give)"
    sampled_from = averages.net(network, "it")
    assert {p.dtype for p in sampled_from.parameters()} == {torch.bfloat16}


def test_buffers_are_those_of_the_network_not_averages():
    """A count of batches is no weight: its average would stand still at the first integer."""
    network = net()
    averages = ema.Averages(network, {"it": ema.constant(0.99)})
    for _ in wander(network, 50):
        averages.update(network)
    averaged = averages.net(network, "it")
    assert averaged[1].num_batches_tracked.item() == 50
    assert torch.equal(averaged[1].running_mean, torch.full((4,), 50.0))
    assert not any("running" in key or "batches" in key for key in averages.weights["it"])


def test_the_network_is_not_touched_nor_the_average_by_its_copy():
    network = net()
    averages = ema.Averages(network, {"it": ema.constant(0.5)})
    before = copy.deepcopy(network.state_dict())
    averaged = averages.net(network, "it")
    assert network.training and not averaged.training
    assert not any(p.requires_grad for p in averaged.parameters())
    with torch.no_grad():
        averaged[0].weight.zero_()
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert torch.equal(averages.weights["it"]["0.weight"], before["0.weight"])


# ---------------------------------------------------------------- saved and found again


def test_the_state_travels_with_its_count():
    """The warm-up goes on where it was."""
    network, rates = net(), {"it": ema.warmed_up(0.999)}
    averages = ema.Averages(network, rates)
    walk = wander(network, 12)
    for _ in range(6):
        next(walk)
        averages.update(network)
    again = ema.Averages(net(), rates)
    again.load_state_dict(copy.deepcopy(averages.state_dict()))
    for _ in walk:
        averages.update(network)
        again.update(network)
    assert again.updates == averages.updates == 12
    assert all(torch.equal(value, again.weights["it"][key]) for key, value in averages.weights["it"].items())


def test_other_averages_or_another_network_are_refused():
    averages = ema.Averages(net(), {"0.9": ema.constant(0.9)})
    with pytest.raises(ConfigError, match=r"has the averages \['0\.9'\], the configuration \['0\.99'\]"):
        ema.Averages(net(), {"0.99": ema.constant(0.99)}).load_state_dict(averages.state_dict())
    with pytest.raises(ConfigError, match="is of another network"):
        ema.Averages(nn.Linear(3, 4), {"0.9": ema.constant(0.9)}).load_state_dict(averages.state_dict())
    other = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
    with pytest.raises(ConfigError, match="is of another network"):
        ema.Averages(other, {"0.9": ema.constant(0.9)}).load_state_dict(averages.state_dict())


def test_a_run_that_asks_for_other_averages_is_told_that_they_cannot_be_had():
    with runs.folder() as out:
        runs.train(out)
        with pytest.raises(CheckpointError, match="has the averages"):
            runs.train(out, TINY.changed({"ema": (0.9, 0.99)}), allow=("ema",))


def test_names():
    found = ema.rates((0.9999, 0.99), warmup=True, widths=(0.05, 0.1))
    assert list(found) == ["0.9999", "0.99", "power 0.05", "power 0.1"]
    assert found["0.9999"](1) == 2 / 11 and ema.rates((0.9999,), warmup=False)["0.9999"](1) == 0.9999
    assert list(ema.rates((0.99999991, 0.99999992), True)) == ["0.99999991", "0.99999992"], "not both '1'"


# ---------------------------------------------------------------- too slow


def test_what_is_left_of_the_first_weights():
    assert ema.share_of_the_first(ema.constant(0.9999), 2000) == pytest.approx(0.82, abs=0.005)
    assert ema.share_of_the_first(ema.constant(0.9999), 20_000) == pytest.approx(0.135, abs=0.001)
    assert ema.share_of_the_first(ema.warmed_up(0.9999), 2000) < 1e-10
    assert ema.share_of_the_first(ema.power(0.1), 5) == 0


def test_an_average_that_is_too_slow_for_the_run_is_said(tmp_path):
    config = TINY.changed({"ema": (0.9999,), "ema_warmup": False, "steps": 2000})
    with pytest.warns(TrainingWarning, match=r"after 2000 steps 82% of the average '0\.9999'.*Fix: ema_warmup=True"):
        runs.begun(tmp_path, config)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runs.begun(tmp_path, config.changed({"ema_warmup": True}))
        ema.warn_if_slow({"0.9999": ema.constant(0.9999)}, 100_000)


@pytest.mark.parametrize("decay", [1.0, -0.1, 99.99, math.nan])
def test_decays_that_cannot_be(decay):
    for kind in (ema.constant, ema.warmed_up):
        with pytest.raises(ConfigError, match=r"an EMA decay lies in \[0, 1\)"):
            kind(decay)


@pytest.mark.parametrize("width", [0.0, 1e-8, 0.3, -1.0, math.nan])
def test_widths_that_cannot_be(width):
    with pytest.raises(ConfigError, match=rf"lies in \(1e-5, 0\.28\), got {width}"):
        ema.power(width)
