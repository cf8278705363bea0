"""Fashion-MNIST: found, checked, refused; on Debian's copy where it is installed, which in CI it must be."""

import hashlib
import importlib
import os

import pytest
import torch

from ddpm_edu import data
from ddpm_edu.errors import DataError
from tests.data.helpers import gz, idx_bytes, some_images, write

module = importlib.import_module("ddpm_edu.data.fashion_mnist")  # the package's attribute is the function


@pytest.fixture
def small_files(tmp_path, monkeypatch):
    """A folder with a tiny data set under Fashion-MNIST's names, whose hashes count as the published ones."""
    images = some_images(20)
    labels = (images[:, 0, 0] % 10).astype("uint8")
    hashes = {}
    for prefix in ("train", "t10k"):
        for stem, array in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            content = idx_bytes(array)
            hashes[stem] = hashlib.sha256(content).hexdigest()
            write(tmp_path / "fashion-mnist" / f"{stem}.gz", gz(content))
    monkeypatch.setattr(module, "CONTENT_SHA256", hashes)
    return tmp_path / "fashion-mnist"


def test_reads_from_a_folder_gzipped_or_plain(small_files):
    packed = data.fashion_mnist("train", small_files)
    assert packed.images.shape == (20, 1, 5, 4)
    (small_files / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(some_images(20)))
    (small_files / "t10k-images-idx3-ubyte.gz").unlink()
    assert data.fashion_mnist("test", str(small_files)).images.equal(packed.images)


def test_looks_in_the_cache_then_in_debians_folder(small_files, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "DEBIAN_FOLDER", tmp_path / "nowhere")
    monkeypatch.setenv("DDPM_EDU_DATA", str(small_files.parent))
    assert data.fashion_mnist_available()
    assert len(data.fashion_mnist("test")) == 20
    monkeypatch.setenv("DDPM_EDU_DATA", str(tmp_path / "empty"))
    assert not data.fashion_mnist_available()
    monkeypatch.setattr(module, "DEBIAN_FOLDER", small_files)
    assert data.fashion_mnist_available()
    assert len(data.fashion_mnist("test")) == 20


def test_one_missing_file_makes_it_unavailable_and_is_named(small_files, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "DEBIAN_FOLDER", tmp_path / "nowhere")
    monkeypatch.setenv("DDPM_EDU_DATA", str(small_files.parent))
    (small_files / "train-labels-idx1-ubyte.gz").unlink()
    assert not data.fashion_mnist_available()
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte\[.gz\] is not in .*data fetch fashion-mnist"):
        data.fashion_mnist("train")


def test_loading_never_asks_the_network(tmp_path, monkeypatch):
    download = importlib.import_module("ddpm_edu.data.download")
    asked = []
    monkeypatch.setattr(download.pooch, "retrieve", lambda *args, **kwargs: asked.append(args))
    monkeypatch.setenv("DDPM_EDU_DATA", str(tmp_path))
    monkeypatch.setattr(module, "DEBIAN_FOLDER", tmp_path)
    with pytest.raises(DataError):
        data.fashion_mnist()
    with pytest.raises(DataError):
        data.cifar10()
    assert asked == []


def test_another_data_set_under_its_name_is_refused(small_files):
    other = some_images(20)
    other[0, 0, 0] ^= 1
    write(small_files / "train-images-idx3-ubyte.gz", gz(idx_bytes(other)))
    with pytest.raises(DataError, match=r"sha256 of the decompressed content is .* expected"):
        data.fashion_mnist("train", small_files)


def test_debians_copy_has_the_known_content():
    if not module.DEBIAN_FOLDER.is_dir():
        if os.environ.get("CI"):
            pytest.fail("CI must have the Debian package dataset-fashion-mnist: install it before the tests")
        pytest.skip("the Debian package dataset-fashion-mnist is not installed")
    for split, count in (("train", 60_000), ("test", 10_000)):
        loaded = data.fashion_mnist(split, module.DEBIAN_FOLDER)  # raises unless all hashes are right
        assert loaded.images.shape == (count, 1, 28, 28)
        assert torch.bincount(loaded.labels).tolist() == [count // 10] * 10
    # Published statistics of the training set's grey levels: mean 0.2860, standard deviation 0.3530 of 255.
    grey = data.fashion_mnist("train", module.DEBIAN_FOLDER).images.double() / 255
    assert round(grey.mean().item(), 4) == 0.2860
    assert round(grey.std().item(), 4) == 0.3530
