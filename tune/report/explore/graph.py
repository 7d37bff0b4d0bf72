"""Where the texts of a component are drawn: a force layout, the same for the same pairs."""

import networkx as nx

from tune.report.explore.findings import Graph

_SEED = 0


def places(graph: Graph) -> list[tuple[float, float]]:
    """Return a place per text, x and y in -1 to 1, so that linked texts are close (Fruchterman and Reingold 1991)."""
    drawn: nx.Graph = nx.Graph()
    drawn.add_nodes_from(range(len(graph.texts)))
    drawn.add_edges_from((one, other) for one, other, _ in graph.edges if one != other)
    # Kamada and Kawai's layout untangles trees; the springs then spread what it stacks.
    begun = nx.kamada_kawai_layout(drawn)
    found = nx.spring_layout(drawn, pos=begun, k=1.6 / max(len(graph.texts), 1) ** 0.5, iterations=60, seed=_SEED)
    return [(float(x), float(y)) for x, y in (found[text] for text in range(len(graph.texts)))]
