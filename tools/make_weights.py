"""Train the small networks that the package carries, and write each with its configuration and a log.

Usage: ``python tools/make_weights.py NAME [FOLDER]`` (default folder: ddpm_edu/models/weights). On one core digits_mlp
takes about four minutes, digits_unet a quarter of an hour, fashion_unet half an hour.

The U-Nets are trained by the command line, with a preset, in build/weights/NAME; given again, it goes on where it was.
Writes NAME.safetensors and NAME.json, a log of the training. Where a folder is named, also NAME.png, a sheet of samples
to look at. The same machine, torch and number of threads (one) give the same weights, bit by bit.
"""

import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ddpm_edu import cpu, data, models, parameterization, plots, sampling, schedules, training

ROOT = Path(__file__).parents[1]
FOLDER, RUNS = ROOT / "ddpm_edu" / "models" / "weights", ROOT / "build" / "weights"
LOGGED = 100  # steps that an entry of the log averages over
MLP: dict[str, Any] = {
    "network": "MLP",
    "arguments": {"dim": 64, "width": 240, "depth": 3},
    "predicts": "eps",
    "schedule": {"family": "linear", "T": 1000},
    "data": "digits, all 1797, in [-1, 1]",
    "training": {"steps": 16_000, "batch_size": 256, "lr": 2e-3, "seed": 0},
    "command": "python tools/make_weights.py digits_mlp",
    "torch": torch.__version__,
}
PRESETS = {
    "digits_unet": ("digits-cpu", {"steps": 6000, "batch": 128, "ema": [0.999], "save_every": 1000, "keep": 5}),
    "fashion_unet": ("fashion-cpu", {"steps": 20_082, "save_every": 10**9}),  # half an hour of one core
}


def command(name: str) -> list[str]:
    """What trains the U-Net ``name``, as it is typed, but for its folder."""
    preset, settings = PRESETS[name]
    changes = [f"{key}={json.dumps(value, separators=(',', ':'))}" for key, value in settings.items()]
    return ["train", preset, *(word for change in changes for word in ("--set", change))]


def train_mlp() -> tuple[nn.Module, dict[str, Any], dict[str, Any]]:
    """The lessons' small network, by the lessons' own loop: itself, its configuration, and its losses."""
    torch.set_num_threads(1)  # sums of floats depend on how they are shared out
    start = time.perf_counter()
    torch.manual_seed(MLP["training"]["seed"])
    net = models.MLP(**MLP["arguments"])
    s = schedules.by_name(*MLP["schedule"].values())
    history = training.fit(net, s, data.digits().model_range(), "eps", progress=True, **MLP["training"])
    config = MLP | {"loss_by_quartile": [round(q, 4) for q in history.by_quartile.tolist()]}
    means = [round(m.mean().item(), 5) for m in history.loss.split(LOGGED)]
    return net.eval(), config, {"seconds": round(time.perf_counter() - start), **_losses(LOGGED, means)}


def train_unet(name: str) -> tuple[nn.Module, dict[str, Any], dict[str, Any]]:
    """A preset on the command line: the averaged network, its configuration, and its losses."""
    run, words = RUNS / name, command(name)
    subprocess.run(
        [sys.executable, "-m", "ddpm_edu", *words, "--out", str(run)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
    )
    net, config = models.load(run / "weights.safetensors")
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    entries = [line for line in lines if line["kind"] == "loss"]
    every = entries[0]["step"]
    several = max(1, LOGGED // every)
    groups = [entries[i : i + several] for i in range(0, len(entries), several)]
    means = [round(sum(entry["loss"] for entry in group) / len(group), 5) for group in groups]
    last = groups[-1][-1]["by_quarter"]
    config |= {
        "command": " ".join(["python -m ddpm_edu", *words, "--out RUN"]),
        "torch": torch.__version__,
        "loss_by_quartile": [round(q, 4) for q in last],
    }
    seconds = round(entries[-1]["time"] - entries[0]["time"])
    return net, config, {"seconds": seconds, **_losses(several * every, means)}


def _losses(steps: int, means: list[float]) -> dict[str, Any]:
    return {"loss": {"steps an entry": steps, "mean": means}}


def sheet(net: nn.Module, config: dict[str, Any]) -> bytes:
    """A picture of samples: ten columns, one a class where there are classes; DDPM's above, DDIM's below."""
    shape, s = config.get("size", [1, 8, 8]), schedules.by_name(*config["schedule"].values())
    condition: dict[str, Any] = {"labels": torch.arange(10).repeat(4)} if isinstance(net, models.UNet) else {}
    denoise = parameterization.denoiser(net, s, config["predicts"], parameterization.static_clip, **condition)
    rows = [
        sampling.sample(denoise, s, (40, *shape), method, steps, generator=torch.Generator().manual_seed(0))
        for method, steps in (("ddpm", 250), ("ddim", 50))
    ]
    return plots.images(torch.cat(rows), columns=10, size=0.8).png()


def main(name: str, folder: Path, look: bool) -> None:
    """Train, write, and draw samples."""
    cpu.keep_memory()
    net, config, losses = train_mlp() if name == "digits_mlp" else train_unet(name)
    log = {
        **{key: config[key] for key in ("command", "data", "training", "torch", "loss_by_quartile")},
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"one core of a {platform.machine()} CPU",
        **losses,
    }
    models.save(folder / f"{name}.safetensors", net, config, torch.float32 if name == "digits_mlp" else torch.float16)
    (folder / f"{name}.json").write_text(json.dumps(log, indent=1) + "\n")
    print(f"loss by quarter of t: {config['loss_by_quartile']}, {log['seconds']} s")
    if look:
        (folder / f"{name}.png").write_bytes(sheet(net, config))


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in {"digits_mlp", *PRESETS}:
        sys.exit(f"usage: python tools/make_weights.py {{digits_mlp,{','.join(PRESETS)}}} [FOLDER]")
    main(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else FOLDER, look=len(sys.argv) > 2)
