"""Draws forward.png, the picture of the README: a photograph dissolving along DDPM's chain.

python docs/images/forward.py
"""

from pathlib import Path

import torch

from ddpm_edu import data, forward, plots, schedules

TIMES = (1, 50, 100, 200, 350, 600, 1000)


def main() -> None:
    """Writes forward.png beside this file."""
    s, t = schedules.linear(1000), torch.tensor(TIMES)
    photo = data.to_model_range(data.photograph(size=96))[None].expand(len(t), -1, -1, -1)
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    noisy = forward.q_sample(s, photo, t, noise)
    titles = [f"t = {int(i)}\nalpha_bar = {s.alpha_bar[i]:.3f}" for i in t]
    Path(__file__).with_suffix(".png").write_bytes(plots.images(noisy, titles, size=1.7).png())


if __name__ == "__main__":
    main()
