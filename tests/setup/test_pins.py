"""Every file that names a version says the same: pyproject, lock, constraints, Makefile, conda, the workflow.

The comparisons are functions of texts, so that each is also shown a doctored text and must object.
"""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version
from rattler import MatchSpec

from ddpm_edu import doctor

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = (ROOT / "pyproject.toml").read_text()
LOCK = (ROOT / "requirements/lock.txt").read_text()
CONSTRAINTS = (ROOT / "requirements/constraints.txt").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
CONDA = (ROOT / "environment.yml").read_text()
WORKFLOW = (ROOT / ".github/workflows/ci.yml").read_text()


def pins(text: str) -> dict[str, Requirement]:
    """The pinned packages of a requirements file, by canonical name; raises where one is not pinned by ``==``."""
    found = {}
    for line in text.splitlines():
        if line.startswith(("#", " ")) or not line:
            continue
        requirement = Requirement(line.removesuffix("\\").strip())
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{requirement} is no pin"
        name = canonicalize_name(requirement.name)
        assert name not in found, f"{name} is pinned twice"
        found[name] = requirement
    assert found, "no pin at all"
    return found


def pinned_version(requirement: Requirement) -> Version:
    (specifier,) = requirement.specifier
    return Version(specifier.version)


def without_hash(lock: str) -> list[str]:
    """The names in a lock file whose entry is not followed by a sha256."""
    entries = re.split(r"\n(?=\S)", lock)
    return [e.split("==")[0] for e in entries if "==" in e and not re.search(r"--hash=sha256:[0-9a-f]{64}", e)]


NOT_LOCKED = {"fid"}  # asks for torch itself, and for weights from elsewhere: for those who want it, after set-up


def direct_requirements(pyproject: str) -> list[Requirement]:
    project = tomllib.loads(pyproject)["project"]
    extras = {name: wanted for name, wanted in project["optional-dependencies"].items() if name not in NOT_LOCKED}
    groups = [project["dependencies"], *extras.values()]
    wanted = [Requirement(text) for group in groups for text in group]
    return [requirement for requirement in wanted if requirement.name != project["name"]]


def unsatisfied(pyproject: str, constraints: str) -> list[str]:
    """What pyproject asks for directly and the pins do not give."""
    have = pins(constraints)
    problems = []
    for requirement in direct_requirements(pyproject):
        pin = have.get(canonicalize_name(requirement.name))
        if pin is None or pinned_version(pin) not in requirement.specifier:
            problems.append(f"{requirement} but {pin}")
    return problems


def torch_versions(makefile: str, constraints: str, conda: str, workflow: str) -> dict[str, str]:
    """The torch that each place installs by default."""
    matrix = [v for job in yaml.safe_load(workflow)["jobs"].values() for v in matrix_of(job).get("torch", [])]
    (in_workflow,) = set(matrix)
    return {
        "Makefile": re.search(r"^TORCH \?= (\S+)$", makefile, re.MULTILINE)[1],
        "constraints": str(pinned_version(pins(constraints)["torch"])),
        "conda": next(p for p in pip_section(conda) if p.startswith("torch==")).removeprefix("torch=="),
        "workflow": in_workflow,
    }


def matrix_of(job: dict) -> dict:
    return job.get("strategy", {}).get("matrix", {})


def conda_specs(conda: str) -> dict[str, str]:
    """Name -> version range of conda's own specs, parsed as conda parses them; raises on a bad one."""
    specs = [MatchSpec(d) for d in yaml.safe_load(conda)["dependencies"] if isinstance(d, str)]
    return {spec.name.normalized: str(spec.version) for spec in specs}


def pip_section(conda: str) -> list[str]:
    return next(d["pip"] for d in yaml.safe_load(conda)["dependencies"] if isinstance(d, dict))


def python_ranges(makefile: str, conda: str, pyproject: str, workflow: str) -> dict[str, list[str]]:
    """The minor versions of Python that each place accepts, of 3.8 to 3.20."""
    low, high = re.search(r"not (\(3, \d+\)) <= sys.version_info < (\(3, \d+\))", makefile).groups()
    project = tomllib.loads(pyproject)["project"]
    classifiers = [c.rpartition(" ")[2] for c in project["classifiers"] if "Python :: 3." in c]
    tested = {v for job in yaml.safe_load(workflow)["jobs"].values() for v in matrix_of(job).get("python", [])}

    def accepted(specifier: str) -> list[str]:
        return [f"3.{minor}" for minor in range(8, 21) if f"3.{minor}.1" in SpecifierSet(specifier)]

    def between(low: tuple[int, int], high: tuple[int, int]) -> list[str]:
        return [f"3.{minor}" for minor in range(8, 21) if low <= (3, minor) < high]

    return {
        "Makefile": between(ast.literal_eval(low), ast.literal_eval(high)),
        "doctor": between(doctor.PYTHON_FROM, doctor.PYTHON_BELOW),
        "conda": accepted(conda_specs(conda)["python"]),
        "classifiers": sorted(classifiers, key=Version),
        "workflow": sorted(tested, key=Version),
    }


def test_every_entry_of_the_lock_has_a_hash():
    assert without_hash(LOCK) == []
    victim = next(iter(pins(LOCK)))
    stripped = re.sub(rf"^({victim}==\S+).*?(?=^\S)", r"\1\n", LOCK, count=1, flags=re.MULTILINE | re.DOTALL)
    assert without_hash(stripped) == [victim], "negative control"


def test_lock_and_constraints_agree():
    locked, constrained = pins(LOCK), pins(CONSTRAINTS)
    assert set(constrained) - set(locked) == {"torch"}
    assert set(locked) - set(constrained) == set()
    assert [n for n in locked if str(locked[n]) != str(constrained[n])] == []


def test_the_lock_leaves_torch_and_its_companions_to_their_own_step():
    assert [name for name in pins(LOCK) if re.match(r"torch|triton|nvidia|cuda", name)] == []
    needed_by_torch = {"filelock", "fsspec", "jinja2", "networkx", "sympy", "typing-extensions", "setuptools"}
    assert needed_by_torch <= set(pins(LOCK))


def test_the_pins_satisfy_every_direct_requirement():
    assert unsatisfied(PYPROJECT, CONSTRAINTS) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [('"numpy>=2"', '"numpy>=3"'), ('"numpy>=2"', '"numpy>=2", "nowhere-to-be-found"'), ("<0.12", "<0.11")],
)
def test_an_unsatisfied_requirement_is_seen(old, new):
    assert old in PYPROJECT
    assert len(unsatisfied(PYPROJECT.replace(old, new), CONSTRAINTS)) == 1


def test_torch_is_the_same_everywhere():
    versions = torch_versions(MAKEFILE, CONSTRAINTS, CONDA, WORKFLOW)
    assert len(set(versions.values())) == 1, versions
    doctored = torch_versions(MAKEFILE, CONSTRAINTS, CONDA.replace("torch==2.13.0", "torch==2.12.0"), WORKFLOW)
    assert len(set(doctored.values())) == 2, "negative control"


def test_the_oldest_torch_is_tested_and_safe():
    (torch,) = [requirement for requirement in direct_requirements(PYPROJECT) if requirement.name == "torch"]
    assert str(torch.specifier) == ">=2.10", "below 2.10 torch.load can be made to run code (CVE-2026-24747)"
    extra = yaml.safe_load(WORKFLOW)["jobs"]["matrix"]["strategy"]["matrix"]["include"]
    assert {Version(job["torch"]) for job in extra} == {Version("2.10.0")}


def test_the_server_is_one_without_the_known_hole():
    assert pinned_version(pins(CONSTRAINTS)["jupyter-server"]) >= Version("2.18")


def test_the_python_ranges_agree():
    ranges = python_ranges(MAKEFILE, CONDA, PYPROJECT, WORKFLOW)
    assert len({tuple(versions) for versions in ranges.values()}) == 1, ranges
    assert tomllib.loads(PYPROJECT)["project"]["requires-python"] == f">={ranges['Makefile'][0]}"
    doctored = python_ranges(MAKEFILE, CONDA.replace("<3.15", "<3.16"), PYPROJECT, WORKFLOW)
    assert doctored["conda"] != doctored["Makefile"], "negative control"


def test_conda_gives_the_same_versions_as_make():
    assert set(yaml.safe_load(CONDA)) == {"name", "channels", "dependencies"}
    assert set(conda_specs(CONDA)) == {"python", "pip"}, "everything else comes from the pins"
    section = pip_section(CONDA)
    assert section[0] == "-c requirements/constraints.txt"
    extra = re.fullmatch(r"-e \.\[(\w+)\]", section[-1])[1]
    assert extra in tomllib.loads(PYPROJECT)["project"]["optional-dependencies"]
    assert "--hash" not in CONSTRAINTS, "one hash makes pip refuse the editable install"


@pytest.mark.parametrize("bad", ["python >=3.11,,<3.15", "python >>3.11"])
def test_a_bad_conda_spec_is_seen(bad):
    with pytest.raises(Exception, match=r"(?i)version|spec|constraint"):
        conda_specs(CONDA.replace("python >=3.11,<3.15", bad))


@pytest.mark.parametrize("text", ["numpy>=2\n", "numpy==2.0\nnumpy==2.1\n", "# nothing\n"])
def test_a_file_that_pins_nothing_or_twice_is_seen(text):
    with pytest.raises(AssertionError, match=r"pin"):
        pins(text)
