"""What the C library does with the memory of arrays that are freed."""

import ctypes
import os
import sys

#: The names that ``mallopt`` has for them: the least size of what is asked of the system by
#: itself, and given back at once; and the most that is free at the heap's end and stays.
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1

#: Bytes of either.
KEPT = 2**28

#: By which a user has decided already.
DECIDED = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Let glibc keep up to 256 MiB that is freed, for the arrays of the next update.

    By itself it keeps none of more than 32 MiB, and a few times the largest array so far; all
    others are asked of the system anew at every update, page by page, which has to be zeroed.

    Returns
    -------
    bool
        Whether it does: not where the C library is another, or the user has decided otherwise.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in DECIDED):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(n, KEPT) for n in (MMAP_THRESHOLD, TRIM_THRESHOLD))
