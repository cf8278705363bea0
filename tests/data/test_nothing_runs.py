"""What the data code must not contain: ways to run what a file says, or to let an archive choose where it lands."""

import ast
from pathlib import Path

import pytest

import ddpm_edu

FILES = sorted((Path(ddpm_edu.__file__).parent / "data").glob("*.py"))
MODULES = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "subprocess"}
NAMES = {"eval", "exec", "extractall", "extract", "system", "popen", "load", "loads", "unpack_archive"}


def forbidden(source: str) -> list[str]:
    """What a module imports or calls by a name on the lists above."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            found += [name] if name in NAMES else []
            found += [str(k.arg) for k in node.keywords if k.arg in ("allow_pickle", "shell", "verify")]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_forbidden_is_used(path):
    assert forbidden(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from joblib import load", "torch.load(f)", "np.load(f, allow_pickle=True)", "eval(s)",
        "tar.extractall(p)", "tar.extract(m)", "get(u, verify=False)", "run(c, shell=True)", "os.system(c)",
    ],
)  # fmt: skip
def test_the_search_finds_what_it_looks_for(source):
    assert forbidden(source)
