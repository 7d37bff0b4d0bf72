"""Addresses (https://, s3://, ...) without the secrets that they may hold."""

import re
from urllib.parse import parse_qsl, urlsplit, urlunsplit

_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://\S+")
_PLAIN = frozenset(("alt", "dl", "download", "export", "format", "gid", "output", "raw", "ref", "revision", "version"))
"""Keys of a query that say which file is meant. All others may be a signature or a token."""


def shown(address: str) -> str:
    """Return an address for messages: scheme, host and path. Anything else is returned unchanged."""
    if "://" not in address:
        return address
    try:
        parts = urlsplit(address)
    except ValueError:
        # Not a valid host.
        return f"{address.partition('://')[0]}://"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def without_secrets(text: str) -> str:
    """Return a text for the results folder, such as a command: its addresses have no user, password or signature."""
    return _ADDRESS.sub(lambda found: _kept(found[0]), text)


def _kept(address: str) -> str:
    query = address.partition("#")[0].partition("?")[2]
    keys = {key.lower() for key, _ in parse_qsl(query, keep_blank_values=True)}
    return f"{shown(address)}?{query}" if keys and keys <= _PLAIN else shown(address)
