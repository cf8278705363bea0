"""The command line: what it prints, what it returns, and what it does not import."""

import subprocess
import sys

import pytest

from ddpm_edu import cli, data, doctor
from ddpm_edu.errors import DataError


def test_doctor_returns_1_when_something_is_wrong(monkeypatch, capsys):
    well, ill = doctor.Check("a", True, "fine"), doctor.Check("b", False, "broken", "mend it")
    monkeypatch.setattr(doctor, "checks", lambda: [well])
    assert cli.main(["doctor"]) == 0
    monkeypatch.setattr(doctor, "checks", lambda: [well, ill])
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().out.splitlines()[-2:] == ["[ok] a: fine", "[problem] b: broken. fix: mend it"]


def test_data_list_names_every_data_set(capsys):
    assert cli.main(["data", "list"]) == 0
    printed = capsys.readouterr().out
    for name, description in data.DATASETS.items():
        assert name in printed
        assert description in printed


def test_data_fetch_prints_the_folder(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(data, "fetch", lambda name: tmp_path / name)
    assert cli.main(["data", "fetch", "cifar10"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'cifar10'}\n"


def test_an_error_of_ours_is_one_line_and_code_2(monkeypatch, capsys):
    def refuse(name):
        raise DataError("no such thing")

    monkeypatch.setattr(data, "fetch", refuse)
    assert cli.main(["data", "fetch", "x"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: no such thing\n"
    assert captured.out == ""


def test_an_error_that_is_not_ours_is_not_hidden(monkeypatch):
    def break_down(name):
        raise ZeroDivisionError

    monkeypatch.setattr(data, "fetch", break_down)
    with pytest.raises(ZeroDivisionError):
        cli.main(["data", "fetch", "x"])


def test_what_does_not_import_leads_to_the_doctor(monkeypatch, capsys):
    def missing(name):
        raise ImportError("No module named 'torch'")

    monkeypatch.setattr(data, "fetch", missing)
    assert cli.main(["data", "fetch", "x"]) == 2
    assert capsys.readouterr().err == ("error: No module named 'torch'. `python -m ddpm_edu doctor` says what to do.\n")


@pytest.mark.parametrize("argv", [[], ["data"], ["nonsense"], ["data", "fetch"]])
def test_usage_errors(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    assert stop.value.code == 2
    assert "usage: python -m ddpm_edu" in capsys.readouterr().err


def test_the_module_runs():
    command = [sys.executable, "-m", "ddpm_edu", "data", "fetch", "no-such-set"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown data set 'no-such-set'")
    assert done.stderr.count("\n") == 1


def test_help_imports_no_torch():
    heavy = "{'torch', 'numpy'} & set(sys.modules)"
    code = f"import sys; from ddpm_edu import cli, doctor; cli.parser(); sys.exit(sorted({heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.strip() == "[]"
