"""What is kept of reference sets: found by content, checked when read, never in the way."""

import hashlib
import os
import tempfile
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ddpm_edu import metrics
from ddpm_edu.errors import DataWarning
from ddpm_edu.metrics import reference


class Counting:
    """Features (N, 3) by one matrix, and how often they were asked for."""

    def __init__(self, seed=0):
        self.net, self.calls = nn.Linear(16, 3), 0
        with torch.no_grad():
            self.net.weight.copy_(torch.randn(3, 16, generator=torch.Generator().manual_seed(seed)))
            self.net.bias.zero_()

    def features(self, images):
        self.calls += 1
        return self.net(images.flatten(1)).detach()


def images(seed=0, count=20):
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


def files(folder):
    return sorted(folder.iterdir())


def test_the_second_time_nothing_is_computed(tmp_path):
    extractor, x = Counting(), images()
    for _ in range(3):
        found = reference.moments(x.clone(), extractor, tmp_path)
    assert extractor.calls == 1
    f = x.flatten(1).double() @ extractor.net.weight.detach().double().T
    np.testing.assert_allclose(found.mean, f.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.covariance, np.cov(f.numpy(), rowvar=False), atol=1e-6)
    assert found.mean.dtype == found.covariance.dtype == torch.float64
    assert isinstance(found, metrics.Moments)
    (path,) = files(tmp_path)
    assert load_file(path).keys() == {"mean", "covariance"}


def test_features_are_kept_apart_from_moments(tmp_path):
    extractor, x = Counting(), images()
    f = [reference.features(x, extractor, tmp_path) for _ in range(2)]
    assert extractor.calls == 1 and torch.equal(*f)
    reference.moments(x, extractor, tmp_path)
    assert extractor.calls == 2 and len(files(tmp_path)) == 2


def change_one_pixel(x):
    x = x.clone()
    x[7, 0, 1, 2] += 2**-20
    return x


@pytest.mark.parametrize(
    "other",
    [
        change_one_pixel,
        lambda x: x.flip(0),
        lambda x: x[:-1],
        lambda x: x.double(),
        lambda x: x.view(10, 2, 4, 4),
    ],
    ids=["one pixel", "order", "one less", "dtype", "shape"],
)
def test_another_set_under_the_same_name_is_another_file(other, tmp_path):
    """No name is given at all: only what the images are can tell them apart."""
    assert reference._key(images(), Counting()) != reference._key(other(images()), Counting())


def test_other_images_or_weights_get_their_own_moments():
    """As many, of the same size and kind, in the same folder."""
    with tempfile.TemporaryDirectory() as folder:
        found = [
            reference.moments(images(seed), Counting(weights), Path(folder)).mean
            for seed, weights in ((0, 0), (1, 0), (0, 1), (1, 1), (0, 0))
        ]
    for mean, (seed, weights) in zip(found, ((0, 0), (1, 0), (0, 1), (1, 1), (0, 0)), strict=True):
        wanted = Counting(weights).features(images(seed)).double().mean(0)
        torch.testing.assert_close(mean, wanted, atol=1e-6, rtol=0)


def test_a_flipped_bit_is_no_other_mean():
    with tempfile.TemporaryDirectory() as folder:
        wanted = reference.moments(images(), Counting(), Path(folder))
        (path,) = files(Path(folder))
        flipped(path, bytearray(path.read_bytes()))
        with pytest.warns(DataWarning, match="computed anew"):
            found = reference.moments(images(), Counting(), Path(folder))
    assert torch.equal(found.mean, wanted.mean) and torch.equal(found.covariance, wanted.covariance)


def test_another_extractor_is_another_file(tmp_path, monkeypatch):
    class Other(Counting):
        pass

    with_bias = Counting()
    with torch.no_grad():
        with_bias.net.bias[1] += 1
    keys = [reference._key(images(), e) for e in (Counting(), Counting(1), with_bias, Other())]
    monkeypatch.setattr(reference, "__version__", "0.0.0")
    keys.append(reference._key(images(), Counting()))
    monkeypatch.setattr(reference, "FORMAT", 0)
    keys.append(reference._key(images(), Counting()))
    assert len(set(keys)) == 6


def test_the_hash_is_of_names_kinds_shapes_and_bytes():
    """Written out by hashlib and numpy; the order of the dictionary is no content."""
    a, b = torch.arange(6.0).view(2, 3), torch.tensor(7)
    wanted = hashlib.sha256(b"a torch.float32 (2, 3)\n" + a.numpy().tobytes())
    wanted.update(b"b torch.int64 ()\n" + b.numpy().tobytes())
    assert reference.content_hash({"b": b, "a": a.T.contiguous().T}) == wanted.hexdigest()
    assert reference.content_hash({"a": torch.ones(2, dtype=torch.bfloat16)}) != reference.content_hash(
        {"a": torch.ones(2)}
    )


def flipped(path, content):
    content[-3] ^= 1
    path.write_bytes(content)


def cut(path, content):
    path.write_bytes(content[: len(content) // 2])


def empty(path, content):
    path.write_bytes(b"")


def another_program(path, content):
    path.write_text("not ours")


def another_hash(path, content):
    """Whole, but of other content than its name says, as where somebody has copied a file over another."""
    tensors = {"mean": torch.zeros(3).double(), "covariance": torch.eye(3).double()}
    save_file(tensors, path, {"name": "moments-other", "sha256": reference.content_hash(tensors)})


def other_tensors(path, content):
    tensors = {"average": torch.zeros(3)}
    save_file(tensors, path, {"name": path.stem, "sha256": reference.content_hash(tensors)})


def without_hash(path, content):
    save_file({"mean": torch.zeros(3).double(), "covariance": torch.eye(3).double()}, path)


@pytest.mark.parametrize(
    "damage",
    [flipped, cut, empty, another_program, another_hash, other_tensors, without_hash],
    ids=lambda f: f.__name__,
)
def test_a_damaged_file_is_computed_anew_and_said(damage, tmp_path):
    extractor = Counting()
    wanted = reference.moments(images(), extractor, tmp_path)
    (path,) = files(tmp_path)
    damage(path, bytearray(path.read_bytes()))
    with pytest.warns(DataWarning, match=f"{path.name} cannot be used .* computed anew") as said:
        found = reference.moments(images(), extractor, tmp_path)
    assert said[0].filename == __file__
    assert torch.equal(found.mean, wanted.mean) and torch.equal(found.covariance, wanted.covariance)
    assert extractor.calls == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reference.moments(images(), extractor, tmp_path)
    assert extractor.calls == 2, "and it was mended"
    assert files(tmp_path) == [path]


def test_where_nothing_can_be_written_it_is_computed_each_time(tmp_path):
    """A file stands where the folder should be: as for a disk that is full, or may not be written to."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    extractor = Counting()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        a, b = (reference.moments(images(), extractor, blocked / "folder") for _ in range(2))
    assert extractor.calls == 2 and torch.equal(a.mean, b.mean)
    assert files(tmp_path) == [blocked]


def test_a_folder_that_may_not_be_written_to(tmp_path, monkeypatch):
    def refuse(*given, **named):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(reference.tempfile, "NamedTemporaryFile", refuse)
    assert len(reference.moments(images(), Counting(), tmp_path).mean) == 3
    assert files(tmp_path) == []


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reference.Path, "replace", full)
    assert len(reference.moments(images(), Counting(), tmp_path).mean) == 3
    assert files(tmp_path) == []


def test_many_writers_at_once(tmp_path):
    """Threads, so with one process number: each is given whole moments, and one whole file is left."""
    extractor, found = Counting(), []
    start = threading.Barrier(8)

    def one():
        start.wait()
        found.append(reference.moments(images(), extractor, tmp_path))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        threads = [threading.Thread(target=one) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        calls = extractor.calls
        reference.moments(images(), extractor, tmp_path)
    assert extractor.calls == calls
    assert len(found) == 8 and all(torch.equal(f.covariance, found[0].covariance) for f in found)
    assert len(files(tmp_path)) == 1


@pytest.mark.skipif(os.name != "posix", reason="rights")
def test_others_may_read_it(tmp_path):
    reference.moments(images(), Counting(), tmp_path)
    assert files(tmp_path)[0].stat().st_mode & 0o777 == 0o644


def test_by_default_it_lies_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DDPM_EDU_DATA", str(tmp_path))
    extractor = metrics.features.load("digits")
    x = torch.zeros(3, 1, 8, 8)
    x[1], x[2] = -1, 1
    found = reference.features(x, extractor)
    assert torch.equal(found, extractor.features(x))
    assert [path.parent for path in tmp_path.rglob("*.safetensors")] == [tmp_path / "reference"]
