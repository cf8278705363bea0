"""What makes a CPU faster at this, and is not done unless asked for.

Training a small network allocates and frees the same large buffers in every step. glibc hands each of them back to the
kernel and asks for it again, and the kernel clears every page of it anew. Telling glibc to keep what it has makes a
step of a small network about twice as fast (docs/decisions/speed-on-a-cpu.md).
"""

import ctypes
import platform

# mallopt's own numbers, from glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_LARGEST = 2**31 - 1


def keep_memory() -> bool:
    """Have the allocator keep freed memory for the life of this process; True where that could be arranged.

    Only glibc (most Linux) has this switch; elsewhere nothing happens and the result is False. The process holds on to
    its largest size until it ends, which is why importing this package does not do it: entry points that train or
    sample for long call it. Calling it again changes nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _LARGEST))
