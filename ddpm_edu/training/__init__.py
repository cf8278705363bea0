"""Training: a network, a schedule and data in; a trained network and the history of its loss out."""

from ddpm_edu.training.fit import History, fit
from ddpm_edu.training.randomness import generator

__all__ = ["History", "fit", "generator"]
