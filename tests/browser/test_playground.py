"""The playground's formulas in JavaScript, each held to the package's in Python over a grid of settings."""

import itertools
import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, Page
from torch import Tensor, nn

from ddpm_edu import oracles, parameterization, schedules
from ddpm_edu.models.embeddings import sinusoidal
from ddpm_edu.parameterization import Denoised
from ddpm_edu.sampling import ddim, ddpm, dpm_solver, grids, heun, sample
from ddpm_edu.sampling.loop import Before
from ddpm_edu.training import generator
from ddpm_edu.widgets import in_browser
from ddpm_edu.widgets.playground import EDGE, T

pytestmark = pytest.mark.browser

N = 40
TIMES = (1, 2, 17, 50, 90, 99, 100)
PAIRS = ((100, 99), (100, 80), (80, 64), (50, 49), (9, 1), (5, 0), (1, 0))
SAMPLERS = [("ddpm", 0.0), ("ddim", 0.0), ("ddim", 0.6), ("ddim", 1.0), ("dpmpp_2m", 0.0), ("heun", 0.0)]

# p: what the script exports. row: a list of numbers as it wants them.
PRELUDE = """const p = ddpmWidgets.playground, s = p.cosine(100), row = (list) => Float64Array.from(list);
    const plain = (value) => ArrayBuffer.isView(value) ? Array.from(value) : Array.isArray(value) ? value.map(plain)
        : value && typeof value === 'object' ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, plain(v)]))
        : value;"""


class Script:
    """The script in a page, asked in JavaScript: ``script("p.cosine(T)", T=100)``."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def __call__(self, expression: str, **given: Any) -> Any:
        plain = {
            name: value.flatten().tolist() if isinstance(value, Tensor) else value for name, value in given.items()
        }
        body = f"({{ {', '.join(plain)} }}) => {{ {PRELUDE} return plain({expression}); }}"
        return self.page.evaluate(body, plain)

    def points(self, expression: str, **given: Any) -> Tensor:
        """The same for a result that is a batch of points: float64 (n, 2)."""
        return torch.tensor(self(expression, **given), dtype=torch.float64).reshape(-1, 2)


@pytest.fixture(scope="module")
def script(browser: Browser) -> Iterator[Script]:
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_content(f"<script>{in_browser.bundle()}</script>")
    yield Script(page)
    page.close()
    assert errors == []


@pytest.fixture(scope="module")
def world() -> SimpleNamespace:
    """A chain, points, noisy x, noise, and the exact denoiser of the points: all the package's, float64."""
    stream = generator(4)
    points, x, noise = (torch.randn(n, 2, generator=stream, dtype=torch.float64) for n in (30, N, N))
    s = schedules.cosine(T)
    return SimpleNamespace(s=s, points=points, x=x, noise=noise, denoise=oracles.FiniteDataset(points).denoiser(s))


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def every(t: int, n: int = N) -> Tensor:
    return torch.full((n,), t)


# ---------------------------------------------------------------- chain, times, denoisers


@pytest.mark.parametrize("length", [2, 10, 100, 1000])
def test_the_schedule_is_the_cosine(script, length):
    found = torch.tensor(script("p.cosine(T).alphaBar", T=length), dtype=torch.float64)
    close(found, schedules.cosine(length).alpha_bar, 1e-10)


def test_the_picture_is_as_large_in_both_languages(script):
    assert script("p.EDGE") == EDGE


def test_the_times_are_the_packages(script, world):
    found = script("Array.from({ length: 100 }, (_, i) => [p.uniformTimes(s, i + 1), p.logSnrTimes(s, i + 1)])")
    for steps, (uniform, log_snr) in enumerate(found, 1):
        assert list(itertools.pairwise(uniform)) == grids.uniform(T, steps)
        assert list(itertools.pairwise(log_snr)) == grids.log_snr(world.s, steps)


def test_the_exact_denoiser_is_the_oracle(script, world):
    t = torch.tensor([TIMES[i % len(TIMES)] for i in range(N)])
    expected = world.denoise(world.x, t)
    found = script("p.exactDenoiser(s, row(points))(row(x), row(t))", points=world.points, x=world.x, t=t)
    for name in ("x0", "eps"):
        close(torch.tensor(found[name], dtype=torch.float64).reshape(N, 2), getattr(expected, name))


def test_the_learned_denoiser_clips_and_stays_consistent(script, world):
    t = torch.tensor([TIMES[i % len(TIMES)] for i in range(N)])
    network = parameterization.denoiser(lambda x, t: world.noise, world.s, "eps", lambda x0: x0.clamp(-EDGE, EDGE))
    expected = network(world.x, t)
    assert 0 < (expected.x0.abs() == EDGE).double().mean() < 1  # some are clipped, some are not
    found = script(
        "p.learnedDenoiser(s, () => row(eps), EDGE)(row(x), row(t))", eps=world.noise, x=world.x, t=t, EDGE=EDGE
    )
    for name in ("x0", "eps"):
        close(torch.tensor(found[name], dtype=torch.float64).reshape(N, 2), getattr(expected, name))


def test_the_arrows_are_score_and_minus_v(script, world):
    t = torch.tensor([TIMES[i % len(TIMES)] for i in range(N)])
    seen = world.denoise(world.x, t)
    found = script(
        "Object.fromEntries(['flow', 'score'].map((k) => [k, p.FIELDS[k](s, row(x0), row(t), { x0, eps })]))",
        x0=seen.x0, eps=seen.eps, t=t,
    )  # fmt: skip
    expected = {
        "flow": -parameterization.v_from(world.s, seen.x0, t, seen.eps),
        "score": parameterization.score_from_eps(world.s, t, seen.eps),
    }
    for name, arrows in expected.items():
        close(torch.tensor(found[name], dtype=torch.float64).reshape(N, 2), arrows)


# ---------------------------------------------------------------- steps and walks


def step(w: SimpleNamespace, name: str, t: int, s_: int, seen: Denoised, eta: float, before: Before | None) -> Tensor:
    """One step of the package."""
    args = (w.s, w.x, every(t), every(s_), seen, w.noise)
    steps = {
        "ddpm": lambda: ddpm.step(*args),
        "ddim": lambda: ddim.step(*args, eta=eta),
        "dpmpp_2m": lambda: dpm_solver.step(*args, before),
        "heun": lambda: heun.step(*args, w.denoise),
    }
    return steps[name]()


@pytest.mark.parametrize(("name", "eta"), SAMPLERS)
def test_one_step_is_the_packages(script, world, name, eta):
    for t, s_ in PAIRS:
        seen = world.denoise(world.x, every(t))
        before = None if t == T else Before(every(T), Denoised(world.noise.flip(0), world.noise))
        found = script.points(
            "p.SAMPLERS[name].step({ s, x: row(x), t, eta, before }, s_, { x0: row(x0), eps: row(eps) }, row(noise),"
            " p.exactDenoiser(s, row(points)))",
            name=name, t=t, s_=s_, eta=eta, x=world.x, x0=seen.x0, eps=seen.eps, noise=world.noise, points=world.points,
            before=before and {"t": T, "x0": before.denoised.x0.flatten().tolist()},
        )  # fmt: skip
        close(found, step(world, name, t, s_, seen, eta, before))


WALK = """(() => {
    let walk = p.startWalk(s, name, steps, eta, row(x)), at = 0;
    const draw = (count) => row(noise.slice(at, (at += count)));
    while (walk.ahead.length) walk = p.advance(walk, p.exactDenoiser(s, row(points)), draw);
    return walk.x;
})()"""


@pytest.mark.parametrize("steps", [1, 2, 5, 20, 100])
@pytest.mark.parametrize(("name", "eta"), SAMPLERS)
def test_a_walk_is_the_packages(script, world, name, eta, steps):
    pairs = grids.log_snr(world.s, steps) if name == "heun" else grids.uniform(T, steps)
    options = {"grid": pairs, "x_T": world.x, "eta": eta, "dtype": torch.float64}
    expected = sample(world.denoise, world.s, world.x.shape, name, generator=generator(9), **options)
    again = generator(9)  # the same stream, a draw a step
    noise = torch.stack([torch.randn(N, 2, generator=again, dtype=torch.float64) for _ in pairs])
    given = {"name": name, "steps": steps, "eta": eta, "x": world.x, "noise": noise, "points": world.points}
    close(script.points(WALK, **given), expected, 1e-7)


def test_distances_are_those_to_the_nearest_point(script, world):
    found = script("p.distances(row(x), row(points))", x=world.x, points=world.points)
    close(torch.tensor(found, dtype=torch.float64), torch.cdist(world.x, world.points).min(1).values)


# ---------------------------------------------------------------- the network and its training


class Twin(nn.Module):
    """The network of the browser, in torch."""

    def __init__(self, hidden: list[int]) -> None:
        super().__init__()
        sizes = [2 + 4 * 3 + 16, *hidden, 2]
        self.layers = nn.ModuleList(nn.Linear(a, b).double() for a, b in itertools.pairwise(sizes))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        waves = [wave(math.pi * k * x / EDGE) for k in (1, 2, 4) for wave in (torch.sin, torch.cos)]
        h = torch.cat([x, *waves, sinusoidal(t.double(), 16).double()], 1)
        for layer in self.layers[:-1]:
            h = nn.functional.silu(layer(h))
        return self.layers[-1](h)


def flat(tensors: Any) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


LOAD = "(() => { const net = p.emptyNetwork(hidden); net.parameters.set(parameters); return net; })()"


@pytest.mark.parametrize("hidden", [[8], [64, 64], [6, 10, 4]])
def test_network_loss_and_gradient_are_those_of_autograd(script, world, hidden):
    torch.manual_seed(1)
    twin, t = Twin(hidden), torch.arange(1, N + 1)
    eps = twin(world.x, t)
    loss = (eps - world.noise).square().mean()
    loss.backward()
    given = {"hidden": hidden, "parameters": flat(twin.parameters()), "x": world.x, "t": t, "eps": world.noise}
    close(script.points(f"p.forward({LOAD}, row(x), row(t)).eps", **given), eps.detach(), 1e-6)  # sinusoids: float32
    found = script(f"p.lossAndGradient({LOAD}, row(x), row(t), row(eps))", **given)
    assert found["loss"] == pytest.approx(loss.item(), rel=1e-6)
    close(torch.tensor(found["gradient"], dtype=torch.float64), flat(p.grad for p in twin.parameters()), 1e-6)


def test_steps_of_adam_are_torchs(script):
    stream = generator(2)
    start = torch.randn(50, generator=stream, dtype=torch.float64)
    gradients = torch.randn(6, 50, generator=stream, dtype=torch.float64) * torch.logspace(-6, 1, 50)
    parameter = nn.Parameter(start.clone())
    optimizer = torch.optim.Adam([parameter], lr=5e-3)
    for gradient in gradients:
        parameter.grad = gradient
        optimizer.step()
    body = """(() => { const adam = p.newAdam(50, 5e-3), values = row(start);
        for (const gradient of gradients) p.adamStep(adam, values, row(gradient));
        return values; })()"""
    found = torch.tensor(script(body, start=start, gradients=gradients.tolist()), dtype=torch.float64)
    close(found, parameter.detach(), 1e-12)


def test_a_new_network_says_zero_and_starts_as_torchs_linear_does(script):
    found = script(
        "(() => { const net = p.newNetwork(p.randomStream(0, 'weights').uniform);"
        " return { eps: p.forward(net, row([1, 2]), row([3])).eps, layers: net.layers }; })()"
    )
    assert found["eps"] == [0, 0]
    for layer in found["layers"][:-1]:
        weights, limit = torch.tensor(layer["weight"]), layer["inputs"] ** -0.5
        assert 0.98 * limit < weights.abs().max() <= limit
        assert weights.std() == pytest.approx(limit / 3**0.5, rel=0.05)  # uniform


def test_examples_are_noised_points(script, world):
    found = script("p.examples(s, row(points), 5000, p.randomStream(3, 'a'))", points=world.points)
    x, eps = (torch.tensor(found[name], dtype=torch.float64).reshape(-1, 2) for name in ("x", "eps"))
    t = torch.tensor(found["t"]).long()
    assert t.unique().tolist() == list(range(1, T + 1))
    t, x, eps = t[t < T], x[t < T], eps[t < T]  # at T the points are 2000 times smaller than the noise
    x0 = parameterization.x0_from_eps(world.s, x, t, eps)
    nearest = torch.cdist(x0, world.points).min(1)
    assert nearest.values.max() < 1e-6
    assert nearest.indices.unique().tolist() == list(range(len(world.points)))


# ---------------------------------------------------------------- chance

DRAWS = "[[0, 'a'], [0, 'b'], [1, 'a'], [-1, 'a']].map(([seed, name]) => p.randomStream(seed, name).normals(20001))"


def test_noise_is_normal_and_streams_are_independent(script):
    drawn = torch.tensor(script(DRAWS), dtype=torch.float64)
    n = drawn.shape[1]
    for stream in drawn:
        assert abs(stream.mean()) < 4 * n**-0.5
        assert abs(stream.var() - 1) < 4 * (2 / n) ** 0.5
        expected = torch.special.ndtr(stream.sort().values)  # Kolmogorov and Smirnov's distance
        assert (expected - (torch.arange(n) + 0.5) / n).abs().max() < 1.95 * n**-0.5
        assert abs((stream[1:] * stream[:-1]).mean()) < 4 * n**-0.5
    assert (torch.corrcoef(drawn) - torch.eye(len(drawn))).abs().max() < 4.5 * n**-0.5


def test_uniform_numbers_fill_the_interval_and_never_touch_its_ends(script):
    body = "(() => { const r = p.randomStream(5, 'u'); return row({ length: 64000 }).map(r.uniform); })()"
    found = torch.tensor(script(body), dtype=torch.float64)
    assert 0 < found.min() < 1e-3
    assert 1 - 1e-3 < found.max() < 1
    assert (found * 2**32 % 1 == 0.5).all()  # the middles of 2^32 equal parts: a logarithm is always finite
    counts = torch.histc(found, 64, 0, 1)
    chi_square = ((counts - 1000) ** 2 / 1000).sum()
    assert 30 < chi_square < 110  # 63 degrees of freedom
