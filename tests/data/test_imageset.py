"""ImageSet and its batches."""

import pytest
import torch

from ddpm_edu import data
from ddpm_edu.errors import DataError


def small_set(n: int = 10) -> data.ImageSet:
    images = torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, 1, 2, 2).contiguous()
    return data.ImageSet("ten", images, torch.arange(n), tuple("abcdefghij"), 17)


def test_an_image_set_knows_its_levels():
    x = small_set().model_range()
    assert x.shape == (10, 1, 2, 2)
    assert x[8].eq(0).all()  # level 8 of 0..16 is the middle


@pytest.mark.parametrize("indices", [torch.tensor([3, 1]), slice(1, 3), torch.arange(10) % 4 == 3])
def test_a_subset_keeps_images_and_labels_together(indices):
    part = small_set().subset(indices)
    assert len(part) == 2
    assert part.labels.tolist() == part.images[:, 0, 0, 0].tolist() == torch.arange(10)[indices].tolist()
    assert (part.levels, part.classes) == (17, tuple("abcdefghij"))


def test_batches_are_equal_in_size_and_show_no_image_twice():
    batches = list(data.batches(small_set(), 3, torch.Generator().manual_seed(0)))
    assert [tuple(x.shape) for x, _ in batches] == [(3, 1, 2, 2)] * 3
    seen = torch.cat([labels for _, labels in batches]).tolist()
    assert len(set(seen)) == 9
    for x, labels in batches:
        assert torch.equal(data.to_uint8(x, 17)[:, 0, 0, 0].long(), labels)


def test_the_generator_decides_the_order():
    def order(seed: int) -> list[int]:
        batches = data.batches(small_set(), 5, torch.Generator().manual_seed(seed))
        return torch.cat([labels for _, labels in batches]).tolist()

    assert order(0) == order(0)
    assert order(0) != order(1)


def test_a_set_without_labels_gives_none():
    unlabelled = data.ImageSet("plain", torch.zeros(2, 1, 2, 2, dtype=torch.uint8))
    ((x, labels),) = data.batches(unlabelled, 2, torch.Generator())
    assert x.shape == (2, 1, 2, 2)
    assert labels is None


def test_a_set_smaller_than_a_batch_is_refused_before_the_first_batch_is_asked_for():
    with pytest.raises(DataError, match="10 images, fewer than batch_size=11"):
        data.batches(small_set(), 11, torch.Generator())
