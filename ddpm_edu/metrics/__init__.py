"""How far a set of images is from another: distances between samples, in pixels or in a feature space.

A number without its protocol says nothing. State with each: how many samples, which reference set, which features.
"""

from ddpm_edu.metrics import features, inception, reference
from ddpm_edu.metrics.frechet import Moments, frechet_distance, frechet_distance_of, moments
from ddpm_edu.metrics.kernel import KernelEstimate, kernel_distance, kernel_distance_subsets, median_bandwidth, mmd
from ddpm_edu.metrics.neighbours import (
    Memorised,
    Nearest,
    PrecisionRecall,
    Share,
    memorised,
    nearest,
    precision_recall,
)
from ddpm_edu.metrics.path import path_length
from ddpm_edu.metrics.scores import agreement, inception_score
from ddpm_edu.metrics.sliced import sliced_wasserstein
from ddpm_edu.metrics.uncertainty import Floor, Interval, bootstrap, floor

__all__ = [
    "Floor",
    "Interval",
    "KernelEstimate",
    "Memorised",
    "Moments",
    "Nearest",
    "PrecisionRecall",
    "Share",
    "agreement",
    "bootstrap",
    "features",
    "floor",
    "frechet_distance",
    "frechet_distance_of",
    "inception",
    "inception_score",
    "kernel_distance",
    "kernel_distance_subsets",
    "median_bandwidth",
    "memorised",
    "mmd",
    "moments",
    "nearest",
    "path_length",
    "precision_recall",
    "reference",
    "sliced_wasserstein",
]
