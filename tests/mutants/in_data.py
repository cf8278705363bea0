"""Mistakes about data: the doors between grey levels and [-1, 1]."""

import torch

from tests.data import test_ranges
from tests.mutants import Mutant

TO_UINT8 = "ddpm_edu.data.ranges.to_uint8"

MUTANTS = (
    Mutant(
        "to_uint8 truncates: 63 of 256 levels come back one darker",
        TO_UINT8,
        lambda x, levels=256: ((x + 1) * ((levels - 1) / 2)).clamp(0, levels - 1).to(torch.uint8),
        (test_ranges.test_all_256_levels_round_trip, test_ranges.test_rounds_to_the_nearest_level),
    ),
    Mutant(
        "to_uint8 scales by 128, not 127.5",
        TO_UINT8,
        lambda x, levels=256: ((x + 1) * (levels / 2)).round().clamp(0, levels - 1).to(torch.uint8),
        (test_ranges.test_all_256_levels_round_trip, test_ranges.test_rounds_to_the_nearest_level),
    ),
    Mutant(
        "to_uint8 does not clamp, so 1.1 wraps around to black",
        TO_UINT8,
        lambda x, levels=256: ((x + 1) * ((levels - 1) / 2)).round().to(torch.int64).remainder(256).to(torch.uint8),
        (test_ranges.test_what_lies_outside_is_clamped_and_never_wraps,),
    ),
    Mutant(
        "to_uint8 lets NaN through as black",
        TO_UINT8,
        lambda x, levels=256: ((x + 1) * ((levels - 1) / 2)).nan_to_num().round().clamp(0, levels - 1).to(torch.uint8),
        (test_ranges.test_not_a_number_is_refused,),
    ),
    Mutant(
        "17 grey levels scaled as if there were 256",
        "ddpm_edu.data.ranges.to_model_range",
        lambda k, levels=256: k / 127.5 - 1,
        (test_ranges.test_the_17_levels_of_the_digits_round_trip,),
    ),
)
