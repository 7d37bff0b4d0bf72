"""`python -m tests.modal_local --root DIR`: runs the stand-in by hand until Ctrl-C, and prints what to export."""

from __future__ import annotations

import argparse
import shlex
import signal
import tempfile
import threading
from pathlib import Path

from . import ModalLocal


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.modal_local", description=__doc__)
    parser.add_argument("--root", type=Path, help="where its state goes (default: a new temporary directory)")
    parser.add_argument("--max-containers", type=int, help="most containers alive at a time")
    options = parser.parse_args()
    root = options.root or Path(tempfile.mkdtemp(prefix="modal-local-"))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with ModalLocal(root=root, max_containers=options.max_containers) as stand_in:
        for name, value in stand_in.exports.items():
            print(f"export {name}={shlex.quote(value)}", flush=True)
        print(f"# state, uploads and container logs are under {root}", flush=True)
        stop.wait()


if __name__ == "__main__":
    main()
