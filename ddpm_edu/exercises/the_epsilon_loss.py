"""Checks of notebook 03: units of an error, weights on it, the loss and its floor, and a step of training."""

from ddpm_edu.exercises.epsilon_losses import training_loss, two_points
from ddpm_edu.exercises.epsilon_step import training_step
from ddpm_edu.exercises.epsilon_units import image_from_noise, noise_from_image
from ddpm_edu.exercises.epsilon_weights import bound_weight, min_snr_for_v

__all__ = [
    "bound_weight",
    "image_from_noise",
    "min_snr_for_v",
    "noise_from_image",
    "training_loss",
    "training_step",
    "two_points",
]
