"""The IDX reader: whole files, and every way in which one can be wrong."""

import contextlib
import gzip
import hashlib
import tracemalloc

import numpy as np
import pytest

from ddpm_edu.data import read_idx
from ddpm_edu.errors import DataError
from tests.data.helpers import gz, idx_bytes, some_images, write


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 4), (2, 1, 3, 4)])
def test_reads_what_was_written(tmp_path, packed, shape):
    array = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    content = idx_bytes(array)
    path = write(tmp_path / "file", gz(content) if packed else content)
    tensor = read_idx(path, sha256=hashlib.sha256(content).hexdigest())
    assert np.array_equal(tensor.numpy(), array)


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_cut_at_any_byte_is_refused(tmp_path, packed):
    content = idx_bytes(some_images(3))
    content = gz(content) if packed else content
    for length in range(len(content)):
        path = write(tmp_path / "cut", content[:length])
        with pytest.raises(DataError, match=r"cut: .*(trunc|cut short|not an IDX)"):
            read_idx(path)


def test_the_message_names_file_and_expected_and_found_bytes(tmp_path):
    path = write(tmp_path / "short", idx_bytes(some_images(3))[:-5])
    with pytest.raises(DataError, match=r"short: truncated, expected 60 bytes after the header, found 55"):
        read_idx(path)


def test_a_flipped_byte_anywhere_in_a_plain_file_is_refused_by_its_hash(tmp_path):
    content = idx_bytes(some_images(3))
    digest = hashlib.sha256(content).hexdigest()
    for position in range(len(content)):
        path = write(tmp_path / "flipped", flip(content, position))
        with pytest.raises(DataError, match="flipped"):
            read_idx(path, sha256=digest)


@pytest.mark.parametrize("hashed", [True, False])
def test_a_flipped_byte_anywhere_in_a_gzip_stream_is_refused_or_changes_nothing(tmp_path, hashed):
    # gzip's time stamp, its notes on compression and system, and deflate's padding bits carry no content.
    array = some_images(3)
    content = idx_bytes(array)
    packed, digest = gz(content), hashlib.sha256(content).hexdigest() if hashed else None
    accepted = []
    for position in range(len(packed)):
        path = write(tmp_path / "flipped", flip(packed, position))
        with contextlib.suppress(DataError):
            tensor = read_idx(path, sha256=digest)
            assert np.array_equal(tensor.numpy(), array), f"byte {position} changed the images"
            accepted.append(position)
    assert set(range(4, 10)) <= set(accepted)
    assert len(accepted) <= 7


@pytest.mark.parametrize("dims", [(2**31, 1), (2**31, 2**31), (2**32 - 1,) * 4, (65536, 65536), (0, 28, 28)])
@pytest.mark.parametrize("packed", [False, True])
def test_huge_and_empty_dimensions_are_refused_before_memory_is_taken(tmp_path, dims, packed):
    content = idx_bytes(some_images(1), dims)
    path = write(tmp_path / "huge", gz(content) if packed else content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="huge: the header announces"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(idx_bytes(some_images(3)))
        for _ in range(64):
            stream.write(bytes(2**20))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="found more"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [0x09, 0x0B, 0x0C, 0x0D, 0x0E, 0xFF])
def test_other_element_types_are_named(tmp_path, kind):
    content = bytearray(idx_bytes(some_images(1)))
    content[2] = kind
    with pytest.raises(DataError, match=f"IDX type 0x{kind:02x}"):
        read_idx(write(tmp_path / "typed", bytes(content)))


@pytest.mark.parametrize("dims", [0, 5, 255])
def test_a_strange_number_of_dimensions_is_named(tmp_path, dims):
    content = bytearray(idx_bytes(some_images(1)))
    content[3] = dims
    with pytest.raises(DataError, match=f"with {dims} dimensions"):
        read_idx(write(tmp_path / "dims", bytes(content)))


def test_the_size_cap_is_inclusive(tmp_path):
    path = write(tmp_path / "capped", idx_bytes(some_images(3)))
    assert read_idx(path, max_bytes=60).shape == (3, 5, 4)
    with pytest.raises(DataError, match=r"1\.\.59 are accepted"):
        read_idx(path, max_bytes=59)


def flip(content: bytes, position: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 0x10
    return bytes(changed)
