"""How far a set of images is from another: distances between samples, in pixels or in a feature space.

A number without its protocol says nothing. State with each: how many samples, which reference set, which features.
"""

from ddpm_edu.metrics import features
from ddpm_edu.metrics.frechet import Moments, frechet_distance, frechet_distance_of, moments
from ddpm_edu.metrics.sliced import sliced_wasserstein

__all__ = ["Moments", "features", "frechet_distance", "frechet_distance_of", "moments", "sliced_wasserstein"]
