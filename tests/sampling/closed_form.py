"""What samplers are held to: the best denoiser of N(mean, std^2), written anew, and how a sampler maps it."""

import torch

from ddpm_edu.parameterization import Denoised


def gaussian(s, mean=0.0, std=1.0):
    """E[x_0 | x_t] and E[eps | x_t] for x_0 ~ N(mean, std^2). std = 0 is a point."""

    def denoise(x_t, t):
        ab = s.alpha_bar[t].reshape(-1, *[1] * (x_t.ndim - 1))
        deviation = (x_t - ab.sqrt() * mean) / (ab * std**2 + 1 - ab)
        x0, eps = mean + ab.sqrt() * std**2 * deviation, (1 - ab).sqrt() * deviation
        return Denoised(x0.to(x_t.dtype), eps.to(x_t.dtype))

    return denoise


def trajectory(sampling, *args, **options):
    """All states x_T, x_s, ... of ``sampling.sample`` and its pairs; ``options`` must hold x_T."""
    states, pairs = [options["x_T"]], []

    def note(seen):
        states.append(seen["x"])
        pairs.append((seen["t"], seen["s"]))

    sampling.sample(*args, callback=note, **options)
    return states, pairs


def affine_step(step, s, denoise, t, s_, **options):
    """(k, a, c): a step is x_s = k x_t + a + c z. Found by asking it at three points."""
    x = torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64)
    z = torch.tensor([[0.0], [0.0], [1.0]], dtype=torch.float64)
    t, s_ = torch.full((3,), t), torch.full((3,), s_)
    a, k, c = step(s, x, t, s_, denoise(x, t), z, **options).flatten().tolist()
    return k - a, a, c - a
