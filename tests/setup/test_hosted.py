"""The entries for hosted kernels: each file is read, its versions are everybody's, and the cell for Colab runs.

None of the services is asked: git, pip and Colab are stand-ins here, and make only says what it would do.
"""

import ast
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tests.setup.test_pins import CONSTRAINTS, MAKEFILE, PYPROJECT, conda_specs, pinned_version, pins
from tests.setup.test_workflow import make_targets

ROOT = Path(__file__).resolve().parents[2]
DEVCONTAINER = (ROOT / ".devcontainer/devcontainer.json").read_text()
BINDER = (ROOT / ".binder/environment.yml").read_text()
POST_BUILD = (ROOT / ".binder/postBuild").read_text()
PAGE = (ROOT / "docs/hosted.md").read_text(encoding="utf-8")
FILES = {"devcontainer": DEVCONTAINER, "environment": BINDER, "postBuild": POST_BUILD, "page": PAGE}
PROJECT = tomllib.loads(PYPROJECT)["project"]
PHONY = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split())
TORCH = str(pinned_version(pins(CONSTRAINTS)["torch"]))


def read_commented(text: str) -> dict:
    """JSON in which whole lines may be comments."""
    return json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))


def the_cell(page: str) -> str:
    (cell,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return cell


CONTAINER = read_commented(DEVCONTAINER)
CELL = the_cell(PAGE)


# --- versions ---------------------------------------------------------------------------------------------------------


def pythons(devcontainer: str, binder: str) -> dict[str, str]:
    """The Python that each service starts; raises where it names a range."""
    image = read_commented(devcontainer)["image"]
    (binder_python,) = [line for line in yaml.safe_load(binder)["dependencies"] if re.match(r"python\b", line)]
    return {
        "devcontainer": re.fullmatch(r"mcr\.microsoft\.com/devcontainers/python:(3\.\d+)", image)[1],
        "binder": re.fullmatch(r"python=(3\.\d+)", binder_python)[1],
    }


def test_every_service_starts_a_python_that_the_package_takes():
    found = pythons(DEVCONTAINER, BINDER)
    classifiers = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if "Python :: 3." in c]
    assert all(f"{version}.1" in SpecifierSet(PROJECT["requires-python"]) for version in found.values()), found
    assert set(found.values()) <= set(classifiers)
    assert conda_specs(BINDER)["python"], "conda reads it too"


def test_binder_is_given_one_python():
    """A range makes Binder start from its own default, which may be none of ours."""
    with pytest.raises(TypeError):
        pythons(DEVCONTAINER, BINDER.replace("python=3.11", "python >=3.11,<3.15"))


def named_torch(text: str) -> set[str]:
    return set(re.findall(r"\btorch==([\w.]+)", text))


def test_torch_is_the_pinned_one_wherever_it_is_named():
    assert named_torch(POST_BUILD) == {TORCH}
    assert [name for name, text in FILES.items() if named_torch(text) - {TORCH}] == []


def test_the_cpu_build_is_asked_for_as_the_readme_does():
    index = re.search(r"TORCH_INDEX=(\S+)", (ROOT / "README.md").read_text())[1]
    assert CONTAINER["containerEnv"] == {"TORCH_INDEX": index}
    (line,) = [shlex.split(line) for line in POST_BUILD.splitlines() if "torch==" in line]
    assert line == ["install", "--index-url", index, f"torch=={TORCH}"]


def loose(light: list[str], pyproject: str) -> list[str]:
    """What the cell installs and pyproject does not ask for in the same words."""
    wanted = {str(Requirement(line)) for line in tomllib.loads(pyproject)["project"]["dependencies"]}
    return [line for line in light if str(Requirement(line)) not in wanted]


def assigned(cell: str, name: str) -> object:
    """The value of a name that the cell sets to a literal."""
    (value,) = [
        node.value
        for node in ast.parse(cell).body
        if isinstance(node, ast.Assign) and [getattr(target, "id", None) for target in node.targets] == [name]
    ]
    return ast.literal_eval(value)


def test_colab_gets_the_ranges_of_pyproject():
    light = assigned(CELL, "LIGHT")
    assert loose(light, PYPROJECT) == []
    assert loose(light, PYPROJECT.replace("anywidget>=0.9.18", "anywidget>=0.9.19")) == ["anywidget>=0.9.18"]


def test_colab_keeps_its_heavy_packages():
    """Neither the four themselves nor what they ask for, all the way down, is one of those."""
    heavy, seen = {"torch", "numpy", "matplotlib"}, set()
    ahead = [Requirement(line) for line in assigned(CELL, "LIGHT")]
    assert len(ahead) == 4
    while ahead:
        name = ahead.pop().name.lower()
        if name not in seen:
            seen.add(name)
            ahead += needed(name)
    assert {"ipywidgets", "traitlets"} <= seen, "it looked below the four"
    assert heavy & seen == set()


def needed(name: str) -> list[Requirement]:
    try:
        requirements = map(Requirement, importlib.metadata.requires(name) or [])
    except importlib.metadata.PackageNotFoundError:  # for another system
        return []
    return [each for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]


# --- the container ----------------------------------------------------------------------------------------------------


def dry_run(folder: Path, command: str, environment: dict[str, str]) -> str:
    """What make would do in a fresh checkout; ``-n`` goes into MAKEFLAGS, so the command stays as it is written."""
    (folder / "requirements").mkdir()
    names = ["Makefile", "pyproject.toml"]
    names += [f"requirements/{name}.txt" for name in ("lock", "constraints", "after-torch")]
    for name in names:
        shutil.copy(ROOT / name, folder / name)
    clean = {name: value for name, value in os.environ.items() if name not in {"ARGS", "TORCH", "MAKELEVEL"}}
    done = subprocess.run(
        shlex.split(command), cwd=folder, env={**clean, **environment, "MAKEFLAGS": "n"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not (folder / ".venv").exists(), "it was to say, not to do"
    return done.stdout


def test_the_container_sets_up_as_make_lab_does(tmp_path):
    said = dry_run(tmp_path, CONTAINER["postCreateCommand"], CONTAINER["containerEnv"])
    steps = re.findall(r"set-up (\d)/(\d)", said)
    assert steps == [(str(n), "4") for n in range(1, 5)]
    assert f"--index-url {CONTAINER['containerEnv']['TORCH_INDEX']} torch=={TORCH}" in said
    last = shlex.split(said.splitlines()[-1])
    assert last[1:3] == ["-m", "jupyterlab"] and last[-1] == "--version", "or the set-up would never end"


def test_jupyterlab_with_version_says_it_and_ends():
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--ServerApp.root_dir=.",
        "notebooks/00_start_here.ipynb",
        "--version",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert Version(done.stdout.strip()) in SpecifierSet(">=4.4")


def test_the_port_that_the_page_uses_is_forwarded_and_private():
    (port,) = map(int, re.findall(r"^make lab ARGS='--no-browser --port (\d+)'$", PAGE, re.MULTILINE))
    assert CONTAINER["forwardPorts"] == [port]
    assert set(CONTAINER["portsAttributes"]) == {str(port)}
    assert "visibility" not in CONTAINER["portsAttributes"][str(port)]


def test_the_container_asks_for_nothing_of_the_host():
    """No secrets, no mounts, no privileges, nothing that runs outside of it."""
    allowed = {"name", "image", "hostRequirements", "containerEnv", "postCreateCommand"}
    assert set(CONTAINER) == allowed | {"forwardPorts", "portsAttributes", "customizations"}
    assert set(CONTAINER["customizations"]["vscode"]) == {"extensions", "settings"}
    assert "ms-python.python" in CONTAINER["customizations"]["vscode"]["extensions"]


def test_every_target_that_is_named_exists():
    named = make_targets(PAGE) | make_targets(CONTAINER["postCreateCommand"])
    assert named == {"lab"}
    assert named <= PHONY


# --- Binder -----------------------------------------------------------------------------------------------------------


def test_binder_finds_one_folder_and_leaves_the_packages_to_pip():
    assert not (ROOT / "binder").exists(), "with two folders Binder refuses"
    assert {path.name for path in (ROOT / ".binder").iterdir()} == {"environment.yml", "postBuild"}
    assert set(conda_specs(BINDER)) == {"python", "pip"}
    assert all(isinstance(line, str) for line in yaml.safe_load(BINDER)["dependencies"])


def test_post_build_is_a_script_that_stops_at_a_failure():
    assert POST_BUILD.startswith("#!/usr/bin/env bash\n")
    assert os.access(ROOT / ".binder/postBuild", os.X_OK)
    assert "\nset -euo pipefail\n" in POST_BUILD
    subprocess.run(["bash", "-n", str(ROOT / ".binder/postBuild")], check=True, timeout=60)


def run_post_build(folder: Path, fails_at: str = "nothing") -> tuple[int, list[str]]:
    """The exit code, and what ``python`` was called with: a stand-in that writes it down."""
    stand_in, log = folder / "python", folder / "log"
    stand_in.write_text(f'#!/bin/sh\necho "$@" >> "{log}"\ncase "$*" in *"{fails_at}"*) exit 1;; esac\n')
    stand_in.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", str(ROOT / ".binder/postBuild")], cwd=ROOT, env=environment, timeout=60, check=False)
    return done.returncode, log.read_text().splitlines()


def test_post_build_installs_torch_and_then_the_pinned_rest(tmp_path):
    code, (torch, rest, fonts) = run_post_build(tmp_path)
    assert code == 0
    assert torch.endswith(f"torch=={TORCH}")
    constraints, extra = re.search(r"-c (\S+) -e \.\[(\w+)\]$", rest).groups()
    assert (ROOT / constraints).read_text() == CONSTRAINTS
    assert extra in PROJECT["optional-dependencies"]
    assert fonts == "-c import matplotlib.font_manager"
    assert fonts.removeprefix("-c ") in MAKEFILE


def test_post_build_does_not_go_on_without_torch(tmp_path):
    code, calls = run_post_build(tmp_path, fails_at="torch==")
    assert (code, len(calls)) == (1, 1)


def memory_of_lessons() -> dict[str, float]:
    """GB, from the head of each lesson."""
    found = {}
    for path in sorted((ROOT / "notebooks/source").glob("[0-9]*.py")):
        head = path.read_text(encoding="utf-8")
        found[path.name[:2]] = float(re.search(r"Computing: [^*]*?([\d.]+) GB of\s+(?:# )?memory", head)[1])
    return found


def rows(page: str) -> list[tuple[float, list[str]]]:
    """(GB, lessons) of the page's table for Binder, least first."""
    found = re.findall(r"^\| up to ([\d.]+) GB \| ([\d, ]+?) \|", page, re.MULTILINE)
    return [(float(limit), lessons.split(", ")) for limit, lessons in found]


def test_the_lessons_that_fit_into_binder_are_those_whose_heads_say_so():
    measured = memory_of_lessons()
    assert len(measured) >= 9
    (small, fit), (large, sometimes) = rows(PAGE)
    assert small + 0.1 < 1 and large + 0.1 < 2, "JupyterLab wants room too"
    assert fit == [name for name, need in measured.items() if need <= small]
    assert sometimes == [name for name, need in measured.items() if small < need <= large]
    assert sorted(fit + sometimes) == list(measured), "a lesson that fits into neither must be named"


# --- Colab ------------------------------------------------------------------------------------------------------------


def functions() -> dict:
    """The functions of the cell, without what it does."""
    kept = [node for node in ast.parse(CELL).body if isinstance(node, ast.FunctionDef | ast.Import | ast.ImportFrom)]
    kept = [node for node in kept if getattr(node, "module", None) != "google.colab"]
    space: dict = {}
    exec(compile(ast.Module(kept, []), "docs/hosted.md", "exec"), space)  # noqa: S102  (a page of this repository)
    return space


COLAB = {"torch": "2.12.1+cu130", "numpy": "2.3.1", "ipywidgets": "7.7.1"}
NEWER = {**COLAB, "ipywidgets": "8.1.9", "anywidget": "0.11.0"}


def test_the_guard_lets_a_new_light_package_pass():
    functions()["guard"](COLAB, NEWER, {"torch", "numpy"})


@pytest.mark.parametrize("torch", ["2.13.0", "2.12.1+cpu", None])
def test_the_guard_stops_where_torch_is_another_one(torch):
    after = {name: version for name, version in {**NEWER, "torch": torch}.items() if version}
    with pytest.raises(RuntimeError, match=rf"torch was 2\.12\.1\+cu130 and is {re.escape(str(torch))}\. Fix: "):
        functions()["guard"](COLAB, after, set())


def test_the_guard_stops_where_there_was_no_torch():
    with pytest.raises(RuntimeError, match="torch was None"):
        functions()["guard"]({}, {}, set())


def test_the_guard_asks_for_a_restart_where_the_old_package_is_loaded():
    with pytest.raises(RuntimeError, match=r"\['ipywidgets'\].*Restart session"):
        functions()["guard"](COLAB, NEWER, {"ipywidgets", "torch"})


def test_versions_are_those_of_the_packages():
    found = functions()["versions"]()
    assert found["torch"] == importlib.metadata.version("torch")
    assert found["ddpm-edu"] == importlib.metadata.version("ddpm-edu")


class Colab:
    """Stands in for git, pip and Colab: remembers the commands, and after pip it has ``after`` installed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, after: dict[str, str]):
        self.commands: list[list[str]] = []
        self.managers = 0
        self.installed, self.after = COLAB, after
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.delitem(sys.modules, "ipywidgets", raising=False)  # not loaded yet, whatever ran before
        monkeypatch.setattr(subprocess, "run", self.run)
        monkeypatch.setattr(importlib.metadata, "distributions", self.distributions)
        google, colab = ModuleType("google"), ModuleType("google.colab")
        google.colab = colab
        colab.output = SimpleNamespace(enable_custom_widget_manager=self.manager)
        monkeypatch.setitem(sys.modules, "google", google)
        monkeypatch.setitem(sys.modules, "google.colab", colab)

    def run(self, command: list[str], check: bool) -> None:
        assert check, "or a failure would pass"
        self.commands.append(command)
        if "pip" in command:
            self.installed = self.after
        else:
            Path(command[-1]).mkdir()

    def distributions(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=name, version=version) for name, version in self.installed.items()]

    def manager(self) -> None:
        self.managers += 1


def run_cell(space: dict) -> None:
    exec(compile(CELL, "docs/hosted.md", "exec"), space)  # noqa: S102  (a page of this repository)


def test_the_cell_installs_the_course_without_its_dependencies(tmp_path, monkeypatch, capsys):
    colab, space = Colab(monkeypatch, tmp_path, NEWER), {}
    run_cell(space)
    course = str(tmp_path / "course")
    git, package, light = colab.commands
    assert git[:2] == ["git", "clone"] and git[-2:] == ["REPOSITORY", course]
    assert package[:4] == [sys.executable, "-m", "pip", "install"] == light[:4]
    assert package[-3:] == ["--no-deps", "--editable", course]
    assert light[5:] == assigned(CELL, "LIGHT")
    assert sys.path[-1] == course and colab.managers == 1
    assert re.match(r"ready: .*\btorch \d", capsys.readouterr().out)
    run_cell(space)
    assert len(colab.commands) == 5, "the second time there is nothing to clone"


def test_the_cell_goes_no_further_where_torch_was_replaced(tmp_path, monkeypatch):
    colab, space = Colab(monkeypatch, tmp_path, {**NEWER, "torch": "2.13.0"}), {}
    for _ in range(2):  # nor when it is run again
        with pytest.raises(RuntimeError, match="torch was"):
            run_cell(space)
    assert colab.managers == 0


def test_the_cell_goes_no_further_where_a_package_is_too_old(tmp_path, monkeypatch):
    from ddpm_edu import doctor

    colab = Colab(monkeypatch, tmp_path, NEWER)
    monkeypatch.setattr(doctor, "own_requirements", lambda: ["torch>=99", 'nowhere>=1; extra == "lab"'])
    with pytest.raises(RuntimeError, match=r"torch \S+ is not >=99$"):
        run_cell({})
    assert colab.managers == 0


# --- the page ---------------------------------------------------------------------------------------------------------


def test_there_is_one_placeholder_and_the_page_explains_it():
    assert "REPOSITORY stands for the address you cloned from" in PAGE
    assert assigned(CELL, "ADDRESS") == "REPOSITORY"
    assert PAGE.count("REPOSITORY") == 2, "what it stands for, and where it stands"
    others = [name for name, text in FILES.items() if name != "page" and "REPOSITORY" in text]
    assert others == [] and "REPOSITORY" not in (ROOT / "README.md").read_text()


def test_no_badge_promises_what_no_address_can_hold():
    for text in (PAGE, (ROOT / "README.md").read_text()):
        assert re.findall(r"badge|mybinder\.org/v2|colab\.research\.google\.com/github|codespaces\.new", text) == []


def test_learners_find_the_page_and_read_that_nothing_was_tried():
    assert "](docs/hosted.md)" in (ROOT / "README.md").read_text().split("## Other ways to set up")[1]
    assert re.search(r":caption: Beside the lessons\n[^`]*^docs/hosted$", (ROOT / "docs/index.md").read_text(), re.M)
    assert "**Not tried.**" in PAGE
    for path in re.findall(r"\]\((\.\./[^)]+)\)", PAGE):
        assert (ROOT / "docs" / path).exists(), path
