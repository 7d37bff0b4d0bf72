"""Whether figures can be drawn in this process: where Vega cannot reserve its address space, it ends the process."""

import os
from pathlib import Path

from tune.errors import UserError
from tune.machine import address_space

NEEDED = 72 * 2**30
"""Bytes of address space, hardly any of them memory. Measured with vl-convert 1.9: it reserves 64 GiB."""


def check_drawing() -> None:
    """Raise UserError if `ulimit -v` leaves too little address space for drawing."""
    limit = address_space()
    if limit is None:
        return
    left = limit - _in_use()
    if left < NEEDED:
        raise UserError(
            f"ulimit -v leaves {max(left, 0) / 2**30:.3g} GiB of address space, and figures need "
            f"{NEEDED / 2**30:.0f}; run ulimit -v unlimited"
        )


def _in_use() -> int:
    """Return the bytes of address space that this process has reserved; 0 if the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
