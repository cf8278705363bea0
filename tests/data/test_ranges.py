"""The doors between grey levels and [-1, 1]. The round-trip tests take no fixtures, so that mutants can re-run them."""

import numpy as np
import pytest
import torch

from ddpm_edu.data import ranges
from ddpm_edu.errors import DataError


def test_all_256_levels_round_trip():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(ranges.to_uint8(ranges.to_model_range(levels)), levels)


def test_every_number_of_levels_round_trips():
    for count in (*range(2, 256), 256):
        levels = torch.arange(count, dtype=torch.uint8)
        back = ranges.to_uint8(ranges.to_model_range(levels, levels=count), levels=count)
        assert torch.equal(back, levels), f"{count} levels"


def test_the_17_levels_of_the_digits_round_trip():
    levels = torch.arange(17, dtype=torch.uint8)
    x = ranges.to_model_range(levels, levels=17)
    assert (x.min().item(), x[8].item(), x.max().item()) == (-1, 0, 1)
    assert torch.equal(ranges.to_uint8(x, levels=17), levels)


def test_half_precision_images_round_trip():
    # bfloat16 places a level within a quarter of a level; arithmetic done *in* bfloat16 would lose it.
    levels = torch.arange(256, dtype=torch.uint8)
    x = ranges.to_model_range(levels)
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        assert torch.equal(ranges.to_uint8(x.to(dtype)), levels), dtype


def test_rounds_to_the_nearest_level():
    x = np.random.default_rng(0).uniform(-1, 1, 5000)
    table = np.linspace(-1, 1, 256)
    nearest = np.abs(x[:, None] - table).argmin(1)
    assert ranges.to_uint8(torch.from_numpy(x)).tolist() == nearest.tolist()


def test_what_lies_outside_is_clamped_and_never_wraps():
    x = torch.tensor([-1e30, -1.5, -1.0001, 1.0001, 1.5, 1e30])
    assert ranges.to_uint8(x).tolist() == [0, 0, 0, 255, 255, 255]
    assert ranges.to_uint8(x, levels=17).tolist() == [0, 0, 0, 16, 16, 16]


def test_not_a_number_is_refused():
    for value in (float("nan"), float("inf")):
        with pytest.raises(DataError, match="1 of 2 values are NaN or infinite"):
            ranges.to_uint8(torch.tensor([0.0, value]))


def test_model_range_keeps_shape_and_spans_the_interval():
    k = torch.tensor([[0, 255], [51, 204]], dtype=torch.uint8)
    x = ranges.to_model_range(k)
    assert x.dtype == torch.float32
    torch.testing.assert_close(x, torch.tensor([[-1.0, 1.0], [-0.6, 0.6]]))
    assert k.tolist() == [[0, 255], [51, 204]]  # the input is not written to
    assert ranges.to_model_range(k.to(torch.int64)).equal(x)


def test_to_uint8_leaves_its_input_alone():
    x = torch.tensor([-2.0, 0.5, 2.0])
    ranges.to_uint8(x)
    assert x.tolist() == [-2.0, 0.5, 2.0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_fit_images_pass_in_every_floating_dtype(dtype):
    x = ranges.to_model_range(torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)).to(dtype)
    ranges.check_images(x)
    ranges.check_images(x, channels=1)


def test_latents_of_many_channels_pass():
    ranges.check_images(torch.linspace(-1, 1, 2 * 64 * 8 * 4).reshape(2, 64, 8, 4), channels=64)
    ranges.check_images(torch.linspace(-1, 1, 2 * 16 * 8 * 8).reshape(2, 16, 8, 8))


def test_an_overshoot_is_told_from_rounding():
    x = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)
    ranges.check_images(x * (1 + 1e-5))
    with pytest.raises(DataError, match="resize overshot"):
        ranges.check_images(x * 1.01)
