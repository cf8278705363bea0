"""Choosing the length of the average after the training: EDM2's post-hoc EMA (Karras et al. 2024, section 3.2).

How long an average should be is not known before, and each try would be a training. EDM2 keeps snapshots of two
power-function averages on the way. The average of step t_i with exponent g weighs the weights of time t by its profile

    p(t) = (g + 1) t^g / t_i^(g + 1)    for 0 <= t <= t_i,  else 0;

that of any other width is, to a small error, the sum of snapshots whose profiles add up to its own most closely. The
coefficients solve A x = b, least squares over t, with A_ij = <p_i, p_j> and b_i = <p_i, p> (appendix C), in float64.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ddpm_edu.errors import CheckpointError, ConfigError
from ddpm_edu.training import checkpoint
from ddpm_edu.training.ema import Averages, gamma_of, power_name

FOLDER = "snapshots"


def write(run_folder: Path, step: int, averages: Averages) -> Path:
    """Keeps the power-function averages of ``step``, all widths in one file, in place of others of this step.

    Raises CheckpointError.
    """
    weights = {name: averages.weights[name] for name in averages.weights if name.startswith(power_name(""))}
    content = checkpoint.encoded({"weights": weights}, step)
    new = checkpoint.write(run_folder / FOLDER, f"step-{step:08d}", ".pt", content)
    for path in checkpoint.listed(run_folder / FOLDER):
        if checkpoint.step_of(path) == step and path != new:  # a run that went back and came here on another way
            path.unlink()
    return new


def steps(run_folder: Path) -> list[int]:
    """Those of which there is a snapshot, ascending."""
    return sorted(checkpoint.step_of(path) for path in checkpoint.listed(run_folder / FOLDER))


def average(run_folder: Path, width: float, step: int | None = None) -> dict[str, Tensor]:
    """The weights of the power-function average of ``width`` at ``step`` (None: the last snapshot's), float32, by name.

    Accurate where snapshots are many and ``width`` is not far outside of the widths that were kept; ``step`` should be
    that of a snapshot. They fit ``net.load_state_dict(.., strict=False)``. Raises CheckpointError where there are no
    snapshots up to ``step``, ConfigError for a width or a step that cannot be.
    """
    files = {checkpoint.step_of(path): path for path in checkpoint.listed(run_folder / FOLDER)}
    last = max(files, default=0) if step is None else step
    until = sorted(at for at in files if at <= last)
    if not until:
        raise CheckpointError(
            f"there is no snapshot up to step {last} in {run_folder / FOLDER}. Usual cause: a run without "
            "snapshot_every and ema_widths. Fix: ema_widths=(0.05, 0.1), snapshot_every=(a hundredth of the steps)."
        )
    names = list(checkpoint.load(files[until[-1]])["weights"])
    kept = [(at, float(name.removeprefix(power_name("")))) for at in until for name in names]
    shares = iter(coefficients([at for at, _ in kept], [w for _, w in kept], last, width).tolist())
    total: dict[str, Tensor] = {}
    for at in until:  # one file at a time: all together need not fit into memory
        for weights in (checkpoint.load(files[at])["weights"][name] for name in names):
            share = next(shares)
            for key, value in weights.items():
                total[key] = total.get(key, 0) + share * value.double()
    return {key: value.float() for key, value in total.items()}


def coefficients(steps: Sequence[int], widths: Sequence[float], step: int, width: float) -> Tensor:
    """What each snapshot, of a step and a width, counts for in the average of ``width`` at ``step``: float64 (n,)."""
    if step < 1 or min(steps) < 1:
        raise ConfigError(f"an average is of step 1 or later, got step {step} from snapshots of {list(steps)}.")
    t = torch.tensor(steps, dtype=torch.float64)
    gamma = torch.tensor([gamma_of(w) for w in widths], dtype=torch.float64)
    end, goal = torch.tensor(step, dtype=torch.float64), torch.tensor(gamma_of(width), dtype=torch.float64)
    among_themselves = inner(t[:, None], gamma[:, None], t, gamma)
    return torch.linalg.solve(among_themselves, inner(t, gamma, end, goal))


def inner(t_a: Tensor, gamma_a: Tensor, t_b: Tensor, gamma_b: Tensor) -> Tensor:
    """The integral over t of the product of two profiles, elementwise.

    (g_a + 1) (g_b + 1) / (g_a + g_b + 1) / t_long * (t_short / t_long)^(g of the profile that goes on longer).
    """
    longer = torch.where(t_a < t_b, gamma_b, gamma_a)
    short, long = torch.minimum(t_a, t_b), torch.maximum(t_a, t_b)
    return (gamma_a + 1) * (gamma_b + 1) / (gamma_a + gamma_b + 1) / long * (short / long) ** longer
