"""Closed embedding models as sources: OpenAI, Cohere, and any server that speaks OpenAI's API.

The public names are below; `prices` estimates costs. Importing the package loads neither torch nor a provider's SDK.
"""

from tune.embed.closed.clients import check_closed
from tune.embed.closed.names import ClosedName, ClosedOptions, parse_closed
from tune.embed.closed.source import ClosedSource

__all__ = ["ClosedName", "ClosedOptions", "ClosedSource", "check_closed", "parse_closed"]
