"""CIFAR-10's binary version: records, archives, and archives built to do harm."""

import gzip
import hashlib
import importlib
import io
import os
import pickle
import tarfile
import tracemalloc
from dataclasses import replace

import pytest
import torch

from ddpm_edu import data
from ddpm_edu.errors import DataError
from tests.data.helpers import RECORD, cifar_batch, member, tar_gz, write

module = importlib.import_module("ddpm_edu.data.cifar10")  # the package's attribute is the function
FOLDER = "cifar-10-batches-bin"
RECORDS = 20


class Payload:
    """A pickle that writes a marker file when it is opened."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


@pytest.fixture
def short_batches(monkeypatch):
    """Batches of 20 records instead of 10,000, so that hostile archives are made in milliseconds."""
    monkeypatch.setattr(module, "_BATCH_BYTES", RECORDS * RECORD)


def whole_archive() -> list[tuple[tarfile.TarInfo, bytes]]:
    """The members of the published archive, in small, in its own strange order."""
    batches = [member(f"{FOLDER}/data_batch_{i}.bin", cifar_batch(RECORDS, first_label=i)) for i in (1, 4, 2, 3, 5)]
    return [
        member(FOLDER, type=tarfile.DIRTYPE),
        *batches,
        member(f"{FOLDER}/batches.meta.txt", b"airplane\n"),
        member(f"{FOLDER}/readme.html", b"<html>"),
        member(f"{FOLDER}/test_batch.bin", cifar_batch(RECORDS, first_label=7)),
    ]


def place(tmp_path, monkeypatch, members):
    """Put an archive where cifar10 looks, with a pinned hash that fits, so that only its content is judged."""
    folder = tmp_path / "inner" / "cifar10"
    folder.mkdir(parents=True)
    path = tar_gz(folder / "cifar-10-binary.tar.gz", members)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(module, "CIFAR10_ARCHIVE", replace(module.CIFAR10_ARCHIVE, sha256=digest))
    return folder


def files_below(path):
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*"))


def test_the_archive_is_read_in_order_and_nothing_is_unpacked(tmp_path, monkeypatch, short_batches):
    folder = place(tmp_path, monkeypatch, whole_archive())
    before = files_below(tmp_path)
    train, test = data.cifar10("train", folder), data.cifar10("test", folder)
    assert files_below(tmp_path) == before
    assert train.images.shape == (5 * RECORDS, 3, 32, 32)
    assert train.labels[::RECORDS].tolist() == [1, 2, 3, 4, 5]  # batch 1, 2, 3, 4, 5, not the archive's order
    assert test.labels[0].item() == 7
    assert test.classes[7] == "horse"
    for i in (0, 9):  # pixels were written as red i, green i + 1, blue i + 2
        assert [int(plane.unique()) for plane in test.images[i]] == [i, i + 1, i + 2]


def test_rows_are_rows(tmp_path, monkeypatch, short_batches):
    record = bytes([3]) + bytes(x for _ in range(3) for y in range(32) for x in range(32))
    write(tmp_path / "test_batch.bin", record * RECORDS)
    image = data.cifar10("test", tmp_path).images[0]
    assert image[1, 5].tolist() == list(range(32))  # along a row the value written was x


def test_loose_files_of_full_size(tmp_path):
    write(tmp_path / FOLDER / "test_batch.bin", cifar_batch(10_000))
    loaded = data.cifar10("test", tmp_path)
    assert loaded.images.shape == (10_000, 3, 32, 32)
    assert torch.bincount(loaded.labels).tolist() == [1000] * 10


def test_the_cache_is_the_default_place(tmp_path, monkeypatch, short_batches):
    monkeypatch.setenv("DDPM_EDU_DATA", str(tmp_path))
    write(tmp_path / "cifar10" / "test_batch.bin", cifar_batch(RECORDS))
    assert len(data.cifar10("test")) == RECORDS


def test_a_flipped_byte_in_any_region_of_the_archive_is_refused(tmp_path, monkeypatch, short_batches):
    folder = place(tmp_path, monkeypatch, whole_archive())
    path = folder / "cifar-10-binary.tar.gz"
    content = path.read_bytes()
    for position in (0, 5, 100, len(content) // 2, len(content) - 1):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(DataError, match=r"sha256 is .*, expected"):
            data.cifar10("test", folder)


def test_a_cut_archive_is_refused_even_where_its_hash_is_not_known(tmp_path, short_batches):
    content = tar_gz(tmp_path / "whole.tar.gz", whole_archive()).read_bytes()
    for length in range(0, len(content) - 1, 97):
        path = write(tmp_path / "cut.tar.gz", content[:length])
        with pytest.raises(DataError, match=r"cut.tar.gz: (not a readable tar.gz|no member)"):
            module.read_archive(path, ("test_batch.bin",))


OUTSIDE = [
    ("parent folder", [member("../escaped.bin", b"x")]),
    ("hidden parent", [member(f"{FOLDER}/../../escaped.bin", b"x")]),
    ("absolute", [member("/escaped.bin", b"x")]),
    ("windows", [member("..\\escaped.bin", b"x")]),
    ("symlink", [member(f"{FOLDER}/escaped", type=tarfile.SYMTYPE, linkname="../..")]),
    ("symlinked batch", [member(f"{FOLDER}/test_batch.bin", type=tarfile.SYMTYPE, linkname="/escaped")]),
    ("hardlink", [member(f"{FOLDER}/test_batch.bin", type=tarfile.LNKTYPE, linkname="/escaped")]),
    ("character device", [member(f"{FOLDER}/escaped", type=tarfile.CHRTYPE, devmajor=1, devminor=5)]),
    ("block device", [member(f"{FOLDER}/escaped", type=tarfile.BLKTYPE)]),
    ("pipe", [member(f"{FOLDER}/escaped", type=tarfile.FIFOTYPE)]),
    ("twice", [member(f"{FOLDER}/test_batch.bin", cifar_batch(RECORDS))]),
    ("twice, other folder", [member("other/test_batch.bin", cifar_batch(RECORDS))]),
    ("too large", [member(f"{FOLDER}/large.bin", bytes(RECORDS * RECORD + 1))]),
    ("too many", [member(f"{FOLDER}/{i}", b"") for i in range(40)]),
]


@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
@pytest.mark.parametrize("extra", [case[1] for case in OUTSIDE], ids=[case[0] for case in OUTSIDE])
def test_hostile_members_are_refused_and_nothing_is_written(tmp_path, monkeypatch, short_batches, extra, first):
    members = [*extra, *whole_archive()] if first else [*whole_archive(), *extra]
    folder = place(tmp_path, monkeypatch, members)
    before = files_below(tmp_path)
    with pytest.raises(DataError, match="the published archive is not like that"):
        data.cifar10("test", folder)
    assert files_below(tmp_path) == before


def test_a_missing_member_is_named(tmp_path, monkeypatch, short_batches):
    folder = place(tmp_path, monkeypatch, whole_archive()[:-1])
    with pytest.raises(DataError, match=r"no member test_batch.bin"):
        data.cifar10("test", folder)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_a_pickle_that_poses_as_a_batch_is_never_run(tmp_path, monkeypatch, short_batches, padded, packed):
    marker = tmp_path / "marker"
    content = pickle.dumps(Payload(marker))
    if padded:
        content = content.ljust(RECORDS * RECORD, b"\xff")
    folder = tmp_path / "loose"
    if packed:
        members = [*whole_archive()[:-1], member(f"{FOLDER}/test_batch.bin", content)]
        folder = place(tmp_path, monkeypatch, members)
    else:
        write(folder / "test_batch.bin", content)
    with pytest.raises(DataError, match=r"test_batch.bin: (record 0 has label 128|expected \d+ bytes)"):
        data.cifar10("test", folder)
    assert not marker.exists()
    pickle.loads(content)  # noqa: S301  the control: this pickle does leave its mark where someone opens it
    assert marker.exists()


def test_the_python_version_is_recognised_and_not_opened(tmp_path):
    marker = tmp_path / "marker"
    write(tmp_path / "data_batch_1", pickle.dumps(Payload(marker)))
    with pytest.raises(DataError, match=r"data_batch_1 is the Python version: pickles"):
        data.cifar10("train", tmp_path)
    assert not marker.exists()


def test_a_gzip_bomb_ends_in_an_error_and_not_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MAX_UNPACKED", 8 * 2**20)
    # A GNU long-name header may announce any length, which tarfile would read into memory in one piece.
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 8 * 2**30
    bomb = io.BytesIO()
    with gzip.GzipFile(fileobj=bomb, mode="wb", compresslevel=1) as stream:
        stream.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(64):
            stream.write(bytes(2**20))
    path = write(tmp_path / "bomb.tar.gz", bomb.getvalue())
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="unpacks to more than 8388608 bytes"):
            module.read_archive(path, ("test_batch.bin",))
        assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    finally:
        tracemalloc.stop()


def test_a_label_above_nine_is_named_with_its_record(tmp_path, short_batches):
    content = bytearray(cifar_batch(RECORDS))
    content[4 * RECORD] = 10
    write(tmp_path / "test_batch.bin", bytes(content))
    with pytest.raises(DataError, match=r"test_batch.bin: record 4 has label 10; labels are 0..9"):
        data.cifar10("test", tmp_path)


@pytest.mark.parametrize("change", [-1, 1, RECORD, -RECORD])
def test_a_batch_of_another_length_is_refused(tmp_path, short_batches, change):
    content = (cifar_batch(RECORDS) + bytes(RECORD))[: RECORDS * RECORD + change]
    write(tmp_path / "test_batch.bin", content)
    with pytest.raises(DataError, match=rf"expected {RECORDS * RECORD} bytes"):
        data.cifar10("test", tmp_path)
