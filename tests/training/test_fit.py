import math

import pytest
import torch

from ddpm_edu import data, losses, models, schedules, training
from ddpm_edu.errors import ConfigError, NonFiniteLossError, ShapeError

S = schedules.cosine(50)
X0 = data.moons(256, torch.Generator().manual_seed(0))


def small(seed=0):
    torch.manual_seed(seed)
    return models.MLP(2, width=16, depth=1)


def fit(x0=X0, seed=0, **options):
    net = small()
    return net, training.fit(net, S, x0, seed=seed, **{"steps": 30, "batch_size": 16, **options})


def test_a_seed_decides_all_bit_by_bit():
    (a, one), (b, two), (_, other) = fit(seed=3), fit(seed=3), fit(seed=4)
    assert torch.equal(one.loss, two.loss) and torch.equal(one.by_quartile, two.by_quartile)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(one.loss, other.loss)


def test_the_global_generator_is_left_alone():
    net = small()
    before = torch.random.get_rng_state()
    training.fit(net, S, X0, steps=3, batch_size=4)
    assert torch.equal(before, torch.random.get_rng_state())


def test_keys_give_streams_of_their_own():
    """Also where torch itself sees no difference: it looks at the low 32 bits of a seed alone."""
    plain = [torch.rand(1, generator=torch.Generator().manual_seed(seed)).item() for seed in (1, 1 + 2**32)]
    assert plain[0] == plain[1]
    keys = [(0, 0), (0, 1), (1, 0), (1, 1), (2**32, 0), (2**32 + 1, 0), (0,), (1,)]
    draws = [tuple(torch.rand(4, generator=training.generator(*key)).tolist()) for key in keys]
    assert len({*draws}) == len(keys)
    again = training.generator(1, 0)
    assert draws[2] == tuple(torch.rand(4, generator=again).tolist())


def test_the_first_loss_is_that_of_a_network_that_says_zero():
    """What step 0 of seed 5 draws, drawn again: mean eps^2, of the right batch, weight by weight."""
    _, history = fit(seed=5, steps=1, batch_size=64)
    g = training.generator(5, 0)
    torch.randint(256, (64,), generator=g)
    t = torch.randint(1, 51, (64,), generator=g)
    noise = torch.randn(64, 2, generator=g)
    assert history.loss.item() == pytest.approx(noise.square().mean().item(), rel=1e-6)
    _, weighted = fit(seed=5, steps=1, batch_size=64, weight=losses.min_snr(5.0))
    table = losses.min_snr(5.0)(S, "eps")
    assert weighted.loss.item() == pytest.approx((table[t] * noise.square().mean(1)).mean().item(), rel=1e-6)


def test_training_sees_every_time_from_1_to_T():
    seen = set()

    class Watched(models.MLP):
        def forward(self, x_t, t):
            seen.update(t.tolist())
            return super().forward(x_t, t)

    training.fit(Watched(2, width=8, depth=1), S, X0, steps=20, batch_size=64)
    assert seen == set(range(1, 51))


def test_the_loss_on_a_gaussian_falls_to_its_floor():
    """x_0 ~ N(0.3, 0.5^2): no network can beat mean_t ab s^2 / (ab s^2 + 1 - ab); this one comes within 5 %."""
    x0 = 0.3 + 0.5 * torch.randn(4096, 1, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    net = models.MLP(1, width=32, depth=1)
    history = training.fit(net, S, x0, steps=1500, batch_size=256, lr=3e-3)
    ab = S.alpha_bar[1:]
    floor = (0.25 * ab / (0.25 * ab + 1 - ab)).mean().item()
    g = torch.Generator().manual_seed(1)  # judged on fresh data, many times over, so that chance is below 1 %
    fresh, noise = 0.3 + 0.5 * torch.randn(40_000, 1, generator=g), torch.randn(40_000, 1, generator=g)
    t = torch.arange(40_000) % 50 + 1
    with torch.no_grad():
        loss = losses.simple(net, S, fresh, t, noise).mean().item()
    assert 0.98 * floor < loss < 1.05 * floor
    assert history.loss[0].item() == pytest.approx(1, abs=0.15), "it started as a network that says 0"
    assert history.loss[-150:].mean().item() == pytest.approx(floor, rel=0.05)
    per_t = (0.25 * ab / (0.25 * ab + 1 - ab)).tolist()
    quarters = [[e for t, e in enumerate(per_t, 1) if (t - 1) * 4 // 50 == q] for q in range(4)]
    assert history.by_quartile.tolist() == pytest.approx([sum(q) / len(q) for q in quarters], rel=0.15)


@pytest.mark.parametrize("predicts", ["eps", "x0", "v"])
def test_every_prediction_learns(predicts):
    _, history = fit(predicts=predicts, steps=200, lr=1e-2, batch_size=64)
    assert history.loss[-20:].mean() < 0.9 * history.loss[:5].mean()


def test_nan_stops_it_and_names_the_step():
    x0 = X0.clone()
    x0[5, 0] = math.nan
    steps = [k for k in range(400) if (torch.randint(256, (16,), generator=training.generator(0, k)) == 5).any()]
    with pytest.raises(NonFiniteLossError, match=rf"loss is nan at step {steps[0]} of 400.*isfinite"):
        fit(x0, steps=400)


def test_divergence_stops_it():
    with pytest.raises(NonFiniteLossError, match="rate of learning that is too high"):
        fit(1e20 * X0, predicts="x0", steps=50)


def test_the_history_has_an_entry_a_step_and_the_network_is_ready():
    net, history = fit(steps=7)
    assert history.loss.shape == (7,) and history.loss.dtype == torch.float64
    assert history.by_quartile.shape == (4,)
    assert not net.training
    assert not history.loss.requires_grad


def test_images_train_too():
    images = data.digits().model_range()[:32]
    history = training.fit(models.MLP(64, width=16), S, images, steps=5, batch_size=8)
    assert history.loss.isfinite().all()


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch_size": 0}, {"lr": 0.0}, {"lr": -1.0}, {"lr": math.nan}])
def test_impossible_settings(wrong):
    with pytest.raises(ConfigError, match=r"steps, batch_size >= 1 and lr > 0"):
        fit(**wrong)


def test_progress_shows_a_bar(capsys):
    fit(steps=3, progress=True)
    assert "3/3" in capsys.readouterr().err


# ---------------------------------------------------------------- labels

CLASSES = torch.arange(256) % 3


class Labelled(models.MLP):
    """Keeps what it was told; what it says does not depend on it."""

    no_label = 3

    def __init__(self):
        super().__init__(2, width=16, depth=1)
        self.told = []

    def forward(self, x_t, t, labels=None):
        self.told.append(labels)
        return super().forward(x_t, t)


def labelled(labels=CLASSES, seed=0, **options):
    torch.manual_seed(0)
    net = Labelled()
    return net, training.fit(net, S, X0, seed=seed, labels=labels, **{"steps": 30, "batch_size": 16, **options})


def test_each_sample_is_told_its_own_label():
    """Every sample a label of its own: those that the network is told are those of the samples that were drawn."""
    net, _ = labelled(torch.arange(256), seed=5)
    for step, told in enumerate(net.told):
        drawn = torch.randint(256, (16,), generator=training.generator(5, step))
        assert torch.equal(told, drawn), step


def test_without_labels_the_network_is_called_without():
    net, _ = labelled(None)
    assert net.told == [None] * 30


def test_labels_are_left_out_one_by_one_and_as_often_as_asked():
    """A share of 0.2 of 200 x 50, within four standard deviations; and per batch as a coin for each sample falls."""
    net, _ = labelled(torch.arange(256) % 3, steps=200, batch_size=50, label_dropout=0.2)
    left_out = torch.stack(net.told) == 3
    share = left_out.double().mean().item()
    assert abs(share - 0.2) < 4 * math.sqrt(0.2 * 0.8 / 10_000)
    in_a_batch = left_out.sum(1).double()
    assert (in_a_batch > 0).all() and (in_a_batch < 50).all(), "never none, never all"
    assert in_a_batch.var().item() == pytest.approx(50 * 0.2 * 0.8, rel=0.4)
    at_a_place = left_out.double().mean(0)
    assert at_a_place.min() > 0.05 and at_a_place.max() < 0.4, "no place in the batch is spared"


def test_labels_that_stay_are_right():
    whole, some = (labelled(label_dropout=share, seed=3)[0].told for share in (0.0, 0.5))
    for all_of_them, these in zip(whole, some, strict=True):
        stays = these != 3
        assert torch.equal(these[stays], all_of_them[stays])
    assert not any((told == 3).any() for told in whole)


def test_labels_change_no_draw_of_data_times_and_noise():
    """A network that does not listen trains to the same bits with labels, without, and with some left out."""
    runs = [labelled(None), labelled(), labelled(label_dropout=0.5)]
    for net, history in runs[1:]:
        assert torch.equal(history.loss, runs[0][1].loss)
        assert all(torch.equal(p, q) for p, q in zip(net.parameters(), runs[0][0].parameters(), strict=True))
    assert torch.equal(runs[0][1].loss, fit()[1].loss), "and as a network that knows of no labels"


def test_a_seed_decides_which_labels_are_left_out():
    same, again, other = (torch.stack(labelled(label_dropout=0.5, seed=seed)[0].told) for seed in (1, 1, 2))
    assert torch.equal(same, again)
    assert not torch.equal(same == 3, other == 3)


def test_a_unet_learns_what_labels_say():
    """Two classes of flat images, all noise to the eye: told the class, a network finds the sign."""
    labels = torch.arange(64) % 2
    x0 = (2.0 * labels - 1)[:, None, None, None] * torch.ones(64, 1, 4, 4)
    torch.manual_seed(0)
    net = models.UNet(models.UNetConfig(channels=1, width=8, multipliers=(1,), blocks=1, groups=4, attention=(),
                                        dropout=0.0, classes=2, T=50))  # fmt: skip
    training.fit(net, S, x0, "x0", steps=60, batch_size=16, lr=1e-2, labels=labels, label_dropout=0.2)
    x, t = torch.randn(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.full((40,), 50)
    with torch.no_grad():
        one, other, either = (net(x, t, torch.full((40,), k)).mean() for k in (0, 1, net.no_label))
    assert one < -0.7 and other > 0.7 and one < either < other


WRONG_LABELS = {
    "too few": (CLASSES[:255], r"shape \(256,\), one a sample, got torch\.int64 \(255,\)"),
    "a column": (CLASSES[:, None], r"got torch\.int64 \(256, 1\)"),
    "float": (CLASSES.float(), r"must be int64.*got torch\.float32"),
    "int32": (CLASSES.int(), r"got torch\.int32"),
}


@pytest.mark.parametrize("row", WRONG_LABELS)
def test_labels_that_do_not_fit_the_data(row):
    labels, words = WRONG_LABELS[row]
    with pytest.raises(ShapeError, match=words):
        labelled(labels)


@pytest.mark.parametrize("share", [-0.1, 1.0, 10, math.nan])
def test_a_share_of_labels_that_cannot_be(share):
    with pytest.raises(ConfigError, match=rf"label_dropout={share} is the share"):
        labelled(label_dropout=share)


def test_nothing_to_leave_out_without_labels():
    with pytest.raises(ConfigError, match=r"label_dropout=0\.1.*needs labels"):
        labelled(None, label_dropout=0.1)


def test_a_network_without_a_label_for_none():
    x0, labels = torch.zeros(8, 2), torch.zeros(8, dtype=torch.int64)
    with pytest.raises(ConfigError, match="no_label, which MLP has not"):
        training.fit(models.MLP(2), S, x0, steps=1, batch_size=2, labels=labels, label_dropout=0.1)
