"""A trial as a model directory: SentenceTransformer or AdaptedEmbedder, model card, embedtune.json.

Reads a finished search; knows neither Ray nor the search's state.
"""
