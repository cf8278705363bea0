"""A sheet of samples in the course of a run, from the averaged weights, in a way that does not touch the run."""

from pathlib import Path

import torch

from ddpm_edu import parameterization, plots, sampling
from ddpm_edu.training.draws import on_device
from ddpm_edu.training.state import Run

COLUMNS, ROWS, STEPS = 10, 2, 25
SHEET = 6  # what the numbers of a sheet are drawn for, beside those of ddpm_edu.training.draws


def write(run: Run) -> Path:
    """Draws samples by DPM-Solver++(2M), the same noise in each sheet, and writes samples/step-00001000.png.

    One column a class where there are classes. The average is a copy, the noise has a generator of its own.
    """
    net, n = run.averages.net(run.net, next(iter(run.averages.rates))), COLUMNS * ROWS
    classes = run.config.net.classes
    labels = {} if classes is None else {"labels": (torch.arange(n) % COLUMNS % classes).to(run.team.device)}
    clip = parameterization.static_clip
    denoise = parameterization.denoiser(net, run.s, run.config.predicts, clip, 1, **labels)
    shape = (n, *run.images.images.shape[1:])
    noise = on_device(run.team.device, run.config.seed, SHEET)
    steps = min(STEPS, run.s.T)
    made = sampling.sample(denoise, run.s, shape, "dpmpp_2m", steps, generator=noise, device=run.team.device)
    path = run.folder / "samples" / f"step-{run.step:08d}.png"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(plots.images(made.cpu(), columns=COLUMNS, size=0.8).png())
    return path
