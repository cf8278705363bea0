"""Files that mean harm, made here: pickles that run something, sizes that lie, archives that reach outside.

They are harmless as long as nobody falls for them: what they run makes an empty folder, what they unpack to is zeros.
"""

import contextlib
import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from ddpm_edu import models
from tests.data.helpers import gz, member, png

BOMB = 512 * 2**20  # bytes that a small file unpacks to
NET = models.UNetConfig(channels=1, width=8, multipliers=(1,), blocks=1, groups=4, attention=(), T=50)
ABOUT = {
    "network": "UNet",
    "arguments": NET.to_dict(),
    "predicts": "eps",
    "schedule": {"family": "cosine", "T": 50},
    "size": [1, 8, 8],
    "data": "digits",
}
"""What the metadata of an honest file say."""


class Runs:
    """In a pickle, it makes the folder ``marker`` as soon as the pickle is opened."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> object:
        return os.mkdir, (self.marker,)


def pickles(marker: Path) -> dict[str, bytes]:
    """All ways in which a file that holds a pickle can come along."""
    harm = Runs(marker)

    def as_torch(value: object, **options: object) -> bytes:
        file = io.BytesIO()
        torch.save(value, file, **options)
        return file.getvalue()

    array = io.BytesIO()
    np.save(array, np.array([harm], dtype=object), allow_pickle=True)
    return {
        **{f"pickle, protocol {p}": pickle.dumps(harm, protocol=p) for p in (0, 2, 4, 5)},
        "torch file": as_torch(harm),
        "torch file, among tensors": as_torch({"format": 1, "step": 5, "net": {"a": torch.zeros(2), "b": harm}}),
        "torch file of old": as_torch(harm, _use_new_zipfile_serialization=False),
        "numpy file": array.getvalue(),
        "gzipped pickle": gz(pickle.dumps(harm)),
    }


def opened(content: bytes) -> None:
    """What somebody does who falls for it: the control of all tests here."""
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    if content.startswith(b"\x93NUMPY"):
        np.load(io.BytesIO(content), allow_pickle=True)
    else:
        with contextlib.suppress(RuntimeError, pickle.UnpicklingError):  # which comes too late
            torch.load(io.BytesIO(content), weights_only=False)


def bombs() -> dict[str, bytes]:
    """Small files that say they are large, or become it."""
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, content in {"a/version": b"3\n", "a/byteorder": b"little", "a/.data/serialization_id": b"0"}.items():
            file.writestr(name, content)
        with file.open("a/data.pkl", "w", force_zip64=True) as stream:
            for _ in range(BOMB // 2**20):
                stream.write(bytes(2**20))
    gzipped = io.BytesIO()
    with gzip.GzipFile(fileobj=gzipped, mode="wb", compresslevel=1) as stream:
        stream.write(struct.pack(">BBBBII", 0, 0, 8, 2, 2**31, 2**31))
        for _ in range(BOMB // 2**20):
            stream.write(bytes(2**20))
    lies = {"a": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 2**62]}}
    return {
        "zip bomb": zipped.getvalue(),
        "gzip bomb": gzipped.getvalue(),
        "IDX of 2^62 bytes": struct.pack(">BBBBII", 0, 0, 8, 2, 2**31, 2**31),
        "PNG of 10^10 pixels": png(100_000, 100_000, 8, 2, b""),
        "safetensors with a header of 2^60 bytes": struct.pack("<Q", 2**60) + b"{}",
        "safetensors with a tensor of 2^62 bytes": with_header(json.dumps(lies).encode()),
        "safetensors, deeply nested": with_header(b'{"__metadata__":' + b"[" * 100_000),
    }


def with_header(header: bytes) -> bytes:
    """A safetensors file without numbers."""
    return struct.pack("<Q", len(header)) + header


def archives() -> dict[str, bytes]:
    """Archives whose members want to be somewhere else."""
    links = {"symlink": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE}
    cases = {
        "tar with ..": [member("../escaped", b"x")],
        "tar with a root": [member("/escaped", b"x")],
        **{f"tar with a {name}": [member("escaped", type=kind, linkname="../..")] for name, kind in links.items()},
        "tar with a device": [member("escaped", type=tarfile.CHRTYPE, devmajor=1, devminor=5)],
        "tar with a member twice": [member("test_batch.bin", b"x"), member("test_batch.bin", b"y")],
    }
    made = {}
    for name, members in cases.items():
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:gz") as tar:
            for info, content in members:
                tar.addfile(info, io.BytesIO(content))
        made[name] = file.getvalue()
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as file:
        file.writestr("../escaped", b"x")
    return {**made, "zip with ..": zipped.getvalue(), "a page": b"<html><script>alert(1)</script></html>", "empty": b""}


def weights(**about: object) -> bytes:
    """A file of weights that is as it should be, but for what its metadata say."""
    torch.manual_seed(0)
    return save(models.UNet(NET).state_dict(), {"config": json.dumps({**ABOUT, **about})})


def metadata() -> dict[str, bytes]:
    """Files of weights whose numbers are right and whose metadata lie."""
    arguments = NET.to_dict()
    nested = {"config": "[" * 100_000}
    return {
        "a network of gigabytes": weights(arguments={**arguments, "width": 2**12}),
        "a network that no memory holds": weights(arguments={**arguments, "classes": 2**60}),
        "a network of 10^9 blocks": weights(arguments={**arguments, "blocks": 10**9}),
        "a network of 10^5 levels": weights(arguments={**arguments, "multipliers": [1] * 10**5}),
        "a network by the name of a function": weights(network="__import__"),
        "arguments that are none": weights(arguments={"config": "os.system"}),
        "a schedule of 10^7 steps": weights(schedule={"family": "cosine", "T": 10**7}),
        "a schedule by the name of a function": weights(schedule={"family": "from_betas", "T": 50}),
        "a schedule that is none": weights(schedule="cosine"),
        "a prediction that is none": weights(predicts="__class__"),
        "images of 10^12 pixels": weights(size=[1, 10**6, 10**6]),
        "images that are none": weights(size="all"),
        "a first step that is none": weights(first_t="os"),
        "data that are none": weights(data=[1]),
        "a training that is none": weights(training="config"),
        "metadata, deeply nested": save({"a": torch.zeros(1)}, nested),
        "metadata that are a list": save({"a": torch.zeros(1)}, {"config": "[1]"}),
    }
