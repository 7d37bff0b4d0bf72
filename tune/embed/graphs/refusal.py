"""NotAGraph: why a model cannot be written as a graph."""

from tune.errors import ModelError


class NotAGraph(ModelError):
    """A model that cannot be written as a graph. The message is the reason; whoever catches it adds what to do."""
