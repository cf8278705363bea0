"""Where samplers land when the data are a known Gaussian and the denoiser is exact: ours, and our peers' as they come.

Usage: ``python benchmarks/gaussian.py`` (under a minute, on any machine: nothing is timed). Writes
benchmarks/results/gaussian.json and prints it as tables. denoising-diffusion-pytorch is left out where
requirements/peers.txt is not installed.

Data N(0.3, 0.5^2), on DDPM's linear schedule and on the cosine one, T = 1000. With the exact denoiser every sampler
here is an affine map of what it draws,

    x_0 = a + b x_T + c_1 z_1 + .. + c_S z_S,

so what it makes is N(a, b^2 + c_1^2 + ..), and no sample has to be counted. The map is found by least squares from a
batch whose draws are known; what the fit leaves over is kept beside the result, and must be rounding. The error is the
Wasserstein distance of two Gaussians, sqrt((a - 0.3)^2 + (std - 0.5)^2).

Each peer takes its own list of times for a number of steps, and its own tables, in float32. Two things are set:

- the schedule, since the defaults differ (diffusers' Heun has Stable Diffusion's betas);
- clip_sample=False: the data are no images in [-1, 1], and a clip would not be affine. denoising-diffusion-pytorch
  clips whatever is asked for; there the map is found from samples that never come near the limit.

Most numbers of steps here divide T, where all lists are at their best. 30 does not; and 61 is the first of the 62
numbers up to 1000 for which diffusers' "trailing" list, an arange with a float step, is one too long.

Times are shown as ours, t = 1..T: diffusers' t and one more. Its Heun asks between whole times, and takes sigma there
from the line between its neighbours; the denoiser given to it is exact for that sigma.
"""

import contextlib
import io
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
if not __package__:
    sys.path[0] = str(ROOT)

from benchmarks import peers  # noqa: E402
from ddpm_edu import oracles, sampling, schedules  # noqa: E402
from ddpm_edu.parameterization import Denoised  # noqa: E402
from ddpm_edu.schedules import Schedule  # noqa: E402

RESULT = Path(__file__).parent / "results" / "gaussian.json"
MEAN, STD, T = 0.3, 0.5, 1000
STEPS = (5, 10, 20, 30, 50, 61, 100)
SCHEDULES: dict[str, Schedule] = {"linear": schedules.linear(T), "cosine": schedules.cosine(T)}
DIFFUSERS_NAMES: dict[str, dict[str, Any]] = {
    "linear": {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
}


Spread = Callable[[Schedule, int], sampling.grids.Pairs]


class Drawn(NamedTuple):
    """What a sampler starts from, x_T (N,), and what it adds: z (N, S + 1), a column a step, one to spare. float64."""

    start: Tensor
    z: Tensor


class Walk(NamedTuple):
    """What came out (N,), of which draws, and every time that the denoiser was asked about, in order."""

    x0: Tensor
    drawn: Drawn
    asked: list[float]


class Landing(NamedTuple):
    """Mean and standard deviation of what a sampler makes of N(0, 1), and the largest residual of the fit."""

    mean: float
    std: float
    residual: float


# ---------------------------------------------------------------- the exact answer, and the map


def exact_eps(s: Schedule, x: Tensor, t: float) -> Tensor:
    """E[eps | x_t] for the data N(MEAN, STD^2), at any real t in 1..T: sigma is a line between whole times."""
    sigma = (1 / s.alpha_bar - 1).sqrt()
    low = min(int(t), s.T - 1)
    noise = sigma[low] + (t - low) * (sigma[low + 1] - sigma[low])
    ab = 1 / (1 + noise**2)
    return (1 - ab).sqrt() * (x - ab.sqrt() * MEAN) / (ab * STD**2 + 1 - ab)


def draw(steps: int) -> Drawn:
    """Draws for a batch that is large enough to tell ``steps`` + 2 unknowns, with rows to spare for the residual."""
    generator = torch.Generator().manual_seed(0)
    x_T = torch.randn(2 * steps + 16, generator=generator, dtype=torch.float64)
    replay = stream()
    z = [torch.randn(len(x_T), 1, generator=replay, dtype=torch.float64) for _ in range(steps + 1)]
    return Drawn(x_T, torch.cat(z, 1))


def stream() -> torch.Generator:
    """The generator whose draws ``draw`` knows."""
    return torch.Generator().manual_seed(1)


def landing(walk: Walk) -> Landing:
    """The Gaussian that comes out of N(0, 1), from the affine map that fits the batch."""
    x0, (start, z) = walk.x0.double(), walk.drawn
    columns = torch.cat([torch.ones(len(start), 1, dtype=torch.float64), start[:, None], z], 1)
    weights = torch.linalg.lstsq(columns, x0[:, None]).solution[:, 0]
    residual = (columns @ weights - x0).abs().max().item()
    return Landing(weights[0].item(), weights[1:].norm().item(), residual)


# ---------------------------------------------------------------- the contestants


def ours(schedule: str, steps: int, method: str, spread: Spread | None = None, **options: Any) -> Walk:
    """``sampling.sample`` with the oracle, over its own list of times or another (``spread``)."""
    s, drawn, asked = SCHEDULES[schedule], draw(steps), list[float]()
    times: dict[str, Any] = {"steps": steps} if spread is None else {"grid": spread(s, steps)}
    oracle = oracles.Gaussian(MEAN, STD).denoiser(s)

    def denoise(x: Tensor, t: Tensor) -> Denoised:
        asked.append(float(t[0]))
        return oracle(x, t)

    x_T = drawn.start[:, None]
    options |= {"x_T": x_T, "dtype": torch.float64, "generator": stream(), **times}
    x0 = sampling.sample(denoise, s, x_T.shape, method, **options)
    return Walk(x0[:, 0], drawn, asked)


def hugging_face(schedule: str, steps: int, kind: str, **options: Any) -> Walk:
    """A scheduler of diffusers, driven as its pipelines do."""
    import diffusers

    scheduler = getattr(diffusers, kind)(num_train_timesteps=T, **DIFFUSERS_NAMES[schedule], **options)
    scheduler.set_timesteps(steps)
    drawn, generator, asked = draw(steps), stream(), list[float]()
    x = drawn.start[:, None] * scheduler.init_noise_sigma
    for number, t in enumerate(scheduler.timesteps):
        asked.append(float(t) + 1)
        eps = exact_eps(SCHEDULES[schedule], scheduler.scale_model_input(x, t), asked[-1])
        given: dict[str, Any] = {}
        if kind == "DDPMScheduler":
            given["generator"] = generator
        elif options.get("algorithm_type", "").startswith("sde"):
            given["variance_noise"] = drawn.z[:, number : number + 1]
        x = scheduler.step(eps, t, x, **given).prev_sample
    return Walk(x[:, 0], drawn, asked)


def lucidrains(schedule: str, steps: int) -> Walk:
    """denoising-diffusion-pytorch's ``ddim_sample``; rows near its clip are left out, so the map is affine."""
    asked = list[float]()

    class Exact(torch.nn.Module):
        channels = out_dim = 1
        self_condition = False

        def forward(self, x: Tensor, t: Tensor, _: None = None) -> Tensor:
            asked.append(float(t[0]) + 1)
            return exact_eps(SCHEDULES[schedule], x.double(), asked[-1])

    diffusion = peers.lucidrains().GaussianDiffusion(
        Exact(), image_size=1, timesteps=T, sampling_timesteps=steps, objective="pred_noise",
        beta_schedule=schedule, auto_normalize=False,
    )  # fmt: skip
    shape = (64, 1, 1, 1)
    torch.manual_seed(0)
    x_T = torch.randn(shape).flatten()
    torch.manual_seed(0)
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        x0 = diffusion.ddim_sample(shape).flatten()
    inside = x_T.abs() < 1  # 0.3 + 0.5 x_T is then at most 0.8
    return Walk(x0[inside], Drawn(x_T[inside].double(), torch.zeros(int(inside.sum()), 0, dtype=torch.float64)), asked)


NO_CLIP = {"clip_sample": False}
SDE = {"algorithm_type": "sde-dpmsolver++"}
FAMILIES: dict[str, tuple[Callable[..., Walk], tuple[str, dict[str, Any]]]] = {
    "DDPM, beta": (partial(ours, method="ddpm"), ("DDPMScheduler", {"variance_type": "fixed_large", **NO_CLIP})),
    "DDPM, posterior": (
        partial(ours, method="ddpm", variance="posterior"),
        ("DDPMScheduler", {"variance_type": "fixed_small", **NO_CLIP}),
    ),
    "DDIM": (partial(ours, method="ddim"), ("DDIMScheduler", NO_CLIP)),
    "DPM-Solver++(2M)": (partial(ours, method="dpmpp_2m"), ("DPMSolverMultistepScheduler", {})),
    "DPM-Solver++(2M) SDE": (partial(ours, method="dpmpp_2m_sde"), ("DPMSolverMultistepScheduler", SDE)),
    "Heun": (partial(ours, method="heun"), ("HeunDiscreteScheduler", NO_CLIP)),
}


def contestants() -> Iterator[tuple[str, str, Callable[..., Walk]]]:
    """(sampler, whose, run(schedule, steps)): for diffusers with its default list of times, and with "trailing"."""
    for sampler, (run, (kind, options)) in FAMILIES.items():
        yield sampler, "ddpm_edu", run
        if peers.installed("diffusers"):
            yield sampler, "diffusers, default", partial(hugging_face, kind=kind, **options)
            trailing = partial(hugging_face, kind=kind, timestep_spacing="trailing", **options)
            yield sampler, "diffusers, trailing", trailing
        if sampler == "Heun":
            yield sampler, "ddpm_edu, log SNR", partial(run, spread=sampling.grids.log_snr)
        if sampler == "DDIM" and peers.installed("denoising-diffusion-pytorch"):
            yield sampler, "denoising-diffusion-pytorch", lucidrains


# ---------------------------------------------------------------- measuring


def measure(schedule: str, steps: int, run: Callable[..., Walk]) -> dict[str, Any]:
    """One entry of the result."""
    walk = run(schedule, steps)
    mean, std, residual = landing(walk)
    return {
        "steps": steps,
        "evaluations": len(walk.asked),
        "asked": " ".join(f"{t:g}" for t in walk.asked),
        "mean": mean,
        "std": std,
        "error": math.hypot(mean - MEAN, std - STD),
        "residual": residual,
    }


def table(schedule: str, entries: list[dict[str, Any]]) -> str:
    """The errors, a row a contestant and a column a number of steps."""
    rows: dict[tuple[str, str], list[float]] = {}
    for entry in entries:
        if entry["schedule"] == schedule:
            rows.setdefault((entry["sampler"], entry["whose"]), []).append(entry["error"])
    lines = [f"{schedule}: Wasserstein distance to N({MEAN}, {STD}^2)", f"{'':50}" + "".join(f"{n:11}" for n in STEPS)]
    lines += [f"{a:22}{b:28}" + "".join(f"{error:11.4f}" for error in errors) for (a, b), errors in rows.items()]
    return "\n".join(lines)


def main() -> None:
    """Measure all, print, write."""
    start, entries = time.perf_counter(), []
    for schedule in SCHEDULES:
        for sampler, whose, run in contestants():
            name = {"schedule": schedule, "sampler": sampler, "whose": whose}
            entries += [{**name, **measure(schedule, steps, run)} for steps in STEPS]
        print(table(schedule, entries), end="\n\n", flush=True)
    about = peers.about("gaussian.py", start)
    data = {"mean": MEAN, "std": STD, "T": T, "steps": STEPS}
    RESULT.write_text(json.dumps({"about": about, "data": data, "entries": entries}, indent=1) + "\n")


if __name__ == "__main__":
    main()
