"""Mistakes about how sure a distance is, and about what is kept of reference sets."""

import hashlib

import numpy as np
import torch
from safetensors.torch import load_file

from ddpm_edu import metrics
from ddpm_edu.metrics import reference, uncertainty
from tests.metrics import test_inception, test_reference, test_uncertainty
from tests.mutants import Mutant

FLOOR, BOOTSTRAP = "ddpm_edu.metrics.floor", "ddpm_edu.metrics.bootstrap"
REPLACE = "ddpm_edu.metrics.uncertainty._with_replacement"
KEY, READ = "ddpm_edu.metrics.reference._key", "ddpm_edu.metrics.reference._read"
ORIGINAL_FLOOR, ORIGINAL_BOOTSTRAP, ORIGINAL_REPLACE = metrics.floor, metrics.bootstrap, uncertainty._with_replacement
ORIGINAL_INCEPTION = metrics.inception.Inception.features


def from_among_the_reference(features, n, repeats=20, generator=None, reference=None):
    return ORIGINAL_FLOOR(features, n, repeats, generator, features)


def of_the_mean(*given, **named):
    found = ORIGINAL_FLOOR(*given, **named)
    return found._replace(spread=found.spread / found.repeats**0.5)


def halves(features, n, repeats=20, generator=None, reference=None):
    """Two halves of the real images, however many samples there are."""
    return ORIGINAL_FLOOR(features, len(features) // 2, repeats, generator, reference)._replace(n=n)


def resampled(a, b, distance, repeats, generator):
    return np.array([distance(a[ORIGINAL_REPLACE(len(a), generator)], b) for _ in range(repeats)])


def not_moved(a, b, distance=metrics.frechet_distance, repeats=200, generator=None, level=0.95):
    """The quantiles as they are: of a statistic that is biased twice."""
    found = resampled(a, b, distance, repeats, generator)
    value = distance(a, b)
    return metrics.Interval(value, *np.quantile(found, [(1 - level) / 2, (1 + level) / 2]), found.mean() - value)


def mirrored(*given, **named):
    found = ORIGINAL_BOOTSTRAP(*given, **named)
    return found._replace(low=2 * found.value - found.high, high=2 * found.value - found.low)


def level_is_each_tail(a, b, distance=metrics.frechet_distance, repeats=200, generator=None, level=0.95):
    return ORIGINAL_BOOTSTRAP(a, b, distance, repeats, generator, 2 * level - 1)


UNCERTAINTY = (
    Mutant(
        "the real images are chosen from among the reference",
        FLOOR,
        from_among_the_reference,
        (test_uncertainty.test_the_chosen_are_not_in_the_reference,),
    ),
    Mutant(
        "the floor is that of two halves, whatever n is",
        FLOOR,
        halves,
        (
            test_uncertainty.test_the_floor_is_the_expansion_for_gaussians,
            test_uncertainty.test_the_spread_is_that_of_fresh_images,
        ),
    ),
    Mutant(
        "the spread of the floor is that of its mean",
        FLOOR,
        of_the_mean,
        (test_uncertainty.test_the_spread_is_that_of_fresh_images,),
    ),
    Mutant(
        "the same images are chosen each time",
        "ddpm_edu.metrics.uncertainty._permutation",
        lambda count, generator: torch.arange(count),
        (test_uncertainty.test_the_spread_is_that_of_fresh_images,),
    ),
    Mutant(
        "quantiles of a bootstrap that is biased once more",
        BOOTSTRAP,
        not_moved,
        (
            test_uncertainty.test_the_interval_covers_where_the_bias_is_most_of_the_value,
            test_uncertainty.test_the_bias_is_the_samples_own,
        ),
    ),
    Mutant(
        "the interval is mirrored at the value",
        BOOTSTRAP,
        mirrored,
        (
            test_uncertainty.test_the_ends_are_those_of_numpy,
            test_uncertainty.test_the_interval_covers_as_often_as_it_says,
        ),
    ),
    Mutant(
        "as much is cut off at each end as at both together",
        BOOTSTRAP,
        level_is_each_tail,
        (
            test_uncertainty.test_the_interval_covers_as_often_as_it_says,
            test_uncertainty.test_the_ends_are_those_of_numpy,
        ),
    ),
    Mutant(
        "samples are drawn without replacement: all of them, each time",
        REPLACE,
        lambda count, generator: torch.randperm(count, generator=generator),
        (
            test_uncertainty.test_the_interval_covers_as_often_as_it_says,
            test_uncertainty.test_the_bias_is_the_samples_own,
        ),
    ),
    Mutant(
        "half as many are drawn as there are",
        REPLACE,
        lambda count, generator: ORIGINAL_REPLACE(count, generator)[: count // 2],
        (
            test_uncertainty.test_the_bias_is_the_samples_own,
            test_uncertainty.test_the_frechet_distance_less_its_bias_is_the_distance_of_the_distributions,
        ),
    ),
)

# ---------------------------------------------------------------- what is kept


def not_checked(folder, name, wanted):
    path = folder / f"{name}.safetensors"
    return load_file(path) if path.exists() else None


KEPT = (
    Mutant(
        "sets are told apart by how many images they have",
        KEY,
        lambda images, extractor: f"{len(images)}-{reference.content_hash(extractor.net.state_dict())}",
        (test_reference.test_other_images_or_weights_get_their_own_moments,),
    ),
    Mutant(
        "extractors are told apart by their class",
        KEY,
        lambda images, extractor: f"{type(extractor).__name__}-{reference.content_hash({'images': images})}",
        (test_reference.test_other_images_or_weights_get_their_own_moments,),
    ),
    Mutant("a file is believed", READ, not_checked, (test_reference.test_a_flipped_bit_is_no_other_mean,)),
    Mutant(
        "the hash is of bytes alone",
        "ddpm_edu.metrics.reference.content_hash",
        lambda tensors: hashlib.sha256(
            b"".join(t.contiguous().flatten().view(torch.uint8).numpy().tobytes() for t in tensors.values())
        ).hexdigest(),
        (test_reference.test_the_hash_is_of_names_kinds_shapes_and_bytes,),
    ),
    Mutant(
        "of grey images only the first channel is given to the Inception network",
        "ddpm_edu.metrics.inception.Inception.features",
        lambda self, images: ORIGINAL_INCEPTION(
            self, torch.cat([images, 0 * images, 0 * images], 1) if images.shape[1] == 1 else images
        ),
        (test_inception.test_grey_is_three_channels_and_batches_do_not_show,),
    ),
    Mutant(
        "images that fill no batch are not given to the Inception network",
        "ddpm_edu.metrics.inception.Inception.features",
        lambda self, images: ORIGINAL_INCEPTION(self, images[: len(images) // self.batch_size * self.batch_size]),
        (test_inception.test_grey_is_three_channels_and_batches_do_not_show,),
    ),
)

MUTANTS = (*UNCERTAINTY, *KEPT)
