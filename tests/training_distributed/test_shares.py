"""How the work of a step is divided: pure functions and one process, so that mutants can be put in their place."""

import tempfile
from collections import Counter
from pathlib import Path
from unittest import mock

import pytest
import torch

from ddpm_edu import losses, schedules
from ddpm_edu.data import digits
from ddpm_edu.errors import ConfigError
from ddpm_edu.training import draws
from ddpm_edu.training.distributed import Team
from ddpm_edu.training.state import start
from tests.training_distributed import setting
from tests.training_distributed.setting import CONFIG, CPU, STEPS


def test_every_row_is_somebodys_and_nobodys_twice():
    for batch in range(1, 14):
        for world in range(1, 4):
            for accumulate in range(1, batch // world + 1):
                mine = [draws.rows(batch, rank, world, accumulate) for rank in range(world)]
                assert sorted(torch.cat([torch.cat(parts) for parts in mine]).tolist()) == [*range(batch)]
                assert {len(parts) for parts in mine} == {accumulate}, "all processes share gradients equally often"


def test_in_an_epoch_every_image_comes_once():
    """101 images in batches of 7: an epoch ends within a batch, whose last rows are the first of the next."""
    n, batch = 101, 7
    for world in (1, 2, 3):
        seen = []
        for step in range(-(-3 * n // batch)):
            image = draws.order(5, step, batch, n)
            rows = torch.cat([torch.cat(draws.rows(batch, rank, world, 1)) for rank in range(world)])
            seen += image[rows.sort().values].tolist()
        epochs = [seen[k * n : (k + 1) * n] for k in range(3)]
        assert all(Counter(epoch) == Counter(range(n)) for epoch in epochs)
        assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_a_batch_of_more_than_all_images_goes_round():
    """Two and a half epochs in a batch: each image twice or three times, and in two batches five times."""
    first, second = (Counter(draws.order(5, step, 250, 100).tolist()) for step in (0, 1))
    assert {*first.values()} == {*second.values()} == {2, 3}
    assert {*(first + second).values()} == {5} and len(first + second) == 100


def test_all_processes_draw_the_same_and_take_different_rows():
    """Or each image of one process would get the noise of an image of another: half the information."""
    drawn = draws.draw(0, 3, 8, 100, 50, (1, 4, 4), 0.5, CPU)
    again = draws.draw(0, 3, 8, 100, 50, (1, 4, 4), 0.5, CPU)
    assert all(torch.equal(a, b) for a, b in zip(drawn, again, strict=True))
    noise = [drawn.noise[draws.rows(8, rank, 2, 1)[0]] for rank in (0, 1)]
    assert all((a - b).abs().max() > 0.1 for a in noise[0] for b in noise[1])


def whole_batch(config, folder, dtype=torch.float32):
    """The gradient of the mean loss of the whole batch of step 0, written out, without rows and without the loop."""
    run = setting.stirred(config, folder, Team(0, 1, CPU))
    net, images, s = run.net.to(dtype), digits(), schedules.cosine(config.net.T)
    drawn = draws.draw(config.seed, 0, config.batch, len(images), s.T, (1, 8, 8), config.label_dropout, CPU)
    x0 = images.model_range()[drawn.image]
    x0 = torch.stack([x.flip(-1) if mirrored else x for x, mirrored in zip(x0, drawn.flip, strict=True)])
    labels = images.labels[drawn.image].masked_fill(drawn.hide, net.no_label)
    loss = losses.simple(lambda x, t: net(x, t, labels=labels), s, x0.to(dtype), drawn.t, drawn.noise.to(dtype)).mean()
    names, weights = zip(*net.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, weights), strict=True))


def test_the_shares_average_to_the_gradient_of_the_mean():
    """For 1, 2 and 3 processes and batches that they cannot share evenly; in float32, measured: 2e-7 of 0.4."""
    with tempfile.TemporaryDirectory() as made:
        for config in (CONFIG, STEPS["in parts"]):
            expected = whole_batch(config, Path(made))
            assert max(g.abs().max() for g in expected.values()) > 0.2
            for world in (1, 2, 3):
                shares = setting.shares(config, Path(made), world)
                mean = {name: sum(share[name] for share in shares) / world for name in expected}
                assert setting.off_by(mean, expected) < 1e-6


class Others:
    """What torch.distributed would say if the other process had ``value``."""

    def __init__(self, *value):
        self.value = torch.tensor(value)

    def all_reduce(self, own, op=torch.distributed.ReduceOp.SUM):
        other = self.value.to(own.dtype).reshape(own.shape)
        own.copy_(torch.maximum(own, other) if op == torch.distributed.ReduceOp.MAX else own + other)


def test_the_flag_of_another_counts():
    for rank in (0, 1):
        team = Team(rank, 2, CPU)
        for own in (False, True):
            for other in (False, True):
                with mock.patch("torch.distributed.all_reduce", Others(float(other)).all_reduce):
                    assert team.any(own) is (own or other)


def test_a_difference_is_seen_by_both():
    for own, other, same in ((3, 3, True), (3, 4, False), (4, 3, False), (-1, 0, False), (-1, -1, True), (0, 0, True)):
        with mock.patch("torch.distributed.all_reduce", Others(other, -other).all_reduce):
            assert Team(0, 2, CPU).same(own) is same


def test_alone_nobody_is_asked():
    with mock.patch("torch.distributed.all_reduce", side_effect=AssertionError):
        team = Team(0, 1, CPU)
        assert team.any(True) and not team.any(False) and team.same(5)
        assert torch.equal(team.sum(torch.ones(3)), torch.ones(3))
        team.wait()


@pytest.mark.parametrize(("batch", "accumulate", "world"), [(1, 1, 2), (7, 4, 2), (8, 3, 3)])
def test_a_batch_of_which_some_would_get_nothing(tmp_path, batch, accumulate, world):
    config = CONFIG.changed({"batch": batch, "accumulate": min(accumulate, batch)})
    with pytest.raises(ConfigError, match=rf"a batch of {batch} images for {world} .*Fix: batch={world * accumulate}"):
        start(config, tmp_path, Team(0, world, CPU))
