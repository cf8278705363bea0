"""The bad inputs that reach the data: one row each of what must be refused, by which error, with which words.

The ids (C11, C12, ...) number the kinds of bad input across the whole test suite; a letter marks a variant.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_edu import data
from ddpm_edu.errors import DataError, DataWarning, DDPMError, ShapeError
from tests.data.helpers import gz, idx_bytes, png, some_images, write

GOOD = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)
BYTES = torch.arange(2 * 3 * 8 * 8).remainder(256).to(torch.uint8).reshape(2, 3, 8, 8)


def spoiled(value: float) -> torch.Tensor:
    x = GOOD.clone()
    x[1, 2, 3, 4] = value
    return x


def check(x: object, channels: int | None = None) -> Callable[[Path], object]:
    return lambda tmp: data.check_images(x, channels)


def read(content: bytes) -> Callable[[Path], object]:
    return lambda tmp: data.read_idx(write(tmp / "file.idx", content))


def folder_with(name: str, content: bytes) -> Callable[[Path], object]:
    def call(tmp: Path) -> object:
        write(tmp / name, content)
        return data.folder(tmp, 8)

    return call


def folder_with_image(name: str, image: Image.Image, **options: object) -> Callable[[Path], object]:
    def call(tmp: Path) -> object:
        image.save(tmp / name, **options)
        return data.folder(tmp, 8)

    return call


def image_set(images: torch.Tensor = BYTES, labels: torch.Tensor | None = None, **more: object):
    return lambda tmp: data.ImageSet("mine", images, labels, **more)


def batches(n: int, size: object) -> Callable[[Path], object]:
    return lambda tmp: data.batches(data.ImageSet("mine", BYTES[:n]), size, torch.Generator())


IDX = idx_bytes(some_images(3))
TWO_FRAMES = {"save_all": True, "append_images": [Image.new("RGB", (4, 4), "blue")]}

ROWS = [
    ("C11", check(BYTES), DataError, r"images are uint8 0\.\.255; .*to_model_range\(x\)"),
    ("C11-int64", check(BYTES.long()), DataError, r"images are torch.int64"),
    ("C11-array", check(GOOD.numpy()), DataError, r"images are a numpy.ndarray; .*torch.from_numpy"),
    ("C12", check(BYTES.float()), DataError, r"images span \[0, 255\], expected \[-1, 1\].*to_model_range"),
    ("C12-spread", check(GOOD * 2.6), DataError, r"images span \[-2\.6, 2\.6\], expected \[-1, 1\]"),
    ("C17-nan", check(spoiled(np.nan)), DataError, r"NaN or infinity in 1 of 2 images, first at index 1"),
    ("C17-inf", check(spoiled(-np.inf)), DataError, r"NaN or infinity in 1 of 2 images, first at index 1"),
    ("C18", check(GOOD[:0]), DataError, r"empty batch: images have shape \(0, 3, 8, 8\)"),
    ("C18-no-pixels", check(GOOD[..., :0]), DataError, r"empty batch"),
    ("C19", check(GOOD[:, :1], 3), ShapeError, r"model expects 3 channels, got 1 .*greyscale.*expand"),
    ("C19-colour", check(GOOD, 1), ShapeError, r"model expects 1 channel, got 3 .*mean\(1, keepdim=True\)"),
    ("C19-alpha", check(GOOD[:, [0, 1, 2, 2]], 3), ShapeError, r"got 4 .*alpha.*x\[:, :3\]"),
    ("C19-other", check(GOOD[:, [0, 1]], 3), ShapeError, r"expects 3 channels, got 2"),
    ("C20", check(GOOD.permute(0, 2, 3, 1)), ShapeError, r"channels-last.*permute\(0, 3, 1, 2\)"),
    ("C20-named", check(GOOD.permute(0, 2, 3, 1), 3), ShapeError, r"channels-last.*permute\(0, 3, 1, 2\)"),
    ("C20-one", check(GOOD[0].permute(1, 2, 0)), ShapeError, r"channels-last and unbatched.*\(2, 0, 1\)\[None\]"),
    ("C21", check(GOOD[0]), ShapeError, r"shape \(3, 8, 8\).*add a batch dimension: x\[None\]"),
    ("C21-plane", check(GOOD[0, 0]), ShapeError, r"shape \(8, 8\).*x\[None, None\]"),
    ("C21-flat", check(GOOD.flatten()), ShapeError, r"\(384,\).*\(N, C, H, W\) is expected"),
    ("C21-deep", check(GOOD[None]), ShapeError, r"\(1, 2, 3, 8, 8\).*\(N, C, H, W\) is expected"),
    ("C51", lambda tmp: data.folder(tmp, 8), DataError, r"0 images found in .*; looked for .*\.jpg.*\.png"),
    ("C51-no-folder", lambda tmp: data.folder(tmp / "no", 8), DataError, r"no is not a folder"),
    ("C51-file", lambda tmp: data.folder(write(tmp / "f", b""), 8), DataError, r"f is not a folder"),
    ("C51-set", image_set(BYTES[:0]), DataError, r"mine: 0 images"),
    ("C51-subset", lambda tmp: data.digits().subset(slice(5, 5)), DataError, r"digits: 0 images"),
    ("C52", batches(2, 3), DataError, r"mine has 2 images, fewer than batch_size=3"),
    ("C52-zero", batches(2, 0), DataError, r"batch_size=0; it must be an integer >= 1"),
    ("C52-float", batches(2, 1.0), DataError, r"batch_size=1\.0; it must be an integer >= 1"),
    ("C53-magic", read(b"\x01" + IDX[1:]), DataError, r"file.idx: not an IDX file"),
    ("C53-page", read(b"<html>404</html>"), DataError, r"file.idx: not an IDX file, it begins with b'<htm'"),
    ("C53-type", read(IDX[:2] + b"\x0d" + IDX[3:]), DataError, r"file.idx: IDX type 0x0d"),
    ("C53-dims", read(idx_bytes(some_images(3), (2**31, 2, 2))), DataError, r"2147483648x2x2 = 8589934592 bytes"),
    ("C53-header", read(IDX[:9]), DataError, r"truncated in the header, expected 16 bytes, found 9"),
    ("C53-short", read(IDX[:-1]), DataError, r"expected 60 bytes after the header, found 59"),
    ("C53-long", read(IDX + b"\0"), DataError, r"expected 60 bytes after the header, found more"),
    ("C53-empty", read(b""), DataError, r"file.idx: not an IDX file"),
    ("C53-gz-cut", read(gz(IDX)[:-9]), DataError, r"file.idx: the gzip stream is damaged or cut short"),
    ("C53-gz-flip", read(gz(IDX)[:-6] + b"!!" + gz(IDX)[-4:]), DataError, r"gzip stream is damaged.*CRC"),
    ("C53-missing", lambda tmp: data.read_idx(tmp / "no.idx"), DataError, r"no.idx: cannot be read \(No such file"),
    ("C53-folder", lambda tmp: data.read_idx(tmp), DataError, r"cannot be read"),
    ("C54-corrupt", folder_with("a.png", b"\x89PNG\r\n\x1a\nrubbish"), DataError, r"a.png: cannot be decoded"),
    ("C54-cmyk", folder_with_image("b.jpg", Image.new("CMYK", (4, 4))), DataError, r"b.jpg: CMYK image"),
    ("C54-16bit", folder_with("c.png", png(4, 4, 16, 2)), DataError, r"c.png: 16-bit image"),
    ("C54-animated", folder_with_image("d.gif", Image.new("RGB", (4, 4)), **TWO_FRAMES), DataError, r"d.gif: animated"),
    ("C54-bomb", folder_with("e.png", png(50_000, 50_000, 8, 2, b"")), DataError, r"e.png: .*DecompressionBomb"),
    ("C54-large", folder_with("f.png", png(9_000, 9_000, 8, 2, b"")), DataError, r"f.png: 9000x9000 pixels"),
    ("C54-size", lambda tmp: data.folder(tmp, 0), DataError, r"size=0; it must be an integer >= 1"),
    ("C54-channels", lambda tmp: data.folder(tmp, 8, channels=4), DataError, r"channels=4; 1 \(grey\) or 3"),
    ("C55", image_set(labels=torch.zeros(3, dtype=torch.int64)), DataError, r"mine: 3 labels for 2 images"),
    ("C55-floats", image_set(labels=torch.zeros(2)), DataError, r"labels are torch.float32 \(2,\)"),
    ("C55-onehot", image_set(labels=torch.eye(2, dtype=torch.int64)), DataError, r"labels are torch.int64 \(2, 2\)"),
    ("C55-negative", image_set(labels=torch.tensor([0, -1])), DataError, r"labels span \[-1, 0\]"),
    ("C55-range", image_set(labels=torch.tensor([0, 2]), classes=("a", "b")), DataError, r"span \[0, 2\]; 0\.\.1"),
    ("C70-integers", lambda tmp: data.to_uint8(BYTES), DataError, r"to_uint8 was given torch.uint8"),
    ("C70-nan", lambda tmp: data.to_uint8(spoiled(np.nan)), DataError, r"1 of 384 values are NaN or infinite"),
    ("C70-floats", lambda tmp: data.to_model_range(GOOD), DataError, r"to_model_range was given torch.float32"),
    ("C70-truth", lambda tmp: data.to_model_range(GOOD > 0), DataError, r"to_model_range was given torch.bool"),
    ("C70-levels", lambda tmp: data.to_model_range(BYTES, levels=17), DataError, r"span \[0, 255\]; with levels=17"),
    ("C70-below", lambda tmp: data.to_model_range(torch.tensor([-1, 3])), DataError, r"span \[-1, 3\]"),
    ("C70-above", lambda tmp: data.to_model_range(torch.tensor([0, 256])), DataError, r"span \[0, 256\]"),
    ("C70-one-level", lambda tmp: data.to_uint8(GOOD, levels=1), DataError, r"levels=1; .* in 2\.\.256"),
    ("C70-many", lambda tmp: data.to_model_range(BYTES, levels=257), DataError, r"levels=257; .* in 2\.\.256"),
    ("set-floats", image_set(GOOD), DataError, r"mine: images are torch.float32 \(2, 3, 8, 8\)"),
    ("set-plane", image_set(BYTES[0]), DataError, r"mine: images are torch.uint8 \(3, 8, 8\)"),
    ("set-array", image_set(BYTES.numpy()), DataError, r"mine: images are ndarray"),
    ("set-levels", image_set(levels=17), DataError, r"mine: the largest grey level is 255; levels=17 allows 0\.\.16"),
    ("split", lambda tmp: data.fashion_mnist("t10k"), DataError, r"split='t10k'; .*'train' .* 'test'"),
    ("split-cifar", lambda tmp: data.cifar10("valid"), DataError, r"split='valid'; .*'train' .* 'test'"),
    ("fetch", lambda tmp: data.fetch("mnist"), DataError, r"unknown data set 'mnist'; .*fashion-mnist, cifar10"),
    ("cifar-none", lambda tmp: data.cifar10("test", tmp), DataError, r"is not in .*data fetch cifar10"),
]


@pytest.mark.parametrize(("call", "error", "words"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_refused_with_the_right_words(tmp_path, call, error, words):
    with pytest.raises(DDPMError, match=words) as caught:
        call(tmp_path)
    assert type(caught.value) is error
    assert "Fix: " in str(caught.value)


WARNED = [
    ("C13", (GOOD + 1) / 2, r"images span \[0, 1\], expected \[-1, 1\]: no value is below 0.*Fix: x = 2 \* x - 1"),
    ("C13-bright", GOOD.abs() * 0.5, r"no value is below 0"),
    ("C18-blank", torch.full((2, 1, 4, 4), -1.0), r"every value of the batch is -1: are the images blank"),
]


@pytest.mark.parametrize(("x", "words"), [row[1:] for row in WARNED], ids=[row[0] for row in WARNED])
def test_warned_with_the_right_words(x, words):
    with pytest.warns(DataWarning, match=words) as caught:
        data.check_images(x)
    assert [warning.filename for warning in caught] == [__file__]  # points at the caller, not into the package


@pytest.mark.parametrize("x", [GOOD, GOOD.double(), GOOD.bfloat16(), GOOD[:1], GOOD[:, :1], GOOD * 0.01])
def test_good_images_pass_in_silence(x):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.check_images(x, channels=x.shape[1])
