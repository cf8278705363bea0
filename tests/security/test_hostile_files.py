"""Every file that means harm, through every door by which a file comes in: nothing is run, nothing is written, no
memory is given away, and what is said is an error of the package.
"""

import contextlib
import functools
import hashlib
import time
from pathlib import Path

import pytest
import torch

from ddpm_edu import cli, data, models, training
from ddpm_edu.data.cifar10 import read_archive
from ddpm_edu.errors import CheckpointError, DataError, DDPMError
from ddpm_edu.training import posthoc, sharded
from ddpm_edu.training.distributed import Team
from tests.data.helpers import write
from tests.security import corpus
from tests.training_distributed.setting import CONFIG

MARKER = "ran"


def run(tmp, content):
    """As the newest checkpoint of a run, under a right hash."""
    folder = tmp / "run" / "checkpoints"
    write(folder / f"step-00000005-{hashlib.sha256(content).hexdigest()[:16]}.pt", content)
    return lambda: training.train(CONFIG, tmp / "run", progress=False)


def snapshot(tmp, content):
    """As a snapshot of averages of a run."""
    write(tmp / "run" / "snapshots" / f"step-00000005-{hashlib.sha256(content).hexdigest()[:16]}.pt", content)
    return lambda: posthoc.average(tmp / "run", 0.1)


def safetensors(tmp, content):
    path = write(tmp / "weights.safetensors", content)
    return lambda: models.load(path)


def other_name(tmp, content):
    path = write(tmp / "weights.pt", content)
    return lambda: models.load(path)


def sharded_metadata(tmp, content):
    """As the file that torch.distributed.checkpoint would unpickle by default."""
    write(tmp / "shares" / ".metadata", content)
    return lambda: load_shares(tmp / "shares")


def sharded_file(tmp, content):
    write(tmp / "shares" / "shard-00001-model-00001-of-00001.safetensors", content)
    return lambda: load_shares(tmp / "shares")


def load_shares(folder):
    net = models.UNet(corpus.NET)
    state = sharded.state(net, torch.optim.Adam(net.parameters()), sharded.average(net))
    sharded.load(folder, state, Team(0, 1, torch.device("cpu")))


def cifar_batch(tmp, content):
    write(tmp / "cifar-10-batches-bin" / "test_batch.bin", content)
    return lambda: data.cifar10("test", tmp)


def cifar_archive(tmp, content):
    """Past the check of its hash, which no such file would pass."""
    path = write(tmp / "cifar-10-binary.tar.gz", content)
    return lambda: read_archive(path, ("test_batch.bin",))


def idx(tmp, content):
    path = write(tmp / "train-images-idx3-ubyte", content)
    return lambda: data.read_idx(path)


def image(tmp, content):
    write(tmp / "images" / "a.png", content)
    return lambda: data.folder(tmp / "images", 8)


def command(tmp, content):
    path = write(tmp / "weights.safetensors", content)
    return functools.partial(asked, "sample", "--checkpoint", path, "--n", 1, "--steps", 1, "--out", tmp / "x.npz")


def command_on_a_run(tmp, content):
    run(tmp, content)
    return functools.partial(asked, "sample", "--checkpoint", tmp / "run", "--n", 1, "--out", tmp / "x.npz")


def asked(*arguments):
    """The command line; what it calls an error is one."""
    if cli.main([*map(str, arguments)]) == 2:
        raise DDPMError("the command line says so")


DOORS = [
    run, snapshot, safetensors, other_name, sharded_metadata, sharded_file, cifar_batch, cifar_archive, idx, image,
    command, command_on_a_run,
]  # fmt: skip


@contextlib.contextmanager
def little_memory(most):
    """Fails where more than ``most`` bytes more are in use meanwhile than before; Linux alone tells."""
    status, refs = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def kilobytes(name):
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(name))

    try:
        refs.write_text("5")  # the peak is counted from here
        before = kilobytes("VmRSS:")
    except OSError:
        yield
        return
    yield
    assert (kilobytes("VmHWM:") - before) * 1024 < most


@pytest.fixture(scope="module")
def marker(tmp_path_factory):
    return tmp_path_factory.mktemp("marker") / MARKER


@pytest.fixture(scope="module")
def files(marker):
    """All of them by name; in pickles the marker is that of this module."""
    return {**corpus.pickles(marker), **corpus.bombs(), **corpus.archives()}


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(call, tmp_path, most=200 * 2**20):
    """The error of the package that ``call`` ends in: soon, without memory, and leaving the disk as it was."""
    before, begun = tree(tmp_path), time.monotonic()
    with little_memory(most), pytest.raises(DDPMError) as error:
        call()
    assert time.monotonic() - begun < 10
    assert tree(tmp_path) == before
    return error.value


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_no_file_gets_through(door, files, marker, tmp_path, capfd):
    for number, (name, content) in enumerate(files.items()):
        folder = tmp_path / str(number)
        try:
            error = refused(door(folder, content), folder)
        except BaseException as other:
            raise AssertionError(f"{name}: {type(other).__name__}: {other}") from other
        assert isinstance(error, DataError | CheckpointError) or type(error) is DDPMError, name
        assert not marker.exists(), f"{name} was run"


@pytest.mark.parametrize("name", corpus.metadata())
def test_no_metadata_get_through(name, tmp_path, capfd):
    """By models.load, or where that has no opinion, by the command that samples."""
    refused(command(tmp_path, corpus.metadata()[name]), tmp_path)


def test_honest_metadata_do(tmp_path, capfd):
    command(tmp_path, corpus.weights())()
    assert (tmp_path / "x.npz").exists()


@pytest.mark.parametrize("name", corpus.pickles(Path("nowhere")))
def test_each_pickle_would_have_run(name, tmp_path):
    """The control: whoever opens it finds the marker."""
    corpus.opened(corpus.pickles(tmp_path / MARKER)[name])
    assert (tmp_path / MARKER).exists()


def test_the_bombs_would_have_gone_off(files):
    """The control: they are small, and unpack to half a gigabyte; and memory that is taken is noticed."""
    import gzip
    import io
    import zipfile

    assert all(len(content) < 10 * 2**20 for content in files.values())
    with zipfile.ZipFile(io.BytesIO(files["zip bomb"])) as file:
        assert file.getinfo("a/data.pkl").file_size == corpus.BOMB
    with gzip.GzipFile(fileobj=io.BytesIO(files["gzip bomb"])) as stream:
        stream.seek(corpus.BOMB)
        assert len(stream.read(100)) == 12
    if Path("/proc/self/clear_refs").exists():
        with pytest.raises(AssertionError), little_memory(200 * 2**20):
            torch.ones(300 * 2**18)
