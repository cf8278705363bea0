"""Mistakes about schedules."""

import torch

from ddpm_edu import schedules
from ddpm_edu.exercises import forward_noising
from tests import test_schedules
from tests.mutants import Mutant

ORIGINAL = schedules.linear_scaled


def clipped_silently(T=1000, start=1e-4, end=0.02):
    betas = torch.linspace(1000 / T * start, 1000 / T * end, T, dtype=torch.float64)
    return schedules.from_betas(betas.clamp(max=0.999))


MUTANTS = (
    Mutant(
        "alpha_bar_t is the product over all T steps, for every t",
        "ddpm_edu.schedules.cumulative",
        lambda betas: torch.cat([betas.new_ones(1), (1 - betas).prod().expand(len(betas))]),
        (
            test_schedules.test_alpha_bar_is_the_running_product_of_one_minus_beta,
            test_schedules.test_tables_have_entry_zero_for_the_clean_image_everywhere,
        ),
        (forward_noising.running_product, "product over the whole chain"),
    ),
    Mutant(
        "alpha_bar in float32",
        "ddpm_edu.schedules.cumulative",
        lambda betas: torch.cat([betas.new_ones(1), torch.cumprod(1 - betas.float(), 0).double()]),
        (test_schedules.test_alpha_bar_is_the_running_product_of_one_minus_beta,),
    ),
    Mutant(
        "the running sum in place of the product",
        "ddpm_edu.schedules.cumulative",
        lambda betas: torch.cat([betas.new_ones(1), 1 - torch.cumsum(betas, 0)]),
        (test_schedules.test_alpha_bar_is_the_running_product_of_one_minus_beta,),
        (forward_noising.running_product, "what is *left*"),
    ),
    Mutant(
        "no entry for the clean image",
        "ddpm_edu.schedules.cumulative",
        lambda betas: torch.cumprod(1 - betas, 0),
        (test_schedules.test_tables_have_entry_zero_for_the_clean_image_everywhere,),
        (forward_noising.running_product, "alpha_bar_0 = 1 comes first"),
    ),
    Mutant(
        "linear betas not scaled when T changes",
        "ddpm_edu.schedules.linear_scaled",
        lambda T=1000, a=1e-4, b=0.02: schedules.from_betas(torch.linspace(a, b, T, dtype=torch.float64)),
        (test_schedules.test_linear_scaled_keeps_the_end_when_T_changes,),
    ),
    Mutant(
        "linear betas scaled by T / 1000",
        "ddpm_edu.schedules.linear_scaled",
        lambda T=1000, a=1e-4, b=0.02: ORIGINAL(T, a * (T / 1000) ** 2, min(1, b * (T / 1000) ** 2)),
        (test_schedules.test_linear_scaled_keeps_the_end_when_T_changes,),
    ),
    Mutant(
        "betas above 1 clipped in silence",
        "ddpm_edu.schedules.linear_scaled",
        clipped_silently,
        (
            test_schedules.test_too_few_scaled_steps_are_refused,
            test_schedules.test_twenty_scaled_steps_end_in_exactly_nothing,
        ),
    ),
)
