"""A local stand-in of Modal's control plane, so that tests run the real CLI, client and container runtime offline.

`with ModalLocal(root=tmp_path) as stand_in:` gives an environment for `modal run` and a record of what happened.
"""

from .records import Call, Container, Fault
from .server import ModalLocal

__all__ = ["Call", "Container", "Fault", "ModalLocal"]
