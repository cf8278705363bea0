"""The public workflow and .ci/run call the commands that a person types."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
CI_RUN = (ROOT / ".ci/run").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def commands(job: str) -> list[str]:
    return [step["run"] for step in WORKFLOW["jobs"][job]["steps"] if "run" in step]


def make_targets(text: str) -> set[str]:
    """The targets that a text calls make for, in code: a word of prose after "make" has no backtick or line start."""
    return set(re.findall(r"(?:^|`|: |\d )\s*make ([a-z]+)", text, re.MULTILINE))


def test_the_workflow_calls_the_same_commands():
    assert commands("everything") == ["bash .ci/run"]
    (matrix,) = commands("matrix")
    assert matrix.startswith("make test ")


def test_ci_run_ends_in_make_test():
    assert "make test" in CI_RUN.splitlines()[-1]
    assert "set -euo pipefail" in CI_RUN, "or a failing step would pass"


def test_every_target_that_is_named_exists():
    phony = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split())
    assert phony == set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    texts = [CI_RUN, (ROOT / ".github/workflows/ci.yml").read_text()]
    texts += [(ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md")]
    named = set().union(*map(make_targets, texts))
    assert {"lab", "test", "course"} <= named
    assert named <= phony
    assert make_targets("run `make nonsense`\n    make more") == {"nonsense", "more"}, "negative control"


def test_the_token_of_the_workflow_may_only_read():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert not [job for job in WORKFLOW["jobs"].values() if "permissions" in job]


def test_every_job_ends_by_itself():
    assert all(job["timeout-minutes"] <= 60 for job in WORKFLOW["jobs"].values())


def test_windows_installs_what_the_makefile_installs():
    """There is no make there, so the same four steps stand in the workflow and in README."""
    lines = commands("windows")
    readme = (ROOT / "README.md").read_text()
    for step in ("--require-hashes -r requirements/lock.txt", "--no-deps --no-build-isolation -e ."):
        assert step in MAKEFILE.replace("--only-binary :all: ", "")
        assert [line for line in lines if step in line]
        assert step in readme
