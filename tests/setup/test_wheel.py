"""The wheel, built and installed alone: it imports and carries its data, with no checkout in sight."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import ddpm_edu

ROOT = Path(__file__).resolve().parents[2]

USE = """
import importlib, json, pathlib, ddpm_edu
rooms = [importlib.import_module(f"ddpm_edu.{room}") for room in ddpm_edu._ROOMS]
print(json.dumps({
    "from": str(pathlib.Path(ddpm_edu.__file__).parent.parent),
    "rooms": [room.__name__ for room in rooms],
    "digits": list(ddpm_edu.data.digits().images.shape),
}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy of what git tracks: neither build leftovers nor stray files can hide a mistake."""
    copy = tmp_path_factory.mktemp("sources")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "ddpm_edu", "pyproject.toml", "README.md", "LICENSE", "LICENSE-text"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The wheel in a folder of its own."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-index", "--target", str(folder)]
    subprocess.run([*pip, *options, str(wheel)], check=True, timeout=300, capture_output=True)
    return folder


def use(folder: Path, away: Path) -> subprocess.CompletedProcess[str]:
    """Import everything from ``folder``, in another working folder; PYTHONPATH goes before the editable install."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", USE], cwd=away, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_wheel_has_what_is_not_python(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "ddpm_edu"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    wanted = {name for name in tracked.stdout.split("\0") if name}
    assert "ddpm_edu/py.typed" in wanted
    assert any(name.endswith(".gz") for name in wanted)
    assert wanted - names == set(), "add the pattern to package-data in pyproject.toml"


def test_the_wheel_has_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    info = f"ddpm_edu-{ddpm_edu.__version__}.dist-info/"
    assert [name for name in names if not name.startswith(("ddpm_edu/", info))] == []
    licences = {name.removeprefix(info + "licenses/") for name in names if "/licenses/" in name}
    assert licences == {"LICENSE", "LICENSE-text"}


def test_installed_alone_it_works(installed, tmp_path):
    done = use(installed, tmp_path)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert Path(seen["from"]) == installed, "this must not be the checkout"
    assert seen["rooms"] == [f"ddpm_edu.{room}" for room in ddpm_edu._ROOMS]
    assert seen["digits"] == [1797, 1, 8, 8]


def test_a_wheel_without_its_data_would_be_seen(installed, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(installed, broken)
    shutil.rmtree(broken / "ddpm_edu" / "data" / "files")
    assert use(broken, tmp_path).returncode != 0
