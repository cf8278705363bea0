"""Networks. They know nothing of diffusion but t: ``net(x_t, t) -> tensor``, t int64 (N,) in 1..T."""

from ddpm_edu.models.embeddings import sinusoidal
from ddpm_edu.models.mlp import MLP
from ddpm_edu.models.pretrained import load

__all__ = ["MLP", "load", "sinusoidal"]
