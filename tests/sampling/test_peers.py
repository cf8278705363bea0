"""diffusers' schedulers on the same grid, with the same denoiser and noise: the same states, where it is right.

It counts times from 0: its t is ours less one. Its tables are float32; ours are put in their place, so that the steps
are compared, and nothing else. Where it is wrong, the difference is held to as well, so that a change there is noticed.
Seen with diffusers 0.42.1.
"""

import warnings

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, HeunDiscreteScheduler

from ddpm_edu import forward, sampling, schedules
from ddpm_edu.sampling import grids
from tests.sampling.test_equalities import LINEAR, MODES, NO_SIGNAL

X_T = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
GRIDS = {
    "trailing, 20": grids.trailing(1000, 20),
    "trailing, 7": grids.trailing(1000, 7),
    "linspace, 10": grids.linspace(1000, 10),
    "log_snr, 20": grids.log_snr(LINEAR, 20),
}


def peer(kind, grid=None, steps=None, **options):
    """A scheduler with our alpha_bar, set to a grid of ours, or to a number of its own steps."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy", DeprecationWarning)
        scheduler = kind(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, **options)
        if not options.get("rescale_betas_zero_snr"):
            near = (scheduler.alphas_cumprod.double() / LINEAR.alpha_bar[1:] - 1).abs().max()
            assert near < 1e-4, "the same schedule, but for its float32"
            scheduler.alphas_cumprod = LINEAR.alpha_bar[1:].clone()
        if grid is None:
            scheduler.set_timesteps(steps)
        else:
            scheduler.set_timesteps(timesteps=[t - 1 for t, _ in grid])
    return scheduler


def visited(scheduler):
    return [int(t) + 1 for t in scheduler.timesteps]


def theirs(scheduler, x=X_T, predict=None, **options):
    """All states; what is drawn comes from a generator of seed 7, in x's dtype."""
    generator, states = torch.Generator().manual_seed(7), [x]
    for t in scheduler.timesteps:
        given = dict(options)
        if "variance_noise" in given:
            given["variance_noise"] = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        elif isinstance(scheduler, DDPMScheduler):
            given["generator"] = generator
        seen = MODES.denoiser(LINEAR)(scheduler.scale_model_input(x, t), torch.full((len(x),), int(t) + 1))
        x = scheduler.step(seen.eps if predict is None else predict(x, seen, int(t) + 1), t, x, **given).prev_sample
        states.append(x)
    return torch.stack(states)


def ours(method, grid, x=X_T, denoise=None, **options):
    states = [x]
    sampling.sample(
        denoise or MODES.denoiser(LINEAR), LINEAR, x.shape, method, grid=grid, x_T=x, dtype=x.dtype,
        generator=torch.Generator().manual_seed(7), callback=lambda seen: states.append(seen["x"]), **options,
    )  # fmt: skip
    return torch.stack(states)


def furthest(a, b):
    return (a - b).abs().max().item()


# ---------------------------------------------------------------- where they agree


def test_ddpm_agrees():
    for kind, ours_ in (("fixed_small", "posterior"), ("fixed_large", "beta")):
        for grid in (grids.linspace(1000, 200), grids.linspace(1000, 20), grids.linspace(1000, 7)):
            scheduler = peer(DDPMScheduler, grid, variance_type=kind, clip_sample=False)
            assert furthest(theirs(scheduler), ours("ddpm", grid, variance=ours_)) < 1e-9, (kind, len(grid))


def test_the_whole_chain_of_ddpm_agrees():
    scheduler = peer(DDPMScheduler, steps=1000, variance_type="fixed_large", clip_sample=False)
    assert furthest(theirs(scheduler, X_T[:1]), ours("ddpm", grids.uniform(1000, 1000), X_T[:1])) < 1e-9


def test_ddpm_with_a_learned_range_agrees():
    """The network's second half o is a fraction (o + 1) / 2 of the way between the two logarithms."""

    def half(x):
        return torch.tanh(3 * x)

    def denoise(x, t):
        return MODES.denoiser(LINEAR)(x, t)._replace(variance_fraction=(half(x) + 1) / 2)

    grid = grids.linspace(1000, 20)
    scheduler = peer(DDPMScheduler, grid, variance_type="learned_range", clip_sample=False)
    found = theirs(scheduler, predict=lambda x, seen, t: torch.cat([seen.eps, half(x)], 1))
    assert furthest(found, ours("ddpm", grid, denoise=denoise, variance="learned")) < 1e-9


def test_ddim_agrees_where_the_steps_divide_T():
    for spacing, n in (("leading", 50), ("leading", 10), ("trailing", 20), ("trailing", 125)):
        grid = getattr(grids, spacing)(1000, n)
        for eta in (0.0, 0.6, 1.0):
            scheduler = peer(DDIMScheduler, steps=n, clip_sample=False, timestep_spacing=spacing)
            assert visited(scheduler) == [t for t, _ in grid]
            found = theirs(scheduler, eta=eta, variance_noise=None)
            assert furthest(found, ours("ddim", grid, eta=eta)) < 1e-9, (spacing, n, eta)


def test_ddim_agrees_from_zero_terminal_snr():
    """With v, since no eps tells x_0 there. Its table stays its own, float32."""
    grid = grids.trailing(1000, 20)
    scheduler = peer(
        DDIMScheduler, steps=20, clip_sample=False, timestep_spacing="trailing",
        rescale_betas_zero_snr=True, prediction_type="v_prediction",
    )  # fmt: skip
    root, rest, denoise = NO_SIGNAL.alpha_bar.sqrt(), (1 - NO_SIGNAL.alpha_bar).sqrt(), MODES.denoiser(NO_SIGNAL)

    def v(x, _, t):
        x0, eps, _ = denoise(x, torch.full((len(x),), t))
        return root[t] * eps - rest[t] * x0

    states = [X_T]
    sampling.sample(
        denoise, NO_SIGNAL, X_T.shape, "ddim", grid=grid, x_T=X_T, dtype=torch.float64,
        callback=lambda seen: states.append(seen["x"]),
    )  # fmt: skip
    assert furthest(theirs(scheduler, predict=v), torch.stack(states)) < 1e-5


def test_dpmpp_2m_agrees():
    for name, grid in GRIDS.items():
        scheduler = peer(DPMSolverMultistepScheduler, grid, solver_order=2, solver_type="midpoint")
        assert furthest(theirs(scheduler), ours("dpmpp_2m", grid)) < 1e-5, name


def test_dpmpp_2m_sde_agrees():
    for name, grid in GRIDS.items():
        scheduler = peer(DPMSolverMultistepScheduler, grid, algorithm_type="sde-dpmsolver++", solver_order=2)
        assert furthest(theirs(scheduler, variance_noise=None), ours("dpmpp_2m_sde", grid)) < 1e-5, name


def test_heun_agrees():
    """Theirs walks in z = x / sqrt(ab)."""
    for name, grid in (*GRIDS.items(), ("karras, 20", grids.karras(LINEAR, 20))):
        scheduler = peer(HeunDiscreteScheduler, grid)
        start = X_T * (1 + scheduler.sigmas[0] ** 2) ** 0.5
        assert furthest(theirs(scheduler, start)[-1], ours("heun", grid)[-1]) < 1e-5, name


def test_their_own_trailing_grid_is_ours_but_for_halves():
    for n in (4, 10, 13, 30, 50, 250, 1000):
        for kind in (DDPMScheduler, DDIMScheduler, DPMSolverMultistepScheduler):
            assert visited(peer(kind, steps=n, timestep_spacing="trailing")) == [t for t, _ in grids.trailing(1000, n)]


# ---------------------------------------------------------------- where they do not, and why


@pytest.mark.parametrize(("spacing", "n", "wrong"), [("linspace", 10, 9), ("linspace", 50, 19), ("trailing", 13, 11)])
def test_differs_ddims_previous_time_is_t_minus_T_over_n_whatever_the_grid(spacing, n, wrong):
    """Its step goes to t - 1000 // n, and the next begins at another time: x is taken for more, or less, noisy."""
    scheduler = peer(DDIMScheduler, steps=n, clip_sample=False, timestep_spacing=spacing)
    grid = getattr(grids, spacing)(1000, n)
    assert visited(scheduler) == [t for t, _ in grid]
    assert sum(t - 1000 // n != s for t, s in grid[:-1]) == wrong
    assert furthest(theirs(scheduler)[-1], ours("ddim", grid)[-1]) > 0.01


@pytest.mark.parametrize("kind", [DDPMScheduler, DDIMScheduler, DPMSolverMultistepScheduler])
def test_differs_trailing_with_61_steps_makes_62_the_last_at_time_minus_one(kind):
    """np.arange with a float step. alphas_cumprod[-1] is then the noisiest of all, and the network gets t = -1."""
    scheduler = peer(kind, steps=61, timestep_spacing="trailing")
    assert len(scheduler.timesteps) == 62 and int(scheduler.timesteps[-1]) == -1
    assert len(grids.trailing(1000, 61)) == 61


def test_differs_a_chain_of_600_steps_starts_at_600():
    scheduler = peer(DDIMScheduler, steps=600)
    assert visited(scheduler)[0] == 600 and grids.uniform(1000, 600)[0][0] == 1000


def test_differs_fixed_large_adds_noise_to_the_finished_image_when_the_last_time_is_not_the_first():
    """Its condition is t > 0, where it should be s > 0: after a trailing grid the last step draws, too."""
    grid = grids.trailing(1000, 10)
    scheduler = peer(DDPMScheduler, grid, variance_type="fixed_large", clip_sample=False)
    found, expected = theirs(scheduler), ours("ddpm", grid, variance="beta")
    assert furthest(found[:-1], expected[:-1]) < 1e-9
    sigma = (1 - LINEAR.alpha_bar[100]).sqrt().item()
    off = (found[-1] - expected[-1]) / sigma
    assert 0.5 < off.std().item() < 1.5, "standard normal, times sigma = 0.32"


def test_differs_fixed_large_log_and_learned_are_not_a_number():
    """The root of a logarithm; the root of what the network said."""
    x = torch.zeros(2, 2)
    for kind, output in (("fixed_large_log", x), ("learned", torch.full((2, 4), -0.3))):
        assert DDPMScheduler(variance_type=kind).step(output, 500, x).prev_sample.isnan().all(), kind


def test_differs_a_typo_in_the_variance_passes():
    x = torch.zeros(2, 2)
    assert DDPMScheduler(variance_type="fixd").step(x, 500, x).prev_sample.isfinite().all()


@pytest.mark.parametrize(
    ("dtype", "silent", "off"),
    [(torch.bfloat16, range(10), (11, 1.33)), (torch.float16, range(2), (11, 0.94))],
    ids=str,
)
def test_differs_add_noise_casts_before_the_root_and_adds_none_at_small_t(dtype, silent, off):
    """1 - alpha_bar of a half-precision alpha_bar: 0 at the first times, then wrong by a third."""
    noise, scheduler = torch.ones(1, 1, dtype=dtype), DDPMScheduler()
    for t in (*(t + 1 for t in silent), off[0]):
        want = (1 - LINEAR.alpha_bar[t]).sqrt().item()
        them = scheduler.add_noise(torch.zeros_like(noise), noise, torch.tensor([t - 1])).item()
        us = forward.q_sample(LINEAR, torch.zeros_like(noise), torch.tensor([t]), noise).item()
        assert us == pytest.approx(want, rel=0.005)
        assert them == (0 if t - 1 in silent else pytest.approx(off[1] * want, rel=0.01)), t


def test_differs_their_log_snr_grid_visits_times_twice():
    for n, different in ((50, 49), (100, 94)):
        assert len(set(visited(peer(DPMSolverMultistepScheduler, steps=n, use_lu_lambdas=True)))) == different
        assert len({t for t, _ in grids.log_snr(LINEAR, n)}) == n


def test_differs_no_zero_terminal_snr_for_the_multistep_solver():
    """alpha_bar_T is 2^-24 there, since its lambda_T would be infinite. Ours takes the first step as DDIM does."""
    scheduler = DPMSolverMultistepScheduler(rescale_betas_zero_snr=True)
    assert scheduler.alphas_cumprod[-1] == 2**-24
    s = schedules.zero_terminal_snr(LINEAR)
    assert s.alpha_bar[-1] == 0
    assert sampling.sample(MODES.denoiser(s), s, (4, 2), "dpmpp_2m", 20).isfinite().all()
