"""The doctor: healthy here, and every check seen to name an illness and its fix."""

import os
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest

from ddpm_edu import doctor

BROKEN_TORCH = {
    "raises": "raise ImportError('libtorch.so: cannot open shared object file')",
    "crashes": "import os; os.abort()",
    "ends quietly": "raise SystemExit(3)",
}


def ill(check: doctor.Check, *words: str) -> None:
    """A check that failed, says what it saw and offers a fix."""
    assert not check.ok
    assert check.line.startswith(f"[problem] {check.name}: ")
    assert check.fix
    assert f"fix: {check.fix}" in check.line
    assert check.short == check.line, "a summary must not hide what is wrong"
    for word in words:
        assert word in check.line


def run_doctor(pythonpath: Path, python: str | Path = sys.executable) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(pythonpath)}
    command = [python, "-m", "ddpm_edu", "doctor"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_all_is_well_here(capsys):
    results = doctor.checks()
    assert [result.line for result in results if not result.ok] == []
    assert {"Python", "packages", "torch", "device", "digits", "kernel", "widgets", "disk"} <= {
        result.name for result in results
    }


def test_the_summary_says_nothing_that_differs_between_machines(capsys):
    doctor.summary()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[ok] Python"
    assert not any(character.isdigit() for line in lines for character in line)


def test_the_report_says_the_versions(capsys):
    doctor.report()
    assert f"numpy {metadata.version('numpy')}" in capsys.readouterr().out


@pytest.mark.parametrize("version", [(3, 10, 14), (3, 15, 0), (4, 0, 0)])
def test_python_outside_the_range(version):
    ill(doctor.python_version(version), ".".join(map(str, version)), "3.11 to 3.14")


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 14, 9)])
def test_python_inside_the_range(version):
    assert doctor.python_version(version).ok


def test_packages_missing_too_old_too_new():
    have = {"numpy": "1.26.4", "ipywidgets": "9.0.0", "tqdm": "4.70"}
    wanted = ["numpy>=2", "ipywidgets>=8.1.5,<9", "tqdm", "pooch>=1.8"]
    check = doctor.package_versions(wanted, have.get)
    ill(check, "numpy 1.26.4 is not >=2", "ipywidgets 9.0.0 is not", "pooch is missing")
    assert "tqdm" not in check.line


def test_packages_count_the_lab_and_not_the_tools():
    wanted = ["jupyterlab>=4; extra == 'lab'", "ruff; extra == 'dev'", "winonly; sys_platform == 'nowhere'"]
    ill(doctor.package_versions(wanted, lambda name: None), "jupyterlab is missing")
    assert "ruff" not in doctor.package_versions(wanted, lambda name: None).line
    assert doctor.package_versions(wanted, lambda name: "4.6").detail == "jupyterlab 4.6"


def test_a_local_build_of_torch_is_in_range():
    assert doctor.package_versions(["torch>=2.10"], lambda name: "2.13.0+cpu").ok


def test_package_not_installed():
    ill(doctor.package_versions([]), "not installed")


def test_packaging_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    ill(doctor.package_versions(["numpy>=2"]), "packaging is missing")


@pytest.mark.parametrize("how", BROKEN_TORCH)
def test_a_broken_torch_is_reported_and_survived(tmp_path, how):
    (tmp_path / "torch.py").write_text(BROKEN_TORCH[how])
    done = run_doctor(tmp_path)
    assert done.returncode == 1
    assert "[problem] torch: " in done.stdout
    assert "[ok] Python" in done.stdout
    assert "[ok] disk" in done.stdout, "the checks after torch must still be made"
    assert done.stderr == ""


def test_a_torch_that_computes_wrongly_is_reported(tmp_path):
    (tmp_path / "torch.py").write_text("class Three:\n    sum = item = lambda self: self\nones = lambda n: Three()")
    assert "[problem] torch: AssertionError" in run_doctor(tmp_path).stdout


def test_it_runs_where_nothing_is_installed(tmp_path):
    bare = tmp_path / "bare"
    venv.create(bare, symlinks=os.name != "nt")
    (tmp_path / "ddpm_edu").symlink_to(Path(doctor.__file__).parent)
    done = run_doctor(tmp_path, bare / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    assert done.stderr == ""
    assert done.returncode == 1
    for name in ("packages", "torch", "kernel", "widgets"):
        assert f"[problem] {name}: " in done.stdout
    assert "[ok] digits" in done.stdout


def test_a_torch_that_never_ends(tmp_path):
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    (check,) = doctor.torch_and_device(str(slow), seconds=0.1)
    ill(check, "took more than 0.1 s")


def test_digits_missing(tmp_path):
    ill(doctor.embedded_digits(tmp_path), "no data file")


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b[:60] + b"\0\0\0" + b[63:], lambda b: b"not gzip"])
def test_digits_damaged(tmp_path, damage):
    whole = next(doctor.DIGITS.glob("*images*.gz")).read_bytes()
    (tmp_path / "digits.gz").write_bytes(whole)
    assert doctor.embedded_digits(tmp_path).ok
    (tmp_path / "digits.gz").write_bytes(damage(whole))
    ill(doctor.embedded_digits(tmp_path), "is damaged")


def test_fashion_mnist_is_optional(monkeypatch):
    from ddpm_edu import data

    monkeypatch.setattr(data, "fashion_mnist_available", lambda: True)
    assert doctor.fashion_mnist().detail == "found"
    monkeypatch.setattr(data, "fashion_mnist_available", lambda: False)
    assert doctor.fashion_mnist().ok
    assert "data fetch fashion-mnist" in doctor.fashion_mnist().detail
    assert "fashion-mnist" in data.DATASETS, "the command that is named must exist"


def test_fashion_mnist_where_the_data_room_does_not_import(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("ddpm_edu.data")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("ddpm_edu.data", raising=False)
    monkeypatch.setitem(sys.modules, "pooch", None)
    ill(doctor.fashion_mnist(), "pooch")


def test_no_kernel():
    ill(doctor.jupyter_kernel("no-such-kernel"), "no kernel no-such-kernel", "ipykernel install")


def test_a_kernel_that_starts_another_python(tmp_path, monkeypatch):
    folder = tmp_path / "kernels" / "stranger"
    folder.mkdir(parents=True)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    kernel = '{"argv": ["%s", "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "x"}'
    (folder / "kernel.json").write_text(kernel % "/opt/elsewhere/bin/python")
    ill(doctor.jupyter_kernel("stranger"), "/opt/elsewhere/bin/python")
    (folder / "kernel.json").write_text(kernel % "python")
    assert doctor.jupyter_kernel("stranger").ok


def test_ipykernel_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", None)
    ill(doctor.jupyter_kernel(), "ipykernel")


class Placed:
    """A distribution as far as `widgets` looks at one."""

    def __init__(self, place):
        self.place = place

    def locate_file(self, path):
        return self.place


def test_widgets_in_two_environments():
    ill(doctor.widgets(lambda name: Placed("/a" if name == "jupyterlab" else "/b")), "jupyterlab in /a", "in /b")


def test_widgets_missing():
    def find(name):
        if name == "jupyterlab_widgets":
            raise metadata.PackageNotFoundError(name)
        return Placed("/a")

    ill(doctor.widgets(find), "jupyterlab_widgets is missing")


def test_the_half_that_draws_is_gone(tmp_path):
    ill(doctor.widgets(prefix=tmp_path), "the half that draws")


def test_disk_full(tmp_path):
    ill(doctor.disk(tmp_path, needed=10**18), "GB free")
