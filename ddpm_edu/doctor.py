"""What is wrong with this installation, and how to put it right.

Only the standard library is imported here, and torch is tried in a process of its own: the doctor must be
able to speak where packages are missing, and to survive a torch that crashes on import. Every check takes
what it looks at as an argument, so that the tests can show it an illness.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PACKAGE = "ddpm-edu"
PYTHON_FROM, PYTHON_BELOW = (3, 11), (3, 15)
DISK_NEEDED = 2 * 10**9  # bytes: Fashion-MNIST, CIFAR-10 and a few checkpoints
REPAIR = "run `make lab` again, or: python -m pip install -c requirements/constraints.txt -e '.[lab]'"
DIGITS = Path(__file__).parent / "data" / "files"

TORCH_PROBE = """
import json, torch
assert torch.ones(2).sum().item() == 2
cuda = torch.cuda.is_available()
found = {"version": torch.__version__, "device": "cpu"}
if cuda:
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    name = torch.cuda.get_device_name()
    found["device"] = f"cuda, {name}, bf16 {'in hardware' if bf16 else 'only emulated'}"
elif torch.backends.mps.is_available():
    found["device"] = "mps"
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Check:
    """What one check found. ``name`` is the same on every machine; ``detail`` and ``fix`` are not."""

    name: str
    ok: bool
    detail: str
    fix: str = ""

    @property
    def line(self) -> str:
        """The full line that a person reads."""
        if self.ok:
            return f"[ok] {self.name}: {self.detail}"
        return f"[problem] {self.name}: {self.detail}. fix: {self.fix}"

    @property
    def short(self) -> str:
        """The line without what differs from machine to machine, unless something is wrong."""
        return f"[ok] {self.name}" if self.ok else self.line


def python_version(version: tuple[int, ...] = sys.version_info[:3]) -> Check:
    """Python is one of those that the course is tested with."""
    detail = ".".join(map(str, version))
    wanted = f"{PYTHON_FROM[0]}.{PYTHON_FROM[1]} to {PYTHON_BELOW[0]}.{PYTHON_BELOW[1] - 1}"
    fix = f"install Python {wanted} and set up again with it: make lab PYTHON=python3.12"
    return Check("Python", PYTHON_FROM <= version[:2] < PYTHON_BELOW, detail, fix)


def installed_version(name: str) -> str | None:
    """The version that is installed of a package, read without importing it; None if it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def own_requirements() -> list[str]:
    """What this package's own metadata asks for: ``name range ; marker`` lines. Empty if not installed."""
    try:
        return metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return []


def package_versions(
    requirements: Iterable[str] | None = None, version_of: Callable[[str], str | None] = installed_version
) -> Check:
    """Everything that the package and its ``lab`` extra ask for is there, in the range they ask for."""
    name = "packages"
    wanted = own_requirements() if requirements is None else list(requirements)
    if not wanted:
        return Check(name, False, f"{PACKAGE} is not installed in {sys.executable}", REPAIR)
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return Check(name, False, "packaging is missing, and probably more", REPAIR)
    good, bad = [], []
    for requirement in map(Requirement, wanted):
        if requirement.marker and not any(requirement.marker.evaluate({"extra": e}) for e in ("", "lab")):
            continue
        have = version_of(requirement.name)
        if have is None:
            bad.append(f"{requirement.name} is missing")
        elif not requirement.specifier.contains(have, prereleases=True):
            bad.append(f"{requirement.name} {have} is not {requirement.specifier}")
        else:
            good.append(f"{requirement.name} {have}")
    return Check(name, not bad, ", ".join(bad or good), REPAIR)


def torch_and_device(python: str = sys.executable, seconds: float = 120) -> list[Check]:
    """torch imports and computes; what it would compute on."""
    fix = "run `make lab` again; if it stays, remove .venv first (README, 'When something fails')"
    try:
        probe = subprocess.run(
            [python, "-c", TORCH_PROBE], capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return [Check("torch", False, f"importing it took more than {seconds:g} s", fix)]
    if probe.returncode:
        # The last line of a traceback says what it was; a crash in native code says nothing.
        said = probe.stderr.strip().splitlines() or [f"importing it ended with code {probe.returncode}"]
        return [Check("torch", False, said[-1], fix)]
    found = json.loads(probe.stdout.splitlines()[-1])
    return [
        Check("torch", True, f"{found['version']} imports and computes"),
        Check("device", True, found["device"]),
    ]


def embedded_digits(folder: Path = DIGITS) -> Check:
    """The images that the course carries with it are there and whole (gzip files carry a checksum)."""
    name, fix = "digits", "get the file again: git checkout -- ddpm_edu/data, or reinstall the package"
    files = sorted(folder.glob("*.gz"))
    if not files:
        return Check(name, False, f"no data file in {folder}", fix)
    for file in files:
        try:
            gzip.decompress(file.read_bytes())
        except (OSError, EOFError, zlib.error) as error:
            return Check(name, False, f"{file} is damaged ({error})", fix)
    return Check(name, True, f"{len(files)} files, whole")


def fashion_mnist() -> Check:
    """Whether Fashion-MNIST is here. Its absence is no illness: the lessons that use it say so and go on.

    This imports the data room and torch with it, so it comes after torch has been seen to import.
    """
    name = "Fashion-MNIST (optional)"
    try:
        from ddpm_edu import data
    except ImportError as error:
        return Check(name, False, f"cannot be looked for ({error})", REPAIR)
    how = "python -m ddpm_edu data fetch fashion-mnist"
    absent = f"not here, and nothing needs it; to have it (30 MB): {how}"
    return Check(name, True, "found" if data.fashion_mnist_available() else absent)


def jupyter_kernel(kernel_name: str = "python3") -> Check:
    """The kernel that the notebooks ask for is there and starts this Python."""
    name = "kernel"
    try:
        import ipykernel  # noqa: F401  (a kernel without it does not start)
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    except ImportError as error:
        return Check(name, False, str(error), REPAIR)
    try:
        program = KernelSpecManager().get_kernel_spec(kernel_name).argv[0]
    except NoSuchKernel:
        fix = f"{sys.executable} -m ipykernel install --sys-prefix --name {kernel_name}"
        return Check(name, False, f"no kernel {kernel_name}", fix)
    # Jupyter replaces a bare "python" by the Python that it runs on. Links are not followed: in a virtual
    # environment they all lead to the same program.
    if not re.fullmatch(r"python[\d.]*", program) and Path(program).parent != Path(sys.executable).parent:
        fix = f"jupyter kernelspec remove {kernel_name} (the course brings its own)"
        return Check(name, False, f"{kernel_name} starts {program}, not {sys.executable}", fix)
    return Check(name, True, f"{kernel_name} starts this Python")


def widgets(
    find: Callable[[str], metadata.Distribution] = metadata.distribution, prefix: Path = Path(sys.prefix)
) -> Check:
    """JupyterLab and both halves of the widgets are in one environment.

    The half that draws is found by the JupyterLab that runs, the half that computes by the kernel: where they
    live in two environments, every widget is an empty box.
    """
    name = "widgets"
    places = {}
    for package in ("jupyterlab", "ipywidgets", "jupyterlab_widgets"):
        try:
            places[package] = str(find(package).locate_file(""))
        except metadata.PackageNotFoundError:
            return Check(name, False, f"{package} is missing in this environment", REPAIR)
    if len(set(places.values())) > 1:
        where = ", ".join(f"{package} in {place}" for package, place in places.items())
        return Check(name, False, f"not in one environment: {where}", REPAIR)
    if not (prefix / "share/jupyter/labextensions/@jupyter-widgets/jupyterlab-manager/package.json").exists():
        fix = "python -m pip install --force-reinstall --no-deps jupyterlab_widgets"
        return Check(name, False, f"the half that draws is not in {prefix}", fix)
    return Check(name, True, "both halves in the environment of JupyterLab")


def disk(folder: Path | None = None, needed: int = DISK_NEEDED) -> Check:
    """There is room for the larger data sets and a few checkpoints."""
    free = shutil.disk_usage(folder or Path.cwd()).free
    fix = f"make room: {needed / 1e9:.0f} GB are enough"
    return Check("disk", free >= needed, f"{free / 1e9:.1f} GB free", fix)


def checks() -> list[Check]:
    """Every check, in the order in which one would repair."""
    torch = torch_and_device()
    return [
        python_version(),
        package_versions(),
        *torch,
        embedded_digits(),
        *([fashion_mnist()] if all(check.ok for check in torch) else []),
        jupyter_kernel(),
        widgets(),
        disk(),
    ]


def report() -> bool:
    """Print every check with what it found on this machine; whether all is well."""
    results = checks()
    for check in results:
        print(check.line)
    return all(check.ok for check in results)


def summary() -> None:
    """Print every check; where all is well, the same text on every machine (for notebooks, which compare)."""
    for check in checks():
        print(check.short)
