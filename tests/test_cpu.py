"""What makes a CPU faster, and only where somebody asks for it. Each in a process of its own: it lasts for its life."""

import platform
import subprocess
import sys
from unittest import mock

import pytest

from ddpm_edu import cpu

GLIBC = platform.libc_ver()[0] == "glibc"


def lines_of(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_it_says_whether_it_could_be_arranged():
    """True with glibc, False elsewhere; again changes nothing."""
    said = lines_of("from ddpm_edu import cpu; print(cpu.keep_memory(), cpu.keep_memory())")
    assert said == [str(GLIBC)] * 2


@pytest.mark.parametrize("libc", [("", ""), ("musl", "1.2")])
def test_elsewhere_nothing_is_touched(libc):
    with (
        mock.patch.object(platform, "libc_ver", return_value=libc),
        mock.patch.object(cpu.ctypes, "CDLL", side_effect=AssertionError("touched")),
    ):
        assert cpu.keep_memory() is False


FAULTS = """
import resource
from ddpm_edu import cpu

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        bytearray(40_000_000)  # cleared page by page, then freed; from 32 MB on glibc always asks the kernel
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
cpu.keep_memory()
faults()
print(before, faults())
"""


@pytest.mark.skipif(not GLIBC, reason="only glibc has the switch")
def test_freed_memory_is_kept():
    """A buffer that is made and freed again and again: its pages come from the kernel each time, or only once."""
    before, after = map(int, lines_of(FAULTS))
    assert after < 0.05 * before


WATCH = """
import importlib, pkgutil, platform, sys

asked = []
def libc_ver(*arguments, **options):
    asked.append(sys._getframe(1).f_globals["__name__"])
    return ("", "")
platform.libc_ver = libc_ver

import ddpm_edu
for found in pkgutil.walk_packages(ddpm_edu.__path__, "ddpm_edu."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
print(asked.count("ddpm_edu.cpu"), "ddpm_edu.training.fit" in sys.modules)
from ddpm_edu import cpu
cpu.keep_memory()
print(asked.count("ddpm_edu.cpu"))
"""


def test_importing_the_package_does_not_do_it():
    """Every module is imported, and none asks; the last number shows that asking would have been seen."""
    assert lines_of(WATCH) == ["0", "True", "1"]
