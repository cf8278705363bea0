"""The digits that the package carries, against scikit-learn's."""

import gzip

import numpy as np
from sklearn.datasets import load_digits

from ddpm_edu import data
from tools import make_digits


def test_the_digits_are_scikit_learns():
    ours, theirs = data.digits(), load_digits()
    assert ours.images.shape == (1797, 1, 8, 8)
    assert np.array_equal(ours.images[:, 0].numpy(), theirs.images)
    assert np.array_equal(ours.labels.numpy(), theirs.target)
    assert ours.classes == tuple(map(str, theirs.target_names))


def test_the_digits_use_all_17_levels_and_survive_the_doors():
    digits = data.digits()
    assert digits.images.unique().tolist() == list(range(17))
    x = digits.model_range()
    assert (x.min().item(), x.max().item()) == (-1, 1)
    assert data.to_uint8(x, digits.levels).equal(digits.images)


def test_the_committed_files_are_what_the_tool_writes(tmp_path):
    make_digits.main(tmp_path)
    for made in tmp_path.iterdir():
        # Compared unpacked: another zlib may pack the same content into other bytes.
        committed = gzip.decompress((make_digits.FOLDER / made.name).read_bytes())
        assert gzip.decompress(made.read_bytes()) == committed


def test_the_committed_files_carry_no_time_and_no_name():
    for name in ("digits-images-idx3-ubyte.gz", "digits-labels-idx1-ubyte.gz"):
        header = (make_digits.FOLDER / name).read_bytes()[:10]
        assert header[3] == 0  # no flags: no file name, no comment
        assert header[4:8] == bytes(4)  # no modification time
