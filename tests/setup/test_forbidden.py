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
    "unpickling runs code": r"\bpickle\.[a-z_]|(import|from) (pickle|dill|cloudpickle|joblib|marshal|shelve)\b"
    r"|allow_pickle\s*=\s*True|\byaml\.(unsafe_)?load\(",
    "torch.load must stay weights_only": r"weights_only\s*=\s*False|\btorch\.load\((?!.*weights_only=True)",
    "a folder of torch.distributed.checkpoint holds a pickle": r"\bFileSystemReader\b|\bcheckpoint_id\s*=",
    "archives are read member by member": r"\.extractall\b|\bunpack_archive\(",
    "text is not code": r"(?<![\w.])(eval|exec|__import__)\(",
    "no shell between us and a program": r"shell\s*=\s*True|\bos\.(system|popen)\(",
    "no code from a hub": r"trust_remote_code",
    "certificates are checked": r"verify\s*=\s*False",
}
ALLOWED: dict[tuple[str, str], str] = {}
"""(file, line without its indentation): why it is no danger there. Empty, and best kept so."""
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
        for hit in find(without_allowed(path, content.decode(errors="replace")), patterns)
    ]


def without_allowed(path: Path, text: str) -> str:
    """The text, with the lines that may stand in this file emptied."""
    name = path.relative_to(ROOT).as_posix()
    return "\n".join("" if (name, line.strip()) in ALLOWED else line for line in text.splitlines())


def test_no_source_runs_what_it_reads():
    folders = {"ddpm_edu", "tools", "requirements", "notebooks", "docs", "benchmarks"}
    sources = [path for path in tracked("*.py") if path.relative_to(ROOT).parts[0] != "tests"]
    assert {path.relative_to(ROOT).parts[0] for path in sources} >= folders
    assert found_in(sources, UNSAFE) == []


def test_what_is_allowed_still_stands_there():
    """A line that is gone needs no permission."""
    for (name, line), reason in ALLOWED.items():
        assert reason and line in [each.strip() for each in (ROOT / name).read_text().splitlines()], (name, line)


def test_a_planted_line_is_found_unless_it_is_allowed(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    planted = tmp_path / "planted.py"
    planted.write_text("x = 1\nif x:\n    y = torch.load(f, weights_only=False)\n")
    assert [hit.split(": ")[:2] for hit in found_in([planted], UNSAFE)] == [
        ["planted.py:3", "torch.load must stay weights_only"]
    ]
    monkeypatch.setitem(ALLOWED, ("planted.py", "y = torch.load(f, weights_only=False)"), "a reason")
    assert found_in([planted], UNSAFE) == []


def test_no_file_names_a_registry_or_somebodys_machine():
    assert found_in(tracked(), ADDRESSES) == []


@pytest.mark.parametrize(
    "line",
    [
        "x = pickle.load(f)",
        "np.load(f, allow_pickle=True)",
        "torch.load(f, weights_only = False)",
        "torch.load(f)",
        "from pickle import loads",
        "import joblib",
        "yaml.load(text)",
        "dcp.load(state, checkpoint_id=folder)",
        "FileSystemReader(folder)",
        "shutil.unpack_archive(file, folder)",
        "__import__(name)",
        "os.system(command)",
        "os.popen(command)",
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


@pytest.mark.parametrize(
    "line", ["model.eval()", "torch.load(f, weights_only=True)", "retrieval(x)", "yaml.safe_load(text)"]
)
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
