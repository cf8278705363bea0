"""What must stand in no source: code that can run a stranger's data, and addresses of one person's machine.

ruff's S rules see most of this in the package; here it is looked for as text, in lessons and settings too, where
no linter looks.
"""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

UNSAFE = {
    "unpickling runs code": r"\bpickle\.[a-z_]|import pickle|allow_pickle\s*=\s*True",
    "torch.load must stay weights_only": r"weights_only\s*=\s*False",
    "archives are read member by member": r"\.extractall\b",
    "text is not code": r"(?<![\w.])(eval|exec)\(",
    "no shell between us and a program": r"shell\s*=\s*True|\bos\.system\(",
    "no code from a hub": r"trust_remote_code",
    "certificates are checked": r"verify\s*=\s*False",
}
# Written in pieces, so that this file does not find itself.
REGISTRIES = "|".join(
    re.escape(host)
    for host in ("pypi" + ".org", "python" + "hosted.org", "npmjs" + ".org", "npmjs" + ".com", "deb.debian" + ".org")
)
ADDRESSES = {
    "a package registry": REGISTRIES,
    "a path of one machine": r"(?<![\w.])/(work|root|home)/\w|/tmp" + r"/scratch",
}


def tracked(*patterns: str) -> list[Path]:
    """The files that git knows (a clone has no others), as paths."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def find(text: str, patterns: dict[str, str]) -> list[str]:
    """``line number: reason: line`` of every forbidden thing in a text."""
    return [
        f"{number}: {reason}: {line.strip()[:100]}"
        for number, line in enumerate(text.splitlines(), start=1)
        for reason, pattern in patterns.items()
        if re.search(pattern, line)
    ]


def found_in(paths: list[Path], patterns: dict[str, str]) -> list[str]:
    assert paths, "nothing to look at"
    texts = ((path, path.read_bytes()) for path in paths)
    return [
        f"{path.relative_to(ROOT)}:{hit}"
        for path, content in texts
        if b"\0" not in content
        for hit in find(content.decode(errors="replace"), patterns)
    ]


def test_no_source_runs_what_it_reads():
    sources = tracked("ddpm_edu/**.py", "tools/**.py", "requirements/**.py", "notebooks/source/**.py", "docs/**.py")
    assert len(sources) > 20
    assert found_in(sources, UNSAFE) == []


def test_no_file_names_a_registry_or_somebodys_machine():
    assert found_in(tracked(), ADDRESSES) == []


@pytest.mark.parametrize(
    "line",
    [
        "x = pickle.load(f)",
        "np.load(f, allow_pickle=True)",
        "torch.load(f, weights_only = False)",
        "tar.extractall(folder)",
        "eval(text)",
        "y = [exec(t)]",
        "run(command, shell=True)",
        "load(name, trust_remote_code=True)",
        "get(url, verify=False)",
    ],
)
def test_each_unsafe_thing_is_seen(line):
    assert find(f"ok\n{line}\n", UNSAFE)[0].startswith("2: ")


@pytest.mark.parametrize("line", ["model.eval()", "torch.load(f, weights_only=True)", "retrieval(x)"])
def test_what_only_looks_unsafe_passes(line):
    assert find(line, UNSAFE) == []


@pytest.mark.parametrize(
    "line", ["--index-url https://" + "pypi" + ".org/simple", 'open("/ho' + 'me/me/x")', "at /wo" + "rk/main/x"]
)
def test_each_address_is_seen(line):
    assert find(line, ADDRESSES)


@pytest.mark.parametrize("line", ["/usr/share/datasets/x", "docs/work/x", "https://download.pytorch.org/whl/cpu"])
def test_what_only_looks_like_an_address_passes(line):
    assert find(line, ADDRESSES) == []
