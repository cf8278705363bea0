"""What the lock names can be installed without a network, from a folder of wheels, and a changed wheel is refused."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.setup.test_pins import LOCK, PYPROJECT, pins

LOCKED = ("--require-hashes", "--only-binary", ":all:", "--no-deps")
IN_CI = bool(os.environ.get("CI"))


def locked_lines(names: set[str]) -> str:
    """The entries of the lock for these packages, with all their hashes."""
    kept, keeping = [], False
    for line in LOCK.splitlines():
        if line and not line.startswith((" ", "#")):
            keeping = canonicalize_name(line.split("==")[0]) in names
        if keeping:
            kept.append(line)
    return "\n".join(kept) + "\n"


def pip(*arguments, python=sys.executable, offline=False):
    """pip's exit status and what it said. Offline: no settings of the machine, and no way out."""
    environment = dict(os.environ)
    if offline:
        environment = {key: value for key, value in environment.items() if not key.upper().startswith("PIP_")}
        environment |= {"PIP_CONFIG_FILE": os.devnull}
        environment |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The lock's entries of what the package itself needs (torch has a step of its own), and a folder of the wheels."""
    folder = tmp_path_factory.mktemp("offline")
    needed = tomllib.loads(PYPROJECT)["project"]["dependencies"]
    names = {canonicalize_name(Requirement(text).name) for text in needed} - {"torch"}
    (folder / "lock.txt").write_text(locked_lines(names))
    assert set(pins((folder / "lock.txt").read_text())) == names
    code, said = pip("download", *LOCKED, "-q", "-r", folder / "lock.txt", "-d", folder / "wheels")
    if code and not IN_CI:
        pytest.skip(f"no network to fill the folder of wheels: {said[-200:]}")
    assert code == 0, said
    return folder


def environment_in(folder: Path) -> Path:
    """The Python of a new, empty environment."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=120)
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


def install(python: Path, cache: Path, wheels: Path):
    return pip(
        "install", "--no-index", "--find-links", wheels, *LOCKED, "-r", cache / "lock.txt", python=python, offline=True
    )


def test_the_lock_installs_from_a_folder_of_wheels_without_a_network(cache, tmp_path):
    python = environment_in(tmp_path / "env")
    code, said = install(python, cache, cache / "wheels")
    assert code == 0, said
    found = pip("list", "--format", "freeze", python=python, offline=True)[1]
    for name, pin in pins((cache / "lock.txt").read_text()).items():
        assert f"{name}=={next(iter(pin.specifier)).version}" in {line.lower() for line in found.splitlines()}


def test_offline_means_offline(cache, tmp_path):
    """Without the folder nothing can be found: what the first test installed came from there."""
    (tmp_path / "empty").mkdir()
    code, said = install(environment_in(tmp_path / "env"), cache, tmp_path / "empty")
    assert code != 0 and "No matching distribution" in said


def test_a_wheel_that_was_changed_is_refused(cache, tmp_path):
    """One bit, in the middle of one wheel; nothing of the others is installed either."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for wheel in (cache / "wheels").iterdir():
        content = bytearray(wheel.read_bytes())
        if wheel.name.startswith("click-"):
            content[len(content) // 2] ^= 1
        (wheels / wheel.name).write_bytes(content)
    python = environment_in(tmp_path / "env")
    code, said = install(python, cache, wheels)
    assert code != 0 and "DO NOT MATCH THE HASHES" in said
    assert "tqdm" not in pip("list", "--format", "freeze", python=python, offline=True)[1]
