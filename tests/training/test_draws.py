"""The randomness of a step: all of it a function of (seed, step), each image once an epoch, nobody's world size."""

import math

import pytest
import torch

from ddpm_edu.training import draws
from tests.training.runs import CPU


def drawn(step=0, seed=0, batch=64, n=200, T=50, shape=(1, 4, 4), hidden=0.1):
    return draws.draw(seed, step, batch, n, T, shape, hidden, CPU)


# ---------------------------------------------------------------- which images


def test_every_image_once_an_epoch():
    """For sets that the batch divides, does not divide, and that are smaller than a batch."""
    for n, batch in ((12, 4), (12, 12), (10, 4), (7, 3), (5, 12), (1, 4), (97, 16)):
        steps = math.ceil(4 * n / batch)
        order = torch.cat([draws.order(3, step, batch, n) for step in range(steps)])[: 4 * n].view(4, n)
        assert torch.equal(order.sort(1).values, torch.arange(n).expand(4, n)), (n, batch)
        assert order.dtype == torch.int64


def test_in_another_order_each_epoch_and_for_each_seed():
    orders = set()
    for seed in range(3):
        for first in (0, 5, 10, 15):
            orders.add(tuple(torch.cat([draws.order(seed, first + step, 10, 50) for step in range(5)]).tolist()))
    assert len(orders) == 12 and tuple(range(50)) not in orders


def test_the_order_is_uniform():
    """Over many epochs each image is as often in each place."""
    counts = torch.zeros(5, 5)
    for epoch in range(2000):
        counts[torch.arange(5), draws.permutation(0, epoch, 5)] += 1
    assert (counts - 400).abs().max() < 4.5 * math.sqrt(2000 * 0.2 * 0.8)


# ---------------------------------------------------------------- which rows are whose


def test_the_rows_of_all_processes_and_parts_are_the_batch_once():
    for batch in (3, 5, 8, 13, 64):
        for world in (1, 2, 3):
            for parts in (1, 2, 5):
                shares = [rows for rank in range(world) for rows in draws.rows(batch, rank, world, parts)]
                assert torch.cat(shares).sort().values.tolist() == list(range(batch))
                assert all(len(rows) for rows in shares), "no part is empty"
                sizes = [sum(map(len, draws.rows(batch, rank, world, parts))) for rank in range(world)]
                assert max(sizes) - min(sizes) <= 1


def test_what_is_drawn_knows_of_no_process():
    """Nobody draws for himself: rank and world are no arguments, the whole batch is drawn and each takes his rows."""
    import inspect

    assert not {"rank", "world"} & set(inspect.signature(draws.draw).parameters)


# ---------------------------------------------------------------- the rest


def test_a_step_draws_the_same_again_and_another_step_or_seed_draws_other():
    one, again = drawn(), drawn()
    assert all(map(torch.equal, one, again))
    for other in (drawn(step=1), drawn(seed=1)):
        assert not any(map(torch.equal, one, other))


def test_neighbouring_steps_and_seeds_have_nothing_in_common():
    """The noise of 200 (seed, step) pairs, also those of equal seed + step: correlations are those of chance."""
    noise = torch.stack([drawn(step, seed).noise.flatten() for step in range(20) for seed in range(10)])
    size = noise.shape[1]
    correlations = torch.corrcoef(noise).triu(1)
    assert correlations.abs().max() < 5.5 / math.sqrt(size)
    assert (correlations[correlations != 0] * math.sqrt(size)).std().item() == pytest.approx(1, abs=0.03)


def test_what_is_drawn_is_independent_of_each_other():
    """The streams of one step: no common numbers (times and noise from one generator would be)."""
    d = [drawn(step, batch=1000, n=1000) for step in range(20)]
    columns = [torch.cat([getattr(one, name).float() for one in d]) for name in ("t", "flip", "hide")]
    columns += [torch.cat([one.image.float() for one in d]), torch.cat([one.noise[:, 0, 0, 0] for one in d])]
    correlations = torch.corrcoef(torch.stack(columns)).triu(1)
    assert correlations.abs().max() < 4.5 / math.sqrt(20_000)


def test_times_are_uniform_from_1_to_T():
    t = torch.cat([drawn(step, batch=500, T=10).t for step in range(40)])
    counts = torch.bincount(t, minlength=12)
    assert counts[0] == 0 and counts[11] == 0 and t.dtype == torch.int64
    assert (counts[1:11] - 2000).abs().max() < 4.5 * math.sqrt(20_000 * 0.1 * 0.9)


def test_noise_is_standard_normal():
    noise = torch.cat([drawn(step, batch=100, shape=(3, 8, 8)).noise.flatten() for step in range(10)])
    n = noise.numel()
    assert abs(noise.mean().item()) < 4.5 / math.sqrt(n)
    assert abs(noise.var().item() - 1) < 4.5 * math.sqrt(2 / n)
    assert abs(noise.pow(3).mean().item()) < 4.5 * math.sqrt(15 / n)
    assert abs(noise.pow(4).mean().item() - 3) < 4.5 * math.sqrt(96 / n)
    assert drawn(shape=(3, 8, 5)).noise.shape == (64, 3, 8, 5)


def test_half_of_the_images_are_mirrored():
    flips = torch.stack([drawn(step, batch=100).flip for step in range(100)])
    assert abs(flips.float().mean().item() - 0.5) < 4.5 * math.sqrt(0.25 / 10_000)
    assert flips.sum(1).float().var().item() == pytest.approx(25, rel=0.6), "each for itself"


def test_labels_are_hidden_one_by_one_and_as_often_as_asked():
    hidden = torch.stack([drawn(step, batch=50, hidden=0.2).hide for step in range(400)])
    assert abs(hidden.float().mean().item() - 0.2) < 4.5 * math.sqrt(0.2 * 0.8 / 20_000)
    in_a_batch = hidden.sum(1).float()
    assert in_a_batch.min() > 0 and in_a_batch.max() < 50, "never none, never all"
    assert in_a_batch.var().item() == pytest.approx(50 * 0.2 * 0.8, rel=0.4)
    assert not drawn(hidden=0.0).hide.any()


def test_keys_that_look_alike_are_not():
    keys = [(0, 1, 2), (0, 12), (1, 0, 2), (0, 1), (2, 1, 0), (2**32, 1, 2), (0, 1, 2 + 2**32)]
    assert len({draws.seed_of(*key) for key in keys}) == len(keys)
    assert all(0 <= draws.seed_of(*key) < 2**32 for key in keys)
