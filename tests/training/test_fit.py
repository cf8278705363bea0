import math

import pytest
import torch

from ddpm_edu import data, losses, models, schedules, training
from ddpm_edu.errors import ConfigError, NonFiniteLossError

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
