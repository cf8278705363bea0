"""Mistakes about measuring: a distance that is none, a projection that is skewed, features that depend on a batch."""

import torch

from ddpm_edu import metrics
from ddpm_edu.metrics import features, frechet, sliced
from tests.metrics import test_features, test_frechet, test_sliced
from tests.mutants import Mutant

# ---------------------------------------------------------------- Frechet

TRACE, ROOT, MOMENTS, OF = (
    f"ddpm_edu.metrics.frechet.{name}" for name in ("trace_of_root", "_root", "moments", "frechet_distance_of")
)
ORIGINAL_TRACE, ORIGINAL_OF = frechet.trace_of_root, metrics.frechet_distance_of


def mean_not_squared(mean_a, cov_a, mean_b, cov_b):
    apart = (mean_a - mean_b).double().norm()
    return ORIGINAL_OF(mean_a, cov_a, mean_a, cov_b) + float(apart)


def rows_are_variables(f):
    f = f.double()
    return frechet.Moments(f.mean(1), torch.cov(f))


def not_centred(f):
    f = f.double()
    return frechet.Moments(f.mean(0), f.T @ f / (len(f) - 1))


def divided_by_n(f):
    f = f.double()
    return frechet.Moments(f.mean(0), torch.cov(f.T, correction=0).reshape(f.shape[1], f.shape[1]))


def mean_of_squares_less_square_of_mean(f):
    """The covariance in one pass and single precision."""
    f = f.float()
    mean = f.mean(0)
    return frechet.Moments(mean.double(), ((f.T @ f - len(f) * torch.outer(mean, mean)) / (len(f) - 1)).double())


def by_cholesky(a, b):
    root = torch.linalg.cholesky(a)
    return torch.linalg.eigvalsh(root.T @ b @ root).sqrt().sum()


def second_root(a, b):
    """The root of each eigenvalue of A^(1/2) B A^(1/2), with those below zero made positive."""
    root = rounding_errors_kept(a)
    return torch.linalg.eigvalsh(root @ b @ root).abs().sqrt().sum()


def rounding_errors_kept(a):
    values, directions = torch.linalg.eigh(a)
    return (directions * values.clamp(min=0).sqrt()) @ directions.T


FRECHET = (
    Mutant(
        "the trace of the root is taken once, not twice",
        TRACE,
        lambda a, b: ORIGINAL_TRACE(a, b) / 2,
        (test_frechet.test_two_by_two_by_hand, test_frechet.test_a_set_is_at_no_distance_from_itself),
    ),
    Mutant(
        "only the variances are compared: correlations are ignored",
        TRACE,
        lambda a, b: (a.diag() * b.diag()).sqrt().sum(),
        (test_frechet.test_two_by_two_by_hand, test_frechet.test_against_scipys_matrix_root),
    ),
    Mutant(
        "the root of A B entry by entry, not of the matrix",
        TRACE,
        lambda a, b: (a @ b).abs().sqrt().trace(),
        (test_frechet.test_two_by_two_by_hand, test_frechet.test_against_scipys_matrix_root),
    ),
    Mutant(
        "the root of A times the root of B, and its trace",
        TRACE,
        lambda a, b: (frechet._root(a) @ frechet._root(b)).trace(),
        (test_frechet.test_two_by_two_by_hand, test_frechet.test_against_scipys_matrix_root),
    ),
    Mutant(
        "Cholesky's factor, which a singular covariance has not",
        TRACE,
        by_cholesky,
        (test_frechet.test_fewer_samples_than_dimensions, test_frechet.test_covariances_with_nothing_in_common),
    ),
    Mutant(
        "a second root makes 1e-8 of a rounding error",
        TRACE,
        second_root,
        (test_frechet.test_fewer_samples_than_dimensions,),
    ),
    Mutant(
        "the root of a rounding error counts as spread",
        ROOT,
        rounding_errors_kept,
        (test_frechet.test_fewer_samples_than_dimensions, test_frechet.test_covariances_with_nothing_in_common),
    ),
    Mutant(
        "the distance of the means is not squared",
        "ddpm_edu.metrics.frechet_distance_of",
        mean_not_squared,
        (test_frechet.test_dimensions_that_do_not_correlate_add_up, test_frechet.test_two_by_two_by_hand),
    ),
    Mutant(
        "the root of the whole is returned, where FID is squared",
        OF,
        lambda *moments: ORIGINAL_OF(*moments) ** 0.5,
        (test_frechet.test_one_dimension, test_frechet.test_its_bias_falls_as_one_over_n),
    ),
    Mutant(
        "rows are taken for variables",
        MOMENTS,
        rows_are_variables,
        (test_frechet.test_one_dimension, test_frechet.test_fewer_samples_than_dimensions),
    ),
    Mutant(
        "the covariance is not centred",
        MOMENTS,
        not_centred,
        (test_frechet.test_one_dimension, test_frechet.test_it_is_symmetric_and_does_not_see_rotations_shifts_or_order),
    ),
    Mutant(
        "the covariance is divided by N, unlike FID",
        "ddpm_edu.metrics.moments",
        divided_by_n,
        (test_frechet.test_moments_are_numpys,),
    ),
    Mutant(
        "the covariance in one pass and single precision",
        MOMENTS,
        mean_of_squares_less_square_of_mean,
        (test_frechet.test_features_far_from_zero_keep_their_digits,),
    ),
)

# ---------------------------------------------------------------- sliced Wasserstein

SLICED, LINE, DIRECTIONS = (
    "ddpm_edu.metrics.sliced_wasserstein",
    *(f"ddpm_edu.metrics.sliced.{name}" for name in ("wasserstein_1d", "directions")),
)
ORIGINAL_LINE, ORIGINAL_DIRECTIONS = sliced.wasserstein_1d, sliced.directions


def one_side_not_sorted(x, y, order):
    return (x.sort(0).values - y).abs().pow(order).mean(0)


def sorted_and_cut(x, y, order):
    n = min(len(x), len(y))
    return ORIGINAL_LINE(x.sort(0).values[:n], y.sort(0).values[:n], order)


def interpolated(x, y, order):
    """Quantiles as torch.quantile has them: of a line through the samples, not of the set."""
    level = torch.linspace(0, 1, max(len(x), len(y)), dtype=torch.float64)
    return (torch.quantile(x, level, 0) - torch.quantile(y, level, 0)).abs().pow(order).mean(0)


def mean_of_roots(x, y, projections=256, generator=None, order=2):
    u = ORIGINAL_DIRECTIONS(projections, x[0].numel(), generator)
    x, y = (v.double().flatten(1) @ u.T for v in (x, y))
    return float(ORIGINAL_LINE(x, y, order).pow(1 / order).mean())


def two_sets_of_directions(x, y, projections=256, generator=None, order=2):
    x, y = (v.double().flatten(1) @ ORIGINAL_DIRECTIONS(projections, v[0].numel(), generator).T for v in (x, y))
    return float(ORIGINAL_LINE(x, y, order).mean() ** (1 / order))


def from_a_cube(count, dim, generator=None):
    corner = torch.rand(count, dim, generator=generator, dtype=torch.float64)
    return corner / corner.norm(dim=1, keepdim=True)


WASSERSTEIN = (
    Mutant(
        "only one of the two sets is sorted",
        LINE,
        one_side_not_sorted,
        (test_sliced.test_a_shift_in_one_dimension_is_exact, test_sliced.test_sorting_is_the_best_assignment),
    ),
    Mutant(
        "the larger set is sorted and then cut: its largest are lost",
        LINE,
        sorted_and_cut,
        (test_sliced.test_unequal_sizes_against_scipy, test_sliced.test_unequal_sizes_are_equal_sizes_of_copies),
    ),
    Mutant(
        "quantiles are interpolated between samples",
        LINE,
        interpolated,
        (test_sliced.test_unequal_sizes_against_scipy, test_sliced.test_unequal_sizes_are_equal_sizes_of_copies),
    ),
    Mutant(
        "directions have the length of a normal vector",
        DIRECTIONS,
        lambda count, dim, generator=None: torch.randn(count, dim, generator=generator, dtype=torch.float64),
        (test_sliced.test_a_shift_in_many_dimensions, test_sliced.test_directions_are_uniform_on_the_sphere),
    ),
    Mutant(
        "directions from one corner of a cube",
        DIRECTIONS,
        from_a_cube,
        (
            test_sliced.test_in_the_plane_it_is_an_integral_over_angles,
            test_sliced.test_directions_are_uniform_on_the_sphere,
        ),
    ),
    Mutant(
        "the generator is not used",
        DIRECTIONS,
        lambda count, dim, generator=None: ORIGINAL_DIRECTIONS(count, dim),
        (test_sliced.test_a_generator_makes_it_repeatable,),
    ),
    Mutant(
        "the mean of roots, not the root of the mean",
        SLICED,
        mean_of_roots,
        (test_sliced.test_in_the_plane_it_is_an_integral_over_angles, test_sliced.test_a_shift_in_many_dimensions),
    ),
    Mutant(
        "each set is seen from directions of its own",
        SLICED,
        two_sets_of_directions,
        (test_sliced.test_it_is_symmetric_and_zero_for_one_set_in_any_order,),
    ),
)

# ---------------------------------------------------------------- features

FEATURES = "ddpm_edu.metrics.features.Extractor.features"
ORIGINAL_FEATURES = features.Extractor.features


def with_dropout(self, images):
    self.net.train()
    try:
        return ORIGINAL_FEATURES(self, images)
    finally:
        self.net.eval()


def normalised_in_the_batch(self, images):
    f = ORIGINAL_FEATURES(self, images)
    return (f - f.mean(0)) / (f.std(0, correction=0) + 1e-5)


def last_batch_dropped(self, images):
    return ORIGINAL_FEATURES(self, images[: max(1, len(images) // self.batch_size) * self.batch_size])


SPACES = (
    Mutant(
        "the network was left in training mode: dropout",
        FEATURES,
        with_dropout,
        (test_features.test_a_batch_changes_nothing, test_features.test_features_are_what_the_last_layer_sees),
    ),
    Mutant(
        "features are normalised within the batch",
        FEATURES,
        normalised_in_the_batch,
        (test_features.test_a_batch_changes_nothing, test_features.test_features_are_what_the_last_layer_sees),
    ),
    Mutant(
        "the images that fill no batch are dropped",
        FEATURES,
        last_batch_dropped,
        (test_features.test_a_batch_changes_nothing,),
    ),
    Mutant(
        "the logits are taken for features",
        FEATURES,
        lambda self, images: self.logits(images),
        (test_features.test_features_are_what_the_last_layer_sees,),
    ),
    Mutant(
        "images are taken to 0..1, where the network knows -1..1",
        FEATURES,
        lambda self, images: ORIGINAL_FEATURES(self, (images + 1) / 2),
        (test_features.test_features_are_what_the_last_layer_sees,),
    ),
    Mutant(
        "every fifth image is held out, from digits that come in order",
        "ddpm_edu.metrics.features.held_out",
        lambda count: torch.arange(count) % 5 == 4,
        (test_features.test_a_fifth_is_held_out_and_all_classes_alike,),
    ),
)

MUTANTS = (*FRECHET, *WASSERSTEIN, *SPACES)
