"""One purchase of texts: batches within the server's limits, halved or cut where it refuses them.

A server that is not the provider's own may have smaller limits than those assumed. What a refusal teaches is kept in
`ServerLimits`, for the following batches.
"""

import logging
import threading
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tune.embed.closed._asking import Again
from tune.embed.closed._failures import Refused
from tune.embed.closed._refusals import is_about_length, named_texts, named_tokens
from tune.embed.closed.clients import Client
from tune.embed.closed.names import RequestLimits
from tune.embed.closed.tokens import batches, cut, estimate_tokens

logger = logging.getLogger(__name__)


class ServerLimits:
    """The limits of one request, lowered by what the server refuses; shared by the threads that ask it.

    per_text: the most estimated tokens of a text; None if the server has named no limit. refused: the fewest estimated
    tokens of a text that the server refused alone; None if there was none.
    """

    def __init__(self, assumed: RequestLimits) -> None:
        self._assumed = assumed
        self._most_texts = assumed.texts
        self._halved = assumed
        self.per_text: int | None = None
        self.refused: int | None = None
        self._lock = threading.Lock()

    @property
    def texts(self) -> int:
        """Most texts per request."""
        return min(self._most_texts, self._halved.texts)

    @property
    def tokens(self) -> int:
        """Most estimated tokens per request."""
        return self._halved.tokens

    def lower_texts(self, texts: int) -> int:
        """Lower the number of texts per request, because the server named it as the reason; return it."""
        with self._lock:
            self._most_texts = min(self._most_texts, texts)
            return self._most_texts

    def lower(self, texts: int, tokens: int, longest: int) -> None:
        """Lower the size of requests, because the server found one of twice this size too large.

        Not if its longest text is too long by itself, as found in the meantime, which explains the refusal.
        """
        with self._lock:
            named = self.per_text is not None and longest > self.per_text
            if named or (self.refused is not None and longest >= self.refused):
                return
            self._halved = RequestLimits(min(self._halved.texts, texts), max(1, min(self._halved.tokens, tokens)))

    def refuse_text(self, tokens: int) -> bool:
        """Note that a text of this size was refused alone, and undo `lower`; return whether it is the first one.

        This is no limit for other texts: estimates of short texts can be higher than those of long ones.
        """
        with self._lock:
            first = self.refused is None
            self._halved = self._assumed
            self.refused = min(self.refused or tokens, tokens)
            return first

    def lower_text(self, tokens: int) -> bool:
        """Lower the tokens per text to what the server named; return whether it is the first limit."""
        with self._lock:
            first = self.per_text is None
            self._halved = self._assumed
            self.per_text = min(self.per_text or tokens, tokens)
            return first


class Purchase:
    """Asks for the texts in batches of positions. cut: the positions of texts that were cut to what the server accepts.

    keep: whether a limit per text that the server names applies to all further texts; else only the refused text is
    cut. If the server names none, each text that it refuses is halved until it is accepted. truncate: whether texts may
    be cut at all.
    """

    def __init__(self, name: str, texts: Sequence[str], limits: ServerLimits, *, truncate: bool, keep: bool) -> None:
        self._name, self._texts, self._limits = name, texts, limits
        self._truncate, self._keep = truncate, keep
        self._own_limit: dict[int, int] = {}
        self.cut: set[int] = set()

    def batches(self) -> Iterator[list[int]]:
        """Yield the positions of the texts in batches, as the limits are by then."""
        return batches(self._texts, self._limits)

    def ask(
        self, client: Client, positions: list[int], input_type: str | None, dims: int | None
    ) -> NDArray[np.float32] | Again[list[int]]:
        """Return the vectors of the texts at these positions, or what to ask instead. Raises ModelError."""
        texts = [self._sent(position) for position in positions]
        parts = [[positions[at] for at in part] for part in batches(texts, self._limits)]
        if len(parts) > 1:
            # The limits have been lowered since this batch was formed.
            return Again(parts)
        if apart := self._apart(positions, texts):
            return Again(apart)
        try:
            vectors = client.ask(texts, input_type, dims)
        except Refused as refusal:
            refused = refusal
        else:
            self._accepted(positions, texts)
            return vectors
        if refused.kind == "format":
            raise refused
        if refused.kind == "long" or (
            len(texts) == 1 and (refused.kind == "request" or is_about_length(refused.reply))
        ):
            return self._shorter(refused, positions, texts)
        if len(texts) == 1:
            raise Refused(f"{refused}{_named(texts)}")
        return self._smaller(refused, positions, texts)

    def _sent(self, position: int) -> str:
        limits = [limit for limit in (self._limits.per_text, self._own_limit.get(position)) if limit is not None]
        return cut(self._texts[position], min(limits)) if limits else self._texts[position]

    def _apart(self, positions: list[int], texts: list[str]) -> list[list[int]]:
        """Return the batch as two, if it has some texts as long as one that was refused alone; else []."""
        if self._limits.refused is None:
            return []
        long = {at for at, text in zip(positions, texts, strict=True) if estimate_tokens(text) >= self._limits.refused}
        return [[at for at in positions if at not in long], sorted(long)] if 0 < len(long) < len(positions) else []

    def _smaller(self, refused: Refused, positions: list[int], texts: list[str]) -> Again[list[int]]:
        """Return the batch in parts of the size that the server names, or of half."""
        size = (len(positions) + 1) // 2
        if refused.kind == "texts":
            size = self._limits.lower_texts(named_texts(refused.reply, len(positions)) or size)
        else:
            tokens = [estimate_tokens(text) for text in texts]
            self._limits.lower(size, sum(tokens) // 2, max(tokens))
        return Again(_parts(positions, size))

    def _shorter(self, refused: Refused, positions: list[int], texts: list[str]) -> Again[list[int]]:
        """Return the batch with its long texts cut, or its halves until the long text is found."""
        longest = max(map(estimate_tokens, texts))
        if not self._truncate:
            raise Refused(f"{refused}{_named(texts)}; shorten it, set --max-length, or use --too-long truncate")
        if longest <= 1:
            raise Refused(f"{refused}{_named(texts)}; check the model and the address")
        named = named_tokens(refused.reply, longest)
        if named is not None and self._keep:
            self._found(named)
            return Again([positions])
        if len(positions) > 1:
            return Again(_parts(positions, (len(positions) + 1) // 2))
        if self._limits.refuse_text(longest) and named is None:
            logger.warning(
                "base model %s: the server refuses long texts without naming its limit; each is halved until it is "
                "accepted",
                self._name,
            )
        self._own_limit[positions[0]] = named or longest // 2
        return Again([positions])

    def _found(self, limit: int) -> None:
        if self._limits.lower_text(limit):
            logger.warning(
                "base model %s: the server refuses longer texts; they are cut to about %d tokens (an estimate)",
                self._name,
                limit,
            )

    def _accepted(self, positions: list[int], texts: list[str]) -> None:
        for position, text in zip(positions, texts, strict=True):
            if text != self._texts[position]:
                self.cut.add(position)


def _parts(positions: list[int], size: int) -> list[list[int]]:
    return [positions[start : start + size] for start in range(0, len(positions), size)]


def _named(texts: list[str]) -> str:
    """Return the end of a sentence that names the text that is most likely too long."""
    which = "the text" if len(texts) == 1 else f"the longest of its {len(texts)} texts"
    return f"; {which} begins {max(texts, key=estimate_tokens)[:40]!r}"
