"""The model card of an export (README.md): what the model is, what it scores, how it was trained, where its limits are.

Facts become plain values and Markdown here; their order is in templates/card.md.jinja, and the front matter in
metadata.py. A card contains no texts and no paths of the machine that wrote it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from tune.embed.base_card import BaseCard, base_card, base_url
from tune.embed.prepare import PreparedBase
from tune.embed.routes import split_route
from tune.export.facts import ExportFacts
from tune.export.limits import limits
from tune.export.markdown import code, plain, table
from tune.export.metadata import card_data
from tune.export.scores import kept, score_table, sentences, verdicts
from tune.export.servers import ST, Serving, card_sentences
from tune.train.kinds import kind_of

PLACE = "PATH/OF/THIS/DIRECTORY"
"""What the card's snippet calls the place to load from."""


@dataclass(frozen=True)
class Picture:
    """A picture beside the card: its file, what it shows, and its bytes."""

    file: str
    text: str
    png: bytes


@dataclass(frozen=True)
class Instead:
    """What the card of an export in another form says in place of sentence-transformers.

    use: Python that encodes a first and a second text as a and b. notes: paragraphs after it. needs: what loads it.
    library: its name in the front matter.
    """

    use: str
    notes: tuple[str, ...]
    needs: str
    library: str


@dataclass(frozen=True)
class Extras:
    """What only the model in memory, or the pipeline, knows.

    max_tokens: per text; None for no limit or unknown. stored: Python that maps stored vectors of the base model; "" if
    the trial trained the base. instead: of an export in another form. servers: how each reader serves it.
    """

    max_tokens: int | None = None
    picture: Picture | None = None
    stored: str = ""
    servers: Mapping[str, Serving] = field(default_factory=dict)
    instead: Instead | None = None


def model_card(facts: ExportFacts, extras: Extras | None = None) -> str:
    """Return the card's text."""
    extras = extras or Extras()
    base = base_card(facts.base.name)
    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    template = environment.from_string((files("tune.export") / "templates" / "card.md.jinja").read_text("utf-8"))
    findings, instead = facts.findings, extras.instead
    return template.render(
        metadata=card_data(facts, base, instead.library if instead else None).to_yaml(),
        title=f"{plain(base.label)}, adapted to {facts.dims} dimensions",
        what=_what(facts, base),
        use=f"{instead.use}\n{_belongs(facts)}" if instead else _use(facts),
        after_use=instead.notes if instead else _after_use(facts),
        scores=[*_warnings(facts), *sentences(facts), *score_table(facts), *verdicts(facts), *kept(facts)],
        stored=extras.stored,
        stored_side="vectors of queries" if facts.config.side == "query" else "vectors",
        picture=extras.picture and {"file": extras.picture.file, "text": plain(extras.picture.text)},
        limits=limits(facts, base, extras.max_tokens),
        data=_data(facts),
        origin=_origin(facts, base),
        settings=table(["option", "value"], [list(one) for one in facts.chosen.items()]),
        space=table(["option", "searched"], [list(one) for one in findings.space.items()]) if findings.space else "",
        provenance=table(["what", "value"], [list(one) for one in findings.provenance.items()])
        if findings.provenance
        else "",
        servers=card_sentences(extras.servers),
        needs=instead.needs if instead else _needs(facts, extras.servers),
    )


def _what(facts: ExportFacts, base: BaseCard) -> str:
    kind = kind_of(facts.config)
    what = kind.description.format(base=base.label, data=plain(facts.search.get("data", "")))
    if kind.trains_base and facts.config.dims is not None:
        what += ", with a Dense layer"
    synthetic = " The pairs are synthetic." if facts.search.get("synthetic") else ""
    return f"{what} and a final normalisation.{synthetic}"


def _belongs(facts: ExportFacts) -> str:
    """Return the line that compares two vectors a and b."""
    threshold = facts.final["threshold"]
    return f"belongs_together = float(a @ b) >= {threshold:.6f}" if threshold is not None else "cosine = a @ b"


def _use(facts: ExportFacts) -> str:
    if facts.base.closed is not None:
        lines = [
            "from tune.embed.adapted import AdaptedEmbedder",
            "",
            f'model = AdaptedEmbedder.load("{PLACE}")',
            '[a] = model.encode(["first text"])',
            '[b] = model.encode(["second text"], side="b")',
        ]
    else:
        trust = ", trust_remote_code=True" if facts.base.trusted else ""
        lines = [
            "from sentence_transformers import SentenceTransformer",
            "",
            f'model = SentenceTransformer("{PLACE}"{trust})',
            _encode(facts),
        ]
    return "\n".join([*lines, _belongs(facts)])


def _after_use(facts: ExportFacts) -> list[str]:
    found = []
    if facts.config.side == "query":
        found.append(_query_side(facts))
    if len(facts.finals) > 1:
        dims = min(facts.finals)
        how = (
            f"vectors[:, :{dims}]"
            if facts.base.closed is not None
            else f"SentenceTransformer(..., truncate_dim={dims})"
        )
        found.append(f"Its first components also work alone, compared by cosine: `{how}`.")
    named = zip(("first text", "second text"), named_prompts(facts.base), strict=True)
    if prompts := ", ".join(f"`{name}`: {code(repr(prompt))}" for name, (_, prompt) in named if prompt):
        found.append(f"Trained with these prompts: {prompts}.")
    return found


def _query_side(facts: ExportFacts) -> str:
    """Return what a reader must know of a layer for queries alone."""
    documents = 'encode(..., side="b")' if facts.base.closed is not None else "encode_document"
    kept = (
        "Only the query side was trained: first texts go through the layer, second texts (documents) keep the base "
        f"model's own unit vectors. Document vectors that you have stored stay valid; `{documents}` returns the same."
    )
    if facts.base.closed is not None:
        return kept
    return f"{kept} Plain `encode` takes the route of documents; it never applies the layer."


def named_prompts(base: PreparedBase) -> list[tuple[str, str]]:
    """Return (name, prompt) of first and second texts, without routes, as the exported model knows them."""
    first, second = (split_route(prompt, base.routed) for prompt in (base.prompt_a, base.prompt_b))
    if first[0] is not None and first[0] == second[0]:
        # `encode_query` would take the query route, whatever the prompt.
        return [("first", first[1]), ("second", second[1])]
    return [(first[0] or "query", first[1]), (second[0] or "document", second[1])]


def _encode(facts: ExportFacts) -> str:
    """Return the lines that encode a first and a second text."""
    base = facts.base
    if facts.config.side == "query":
        return '[a] = model.encode_query(["first text"])\n[b] = model.encode_document(["second text"])'
    if base.prompt_a == base.prompt_b:
        return 'a, b = model.encode(["first text", "second text"])'
    calls = {"query": "encode_query({})", "document": "encode_document({})"}
    lines = []
    for letter, text, (name, _) in zip("ab", ("first text", "second text"), named_prompts(base), strict=True):
        call = calls.get(name, f'encode({{}}, prompt_name="{name}")').format(f'["{text}"]')
        lines.append(f"[{letter}] = model.{call}")
    return "\n".join(lines)


def _warnings(facts: ExportFacts) -> list[str]:
    inverted = facts.search.get("inverted")
    return [f"**Warning:** {plain(inverted)}."] if inverted else []


def _data(facts: ExportFacts) -> str:
    """Return counts of the pairs as a table, "" if they are unknown."""
    data = facts.findings.data
    counts, split = data.get("counts") or {}, data.get("split") or {}
    rows, positives = split.get("rows") or {}, split.get("positives") or {}
    seen = (data.get("leaks") or {}).get("texts_seen_in_train") or {}
    found = [["source", str(data["source"])]] if data.get("source") else []
    if "kept" in counts:
        found.append(["pairs", f"{counts['read']:,} read, {counts['kept']:,} kept"])
    if split.get("out_of_fold"):
        found.append(
            ["split", f"{rows.get('train', 0):,} pairs ({positives.get('train', 0):,} positive), all in folds"]
        )
    else:
        found += [
            [f"{side} pairs", f"{count:,} ({positives[side]:,} positive)" if side in positives else f"{count:,}"]
            for side, count in rows.items()
        ]
        if seen:
            overlap = ", ".join(f"{side} {count:,}" for side, count in seen.items())
            found.append(["texts also in train", overlap])
    if labels := data.get("labels"):
        found.append(["labels", str(labels)])
    return table(["what", "value"], found) if found else ""


def _origin(facts: ExportFacts, base: BaseCard) -> list[str]:
    found = []
    if url := base_url(base, facts.base.name):
        at = f", at commit `{facts.base.revision}`" if facts.base.revision else ""
        found.append(f"Base model: [{plain(base.label)}]({url}){at}.")
    return [*found, *([base.origin] if base.origin else [])]


def _needs(facts: ExportFacts, servers: Mapping[str, Serving]) -> str:
    if facts.base.closed is not None:
        extra = facts.base.name.partition(":")[0]
        return (
            "It contains only the Dense layer: every text it encodes is bought from the provider, with the API key "
            f"from the environment. It needs embedtune (`pip install 'embedtune[{extra}]'`), but neither torch nor a "
            "GPU."
        )
    since, saved_by = servers[ST].since, version("sentence-transformers")
    needs = f"It needs sentence-transformers {since} or later (saved by {saved_by})."
    if facts.base.trusted:
        needs += " It runs custom code from its base model (`trust_remote_code`); read that code before loading."
    return needs
