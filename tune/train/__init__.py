"""One trial: a stream of numbered reports, with all its state in its own directory.

frozen trains a Dense layer on a view's vectors, whole trains the base model itself; `kinds` is the registry of both.
Importing this package, or any name it re-exports, loads neither torch nor Ray; the modules that train do.
"""

from tune.train.directory import TrialDirectory
from tune.train.kinds import TrialKind, kind_of
from tune.train.stream import Report, Reports, TrialFailed, TrialOpener

__all__ = ["Report", "Reports", "TrialDirectory", "TrialFailed", "TrialKind", "TrialOpener", "kind_of"]
