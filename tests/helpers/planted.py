"""Looks for a planted secret in files: as it is, and as base64 at any offset."""

import base64
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


def forms(secret: str) -> list[bytes]:
    """Return what a file contains that holds the secret, whatever stands around it."""
    found = [secret.encode()]
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + secret.encode()).rstrip(b"=")
        # Without the characters that depend on what stands before and after it.
        found.append(encoded[offset + bool(offset) : -1])
    return found


@dataclass
class Looked:
    """What was looked at. files: all that were read. with_secret: those of them that hold it."""

    files: set[str] = field(default_factory=set)
    with_secret: set[str] = field(default_factory=set)

    def look(self, folder: Path, secret: str) -> None:
        """Read every file below a folder, as far as they stay there."""
        wanted = forms(secret)
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):
                if path.is_file():
                    content = path.read_bytes()
                    self.files.add(str(path))
                    if any(form in content for form in wanted):
                        self.with_secret.add(str(path))


@contextlib.contextmanager
def looking(folder: Path, secret: str, every: float = 0.5) -> Iterator[Looked]:
    """Look at a folder again and again while the block runs, since its files may be gone at the end."""
    looked, over = Looked(), threading.Event()

    def look() -> None:
        while not over.wait(every):
            looked.look(folder, secret)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield looked
    finally:
        over.set()
        thread.join()
