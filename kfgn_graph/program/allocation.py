"""Settings of glibc's allocator for the memory of freed arrays."""

import ctypes
import os
import sys

#: Parameters of ``mallopt``: the block size from which each allocation is a separate mapping,
#: unmapped when it is freed; and the amount of free memory kept at the top of the heap.
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1

#: Value of both parameters, in bytes.
KEPT = 2**28

#: Environment variables that set the parameters; if one is set, they are not changed.
DECIDED = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Let glibc keep up to 256 MiB of freed memory for the arrays of the next update.

    By default glibc returns every block above 32 MiB to the system when it is freed. Of smaller
    blocks it keeps only a few times the size of the largest. Each update then obtains the memory
    again, page by page, and the kernel zeroes every page.

    Returns
    -------
    bool
        Whether the setting was made. It is not made with another C library, or if the user has
        set an environment variable for it.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in DECIDED):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(n, KEPT) for n in (MMAP_THRESHOLD, TRIM_THRESHOLD))
