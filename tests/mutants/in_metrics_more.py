"""Mistakes about kernels, neighbours, scores and paths: biases, copies overlooked, and what a float32 cannot hold."""

import math

import torch

from ddpm_edu.metrics import kernel, neighbours, path, scores
from ddpm_edu.sampling import interpolation
from tests.metrics import test_kernel, test_neighbours, test_path, test_scores
from tests.mutants import Mutant

# ---------------------------------------------------------------- kernels

CUBIC, GAUSSIAN, UNBIASED, OTHERS, SOME = (
    f"ddpm_edu.metrics.kernel.{name}" for name in ("cubic", "gaussian", "unbiased", "mean_of_others", "_some")
)
ORIGINAL_GAUSSIAN, ORIGINAL_UNBIASED = kernel.gaussian, kernel.unbiased


def biased(k, x):
    return k(x, x).mean().item()


def copies_left_out(k, x):
    """The diagonal found by values: every pair of equal samples is taken for one sample."""
    same = (x[:, None] == x[None]).all(2)
    return k(x, x)[~same].mean().item()


def part_by_part(k, x):
    """Only pairs within a part are seen, with the diagonal of each part at 0."""
    total = 0.0
    for part in neighbours.in_parts(x, len(x)):
        seen = k(part, x)
        seen.diagonal(0).zero_()
        total += seen.sum().item()
    return total / (len(x) * (len(x) - 1))


KERNELS = (
    Mutant(
        "pairs of a sample with itself are counted: the biased estimate",
        OTHERS,
        biased,
        (
            test_kernel.test_the_kernel_distance_is_a_sum_over_pairs,
            test_kernel.test_its_mean_is_the_true_value,
            test_kernel.test_equal_distributions_scatter_about_zero,
            test_kernel.test_two_normal_distributions_in_closed_form,
        ),
    ),
    Mutant(
        "equal samples are taken for the same sample",
        OTHERS,
        copies_left_out,
        (test_kernel.test_equal_samples_are_pairs_like_any_other,),
    ),
    Mutant(
        "the diagonal begins anew in each part",
        OTHERS,
        part_by_part,
        (test_kernel.test_parts_change_nothing,),
    ),
    Mutant(
        "the estimate is clipped at 0",
        UNBIASED,
        lambda k, x, y: max(0.0, ORIGINAL_UNBIASED(k, x, y)),
        (test_kernel.test_its_mean_is_the_true_value, test_kernel.test_equal_distributions_scatter_about_zero),
    ),
    Mutant(
        "the root is taken: MMD, not its square",
        UNBIASED,
        lambda k, x, y: abs(ORIGINAL_UNBIASED(k, x, y)) ** 0.5,
        (test_kernel.test_the_kernel_distance_is_a_sum_over_pairs, test_kernel.test_its_mean_is_the_true_value),
    ),
    Mutant(
        "the cubic kernel does not divide by D",
        CUBIC,
        lambda x, y: (x @ y.T + 1).pow(3),
        (test_kernel.test_the_kernel_distance_is_a_sum_over_pairs,),
    ),
    Mutant(
        "the cubic kernel has no 1, so it misses means and covariances",
        CUBIC,
        lambda x, y: (x @ y.T / x.shape[1]).pow(3),
        (test_kernel.test_the_kernel_distance_is_a_sum_over_pairs, test_kernel.test_its_mean_is_the_true_value),
    ),
    Mutant(
        "the Gaussian kernel without the 2: another bandwidth",
        GAUSSIAN,
        lambda h: ORIGINAL_GAUSSIAN(h / math.sqrt(2)),
        (
            test_kernel.test_the_gaussian_kernel_is_a_sum_over_pairs,
            test_kernel.test_two_normal_distributions_in_closed_form,
            test_kernel.test_the_median_heuristic,
        ),
    ),
    Mutant(
        "a Laplace kernel: the distance is not squared",
        GAUSSIAN,
        lambda h: lambda x, y: (-torch.cdist(x, y) / h).exp(),
        (test_kernel.test_the_gaussian_kernel_is_a_sum_over_pairs,),
    ),
    Mutant(
        "the median heuristic counts each point's distance to itself",
        "ddpm_edu.metrics.kernel.median_bandwidth",
        lambda x, y: torch.cdist(torch.cat([x, y]), torch.cat([x, y])).median().item(),
        (test_kernel.test_the_median_heuristic,),
    ),
    Mutant(
        "the median heuristic looks between the sets only",
        "ddpm_edu.metrics.median_bandwidth",
        lambda x, y: torch.cdist(x, y).quantile(0.5).item(),
        (test_kernel.test_the_median_heuristic,),
    ),
    Mutant(
        "the median heuristic takes the first points, which are of one class",
        "ddpm_edu.metrics.median_bandwidth",
        lambda x, y: torch.pdist(torch.cat([x[:1000], y[:1000]])).median().item(),
        (test_kernel.test_the_median_of_many_points_is_that_of_some_of_all,),
    ),
    Mutant(
        "a subset is drawn with replacement",
        SOME,
        lambda x, size, generator: x[torch.randint(len(x), (size,), generator=generator)],
        (
            test_kernel.test_subsets_of_everything_are_everything,
            test_kernel.test_subsets_average_to_the_whole_and_their_spread_is_told,
        ),
    ),
    Mutant(
        "a subset is always the first samples",
        SOME,
        lambda x, size, generator: x[:size],
        (test_kernel.test_subsets_average_to_the_whole_and_their_spread_is_told,),
    ),
    Mutant(
        "subsets do not use the generator",
        SOME,
        lambda x, size, generator: x[torch.randperm(len(x))[:size]],
        (test_kernel.test_a_generator_makes_subsets_repeatable,),
    ),
    Mutant(
        "the spread of subsets is divided by their number",
        "ddpm_edu.metrics.kernel.torch.std_mean",
        lambda values: (values.std(correction=0), values.mean()),
        (test_kernel.test_the_spread_of_two_values_is_that_of_a_sample,),
    ),
)

# ---------------------------------------------------------------- neighbours

RADII, COVERED, DISTANCES, CLOSEST, RATIO, BELOW, TAIL = (
    f"ddpm_edu.metrics.neighbours.{name}"
    for name in ("radii", "covered", "distances", "closest", "ratio", "below", "_tail")
)
ORIGINAL_RADII, ORIGINAL_COVERED = neighbours.radii, neighbours.covered
ORIGINAL_BELOW, ORIGINAL_TAIL = neighbours.below, neighbours._tail


def strictly_inside(samples, centres, radius):
    return (torch.cdist(samples, centres) < radius).any(1).double().mean().item()


def own_balls(samples, centres, radius):
    """The ball about the point, not about the centre: whether it has a centre within its own k-th neighbour."""
    reach = ORIGINAL_RADII(samples, 3)
    return (torch.cdist(samples, centres) <= reach[:, None]).any(1).double().mean().item()


def copies_are_no_neighbours(samples, k):
    apart = torch.cdist(samples, samples)
    return apart.where(apart > 0, float("inf")).kthvalue(k, dim=1).values


def by_products(a, b):
    square = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
    yield square.clamp(min=0).sqrt()


def last_of_equals(a, b, count):
    apart = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    near = apart.topk(min(count, len(b)), dim=1, largest=False).values
    return near, len(b) - 1 - apart.flip(1).argmin(1)


def plain_quantile(samples, held_out, level):
    """The quantile as torch has it, between samples, and those at it counted in."""
    threshold = held_out.quantile(level)
    which = samples <= threshold
    share = which.double().mean().item()
    return neighbours.Share(share, level, neighbours._tail(which, 1, len(held_out)), threshold.item(), which)


def level_of_the_wrong_set(samples, held_out, level):
    """The share of held-out images below a quantile of the samples."""
    return ORIGINAL_BELOW(held_out, samples, level)


def binomial(which, k, held_out):
    """As if the threshold were known, and not read off the held-out images."""
    n, p = len(which), k / (held_out + 1)
    seen = range(int(which.sum()), n + 1)
    return min(1.0, sum(math.comb(n, x) * p**x * (1 - p) ** (n - x) for x in seen))


def chance_of_more(which, k, held_out):
    """P(X > seen), which leaves the seen number out."""
    n, x = len(which), int(which.sum())
    here = math.comb(x + k - 1, x) * math.comb(n - x + held_out - k, n - x) / math.comb(n + held_out, n)
    return ORIGINAL_TAIL(which, k, held_out) - here


NEIGHBOURS = (
    Mutant(
        "a sample is its own first neighbour",
        RADII,
        lambda samples, k: torch.cdist(samples, samples).kthvalue(k, dim=1).values,
        (
            test_neighbours.test_precision_and_recall_are_counts_of_balls,
            test_neighbours.test_precision_and_recall_by_hand,
            test_neighbours.test_against_scikit_learn,
        ),
    ),
    Mutant(
        "copies are no neighbours",
        RADII,
        copies_are_no_neighbours,
        (test_neighbours.test_copies_are_neighbours_at_no_distance,),
    ),
    Mutant(
        "the surface does not belong to the ball",
        COVERED,
        strictly_inside,
        (
            test_neighbours.test_the_surface_belongs_to_the_ball,
            test_neighbours.test_copies_are_neighbours_at_no_distance,
        ),
    ),
    Mutant(
        "the balls are about the points that are judged",
        COVERED,
        own_balls,
        (
            test_neighbours.test_precision_and_recall_are_counts_of_balls,
            test_neighbours.test_against_scikit_learn,
            test_neighbours.test_few_images_again_and_again_cost_recall_alone,
        ),
    ),
    Mutant(
        "precision and recall are exchanged",
        COVERED,
        lambda samples, centres, radius: ORIGINAL_COVERED(
            centres, samples, ORIGINAL_RADII(samples, min(3, len(samples) - 1))
        ),
        (test_neighbours.test_a_lost_class_costs_recall_alone, test_neighbours.test_against_scikit_learn),
    ),
    Mutant(
        "distances from |a|^2 + |b|^2 - 2 a.b: copies are not at 0",
        DISTANCES,
        by_products,
        (test_neighbours.test_a_copy_is_at_zero_exactly,),
    ),
    Mutant(
        "distances are squared",
        DISTANCES,
        lambda a, b: iter([torch.cdist(a, b).square()]),
        (test_neighbours.test_the_nearest_by_loops, test_neighbours.test_the_whole_check_by_loops),
    ),
    Mutant(
        "of equally near images the last is told",
        CLOSEST,
        last_of_equals,
        (test_neighbours.test_of_equally_near_ones_the_first, test_neighbours.test_a_copy_is_at_zero_exactly),
    ),
    Mutant(
        "bytes are subtracted as bytes",
        "ddpm_edu.metrics.nearest",
        lambda a, b: neighbours.Nearest((a - b.flatten()).flatten().double(), torch.zeros(len(a))),
        (test_neighbours.test_bytes_are_taken_as_numbers,),
    ),
    Mutant(
        "nearest over second nearest, which two copies in the training set hide",
        RATIO,
        lambda near: near[:, 0] / near[:, 1],
        (
            test_neighbours.test_the_ratio_by_hand,
            test_neighbours.test_the_ratio_is_to_the_fifty_nearest,
            test_neighbours.test_a_training_image_that_stands_twice_is_caught,
        ),
    ),
    Mutant(
        "copies of one image have no ratio",
        RATIO,
        lambda near: near[:, 0] / near.mean(1),
        (test_neighbours.test_the_ratio_by_hand,),
    ),
    Mutant(
        "the ratio is the distance again: a plain image is taken for a copy",
        RATIO,
        lambda near: near[:, 0],
        (test_neighbours.test_the_ratio_by_hand, test_neighbours.test_a_plain_image_is_near_and_no_copy),
    ),
    Mutant(
        "the threshold is a quantile between held-out images, and those at it are below it",
        BELOW,
        plain_quantile,
        (
            test_neighbours.test_the_threshold_and_the_share_by_hand,
            test_neighbours.test_new_real_images_are_as_near_as_expected,
        ),
    ),
    Mutant(
        "held-out images are judged by the samples",
        BELOW,
        level_of_the_wrong_set,
        (
            test_neighbours.test_the_threshold_and_the_share_by_hand,
            test_neighbours.test_copies_are_caught_and_new_images_are_not,
        ),
    ),
    Mutant(
        "the p-value takes the threshold for known: binomial",
        TAIL,
        binomial,
        (
            test_neighbours.test_its_p_value_is_a_count_of_orders,
            test_neighbours.test_new_real_images_are_as_near_as_expected,
        ),
    ),
    Mutant(
        "the p-value leaves out the number that was seen",
        TAIL,
        chance_of_more,
        (test_neighbours.test_its_p_value_is_a_count_of_orders,),
    ),
)

# ---------------------------------------------------------------- scores

SCORE, AGREEMENT = "ddpm_edu.metrics.scores.score", "ddpm_edu.metrics.agreement"
ORIGINAL_SCORE = scores.score


def mean_of_logits(logits):
    """p(y) from the mean logits, not from the mean probabilities."""
    each = logits.log_softmax(1)
    return (each.exp() * (each - logits.mean(0).log_softmax(0))).sum(1).mean().exp().item()


def other_way_round(logits):
    """KL(p(y) || p(y | x))."""
    each, p = logits.log_softmax(1), logits.softmax(1).mean(0)
    return (p * (p.log() - each)).sum(1).mean().exp().item()


def entropies(logits):
    """E exp(KL): the exponential inside the mean."""
    each = logits.log_softmax(1)
    return (each.exp() * (each - each.exp().mean(0).log())).sum(1).exp().mean().item()


def log_of_probabilities(logits):
    p = logits.softmax(1)
    return (p * (p.log() - p.mean(0).log())).sum(1).mean().exp().item()


SCORES = (
    Mutant(
        "p(y) from mean logits",
        SCORE,
        mean_of_logits,
        (test_scores.test_the_score_is_a_sum_over_images_and_classes, test_scores.test_its_bounds),
    ),
    Mutant(
        "the divergence the other way round",
        SCORE,
        other_way_round,
        (test_scores.test_the_score_is_a_sum_over_images_and_classes, test_scores.test_one_class_in_two_by_hand),
    ),
    Mutant(
        "the mean of exponentials",
        SCORE,
        entropies,
        (test_scores.test_the_score_is_a_sum_over_images_and_classes,),
    ),
    Mutant(
        "no exponential: the information in nats",
        SCORE,
        lambda logits: math.log(ORIGINAL_SCORE(logits)),
        (test_scores.test_its_bounds, test_scores.test_one_class_in_two_by_hand),
    ),
    Mutant(
        "log of a probability that has underflown",
        SCORE,
        log_of_probabilities,
        (test_scores.test_answers_that_are_surer_than_numbers_can_say,),
    ),
    Mutant(
        "probabilities are taken for logits",
        SCORE,
        lambda logits: ORIGINAL_SCORE(logits.softmax(1)),
        (test_scores.test_its_bounds, test_scores.test_one_class_in_two_by_hand),
    ),
    Mutant(
        "splits take every n-th image",
        "ddpm_edu.metrics.inception_score",
        lambda logits, splits=1: sum(ORIGINAL_SCORE(logits.double()[i::splits]) for i in range(splits)) / splits,
        (
            test_scores.test_splits_are_consecutive_parts,
            test_scores.test_images_in_the_order_of_their_classes_must_be_shuffled_before_they_are_split,
        ),
    ),
    Mutant(
        "agreement is the mean probability of the class",
        AGREEMENT,
        lambda logits, labels: logits.softmax(1)[torch.arange(len(labels)), labels].mean().item(),
        (test_scores.test_agreement_is_a_share, test_scores.test_agreement_with_digits_and_with_wrong_labels),
    ),
    Mutant(
        "any class that is as likely as the largest counts as agreement",
        AGREEMENT,
        lambda logits, labels: (
            (logits[torch.arange(len(labels)), labels] >= logits.max(1).values).double().mean().item()
        ),
        (test_scores.test_agreement_is_a_share,),
    ),
)

# ---------------------------------------------------------------- path length

SPEED, MIXED, SLERP = (
    *(f"ddpm_edu.metrics.path.{name}" for name in ("speed", "mixed")),
    "ddpm_edu.metrics.path.interpolation.slerp",
)
ORIGINAL_SPEED, ORIGINAL_MIXED, ORIGINAL_SLERP = path.speed, path.mixed, interpolation.slerp


PATHS = (
    Mutant(
        "the distance is divided by eps, and not by its square",
        SPEED,
        lambda here, there, eps: ORIGINAL_SPEED(here, there, eps) * eps,
        (test_path.test_on_a_circle_it_is_the_angle, test_path.test_on_a_sphere_it_is_the_mean_of_squared_arcs),
    ),
    Mutant(
        "the distance is not squared",
        SPEED,
        lambda here, there, eps: (there - here).norm(dim=1).mean().item() / eps,
        (
            test_path.test_on_a_circle_it_is_the_angle,
            test_path.test_on_a_sphere_it_is_the_mean_of_squared_arcs,
            test_path.test_ddim_for_a_gaussian_stretches_the_path,
        ),
    ),
    Mutant(
        "a mean over features, not a sum",
        SPEED,
        lambda here, there, eps: (there - here).square().mean().item() / eps**2,
        (test_path.test_on_a_circle_it_is_the_angle, test_path.test_on_a_sphere_it_is_the_mean_of_squared_arcs),
    ),
    Mutant(
        "latents are mixed along the straight line",
        SLERP,
        lambda a, b, fraction: (1 - fraction) * a + fraction * b,
        (
            test_path.test_on_a_circle_it_is_the_angle,
            test_path.test_on_a_sphere_it_is_the_mean_of_squared_arcs,
            test_path.test_it_is_the_squared_derivative_at_the_moment,
            test_path.test_latents_are_mixed_each_at_its_own_moment,
        ),
    ),
    Mutant(
        "all pairs are taken at the first pair's moment",
        MIXED,
        lambda a, b, fractions: ORIGINAL_SLERP(a, b, fractions[0]),
        (
            test_path.test_moments_are_uniform_along_the_path,
            test_path.test_latents_are_mixed_each_at_its_own_moment,
        ),
    ),
    Mutant(
        "latents are mixed in half precision",
        MIXED,
        lambda a, b, fractions: ORIGINAL_MIXED(a.half(), b.half(), fractions).to(a),
        (test_path.test_on_a_circle_it_is_the_angle, test_path.test_float32_suffices_at_the_default_step),
    ),
    Mutant(
        "a sampler that draws noise is not noticed",
        "ddpm_edu.metrics.path._UNSURE",
        math.inf,
        (test_path.test_noise_in_the_sampler_is_refused,),
    ),
    Mutant(
        "moments come from the global stream",
        "ddpm_edu.metrics.path.torch.rand",
        lambda *shape, generator=None, device=None, given=torch.rand: given(*shape),
        (test_path.test_a_generator_makes_it_repeatable,),
    ),
)

MUTANTS = (*KERNELS, *NEIGHBOURS, *SCORES, *PATHS)
