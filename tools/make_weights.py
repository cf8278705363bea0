"""Train the small digits network that the package carries, and write it with its configuration.

Usage: ``python tools/make_weights.py [FOLDER]`` (default: ddpm_edu/models/weights), about four minutes on one core.
Writes digits_mlp.safetensors and digits_mlp.png, a sheet of its samples to look at (the sheet goes to FOLDER only where
one is named). The same machine and torch give the same file, bit by bit.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from ddpm_edu import data, parameterization, plots, sampling, schedules, training
from ddpm_edu.models import MLP

FOLDER = Path(__file__).parents[1] / "ddpm_edu" / "models" / "weights"
CONFIG = {
    "network": "MLP",
    "arguments": {"dim": 64, "width": 240, "depth": 3},
    "predicts": "eps",
    "schedule": {"family": "linear", "T": 1000},
    "data": "digits, all 1797, in [-1, 1]",
    "training": {"steps": 16_000, "batch_size": 256, "lr": 2e-3, "seed": 0},
    "command": "python tools/make_weights.py",
}


def main(folder: Path, sheet: bool) -> None:
    """Train, write, and draw samples."""
    torch.set_num_threads(1)  # sums of floats depend on how they are shared out
    torch.manual_seed(CONFIG["training"]["seed"])
    net = MLP(**CONFIG["arguments"])
    s = schedules.by_name(CONFIG["schedule"]["family"], CONFIG["schedule"]["T"])
    history = training.fit(net, s, data.digits().model_range(), CONFIG["predicts"], progress=True, **CONFIG["training"])
    found = {"torch": torch.__version__, "loss_by_quartile": [round(q, 4) for q in history.by_quartile.tolist()]}
    path = folder / "digits_mlp.safetensors"
    save_file(net.state_dict(), path, {"config": json.dumps({**CONFIG, **found})})
    path.chmod(0o644)  # safetensors writes for the owner alone
    print(found)
    if sheet:
        denoise = parameterization.denoiser(net, s, CONFIG["predicts"])
        shape, seed = (50, 1, 8, 8), torch.Generator().manual_seed(0)
        rows = [sampling.sample(denoise, s, shape, method, generator=seed) for method in ("ddpm", "ddim")]
        (folder / "digits_mlp.png").write_bytes(plots.images(torch.cat(rows), columns=20, size=0.5).png())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER, sheet=len(sys.argv) > 1)
