"""A folder of one's own images: what is read, how, and what is refused."""

import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_edu import data
from ddpm_edu.errors import DataError
from tests.data.helpers import png, write


def save(path, size=(20, 10), colour=(200, 100, 50), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)
    return path


def test_images_come_in_the_order_of_their_paths_at_one_size(tmp_path):
    save(tmp_path / "b.png", colour=(0, 255, 0))
    save(tmp_path / "a.PNG", size=(7, 31), colour=(255, 0, 0))
    save(tmp_path / "c.bmp", size=(3, 3), colour=(0, 0, 255))
    (tmp_path / "notes.txt").write_text("not an image")
    save(tmp_path / ".hidden.png")
    loaded = data.folder(tmp_path, 8)
    assert loaded.images.shape == (3, 3, 8, 8)
    assert loaded.labels is None
    assert [tuple(image.flatten(1)[:, 0].tolist()) for image in loaded.images] == [
        (255, 0, 0), (0, 255, 0), (0, 0, 255),
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", [".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"])
def test_every_promised_kind_is_read(tmp_path, suffix):
    save(tmp_path / f"image{suffix}")
    image = data.folder(tmp_path, 4).images[0].float().mean((1, 2))
    assert (image - torch.tensor([200.0, 100.0, 50.0])).abs().max() < 8


def test_sub_folders_are_classes(tmp_path):
    for name in ("cats/1.png", "dogs/1.png", "dogs/old/2.png"):
        save(tmp_path / name)
    loaded = data.folder(str(tmp_path), 4)
    assert loaded.classes == ("cats", "dogs")
    assert loaded.labels.tolist() == [0, 1, 1]


def test_one_loose_image_means_no_classes(tmp_path):
    for name in ("cats/1.png", "loose.png"):
        save(tmp_path / name)
    loaded = data.folder(tmp_path, 4)
    assert (len(loaded), loaded.labels, loaded.classes) == (2, None, ())


def test_the_crop_is_the_centre(tmp_path):
    wide = np.zeros((10, 30, 3), dtype=np.uint8)
    wide[:, 10:20] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert data.folder(tmp_path, 10).images.eq(255).all()


def test_a_resize_is_a_low_pass_and_not_every_fourth_pixel(tmp_path):
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 254
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    inner = data.folder(tmp_path, 16).images[0, :, 2:-2, 2:-2].float()
    assert (inner - 127).abs().max() < 3


def test_grey_and_colour(tmp_path):
    save(tmp_path / "grey.png", mode="L", colour=90)
    save(tmp_path / "red.png", colour=(255, 0, 0))
    grey = data.folder(tmp_path, 4, channels=1).images
    assert grey.shape == (2, 1, 4, 4)
    assert [int(image.unique()) for image in grey] == [90, 76]  # ITU-R 601: 0.299 of 255
    assert data.folder(tmp_path, 4).images[0].unique().tolist() == [90]


def test_palette_and_transparency(tmp_path):
    save(tmp_path / "a.png", mode="RGBA", colour=(255, 0, 0, 0))
    save(tmp_path / "b.png", mode="LA", colour=(0, 255))
    Image.new("RGB", (4, 4), (10, 200, 30)).convert("P").save(tmp_path / "c.png")
    loaded = data.folder(tmp_path, 2).images[:, :, 0, 0]
    assert loaded[:2].tolist() == [[255] * 3, [0] * 3]  # what is transparent is white
    assert loaded[2, 1] > 150 > loaded[2, 0]


def test_photographs_are_turned_as_the_camera_says(tmp_path):
    image = Image.new("RGB", (8, 8), "white")
    image.paste("black", (0, 0, 8, 4))  # black above
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.save(tmp_path / "turned.png", exif=exif)
    loaded = data.folder(tmp_path, 8).images[0]
    assert loaded[:, 0].eq(255).all()
    assert loaded[:, -1].eq(0).all()


def bad_files(root):
    """One file of each kind that is refused, with what its message must say."""
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(root / "animated.gif", save_all=True, append_images=frames[1:])
    frames[0].save(root / "pages.tiff", save_all=True, append_images=frames[1:])
    save(root / "print.jpg", mode="CMYK", colour=(1, 2, 3, 4))
    save(root / "lab.tif", mode="LAB", colour=(1, 2, 3))
    save(root / "floats.tif", mode="F", colour=0.5)
    save(root / "integers.tif", mode="I", colour=70_000)
    write(root / "deep_grey.png", png(4, 4, 16, 0))
    write(root / "deep_colour.png", png(4, 4, 16, 2))
    write(root / "bomb.png", png(30_000, 30_000, 8, 2, rows=bytes(1000)))
    write(root / "large.png", png(8001, 8000, 8, 0, rows=bytes(1000)))
    write(root / "cut.png", (save(root / "whole.png")).read_bytes()[:-30])
    write(root / "cut.jpg", save(root / "whole.jpg", size=(64, 64)).read_bytes()[:400])
    write(root / "empty.png", b"")
    write(root / "text.png", b"hello")
    write(root / "script.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\nshowpage\n")
    write(root / "renamed.png", b"P6 2 2 255\n" + bytes(12))  # Pillow could read it, but it is none of our formats
    (root / "whole.png").unlink()
    (root / "whole.jpg").unlink()
    return {
        "animated.gif": "animated or many pages \\(2\\)",
        "pages.tiff": "animated or many pages \\(2\\)",
        "print.jpg": "CMYK image",
        "lab.tif": "LAB image",
        "floats.tif": "F image",
        "integers.tif": "I image",
        "deep_grey.png": "16-bit image",
        "deep_colour.png": "16-bit image",
        "bomb.png": "cannot be decoded \\(DecompressionBombError",
        "large.png": "8001x8000 pixels, at most 64000000",
        "cut.png": "cannot be decoded",
        "cut.jpg": "cannot be decoded",
        "empty.png": "cannot be decoded",
        "text.png": "cannot be decoded",
        "script.png": "cannot be decoded",
        "renamed.png": "cannot be decoded",
    }


def test_every_bad_file_is_named_with_its_reason(tmp_path):
    for name, reason in bad_files(tmp_path).items():
        with pytest.raises(DataError, match=f"{name}: {reason}"):
            load(tmp_path / name)


def load(file):
    """One file through the public door: alone in a folder of its own."""
    alone = file.parent / f"only {file.stem} {file.suffix[1:]}"
    alone.mkdir()
    (alone / file.name).write_bytes(file.read_bytes())
    return data.folder(alone, 4)


def test_bad_files_can_be_skipped_and_counted(tmp_path):
    expected = bad_files(tmp_path)
    save(tmp_path / "good.png")
    problems = []
    loaded = data.folder(tmp_path, 4, on_bad=problems.append)
    assert len(loaded) == 1
    assert len(problems) == len(expected)
    assert all(isinstance(problem, DataError) for problem in problems)


def test_labels_stay_with_their_images_when_some_are_skipped(tmp_path):
    for name in ("a/1.png", "b/2.png", "b/3.png", "c/4.png"):
        save(tmp_path / name)
    write(tmp_path / "a" / "0.png", b"bad")
    write(tmp_path / "b" / "2.png", b"bad")
    loaded = data.folder(tmp_path, 4, on_bad=[].append)
    assert loaded.classes == ("a", "b", "c")
    assert loaded.labels.tolist() == [0, 1, 2]


def test_only_bad_files_is_an_error_even_when_skipping(tmp_path):
    write(tmp_path / "bad.png", b"bad")
    with pytest.raises(DataError, match=r"0 usable images in .*: all 1 were refused"):
        data.folder(tmp_path, 4, on_bad=[].append)


def test_a_pickle_named_png_is_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "marker"),))

    write(tmp_path / "image.png", pickle.dumps(Payload()))
    with pytest.raises(DataError, match="cannot be decoded"):
        data.folder(tmp_path, 4)
    assert not (tmp_path / "marker").exists()
