"""Texts to vectors: where they come from, how they are kept, and the view of them that a trial reads."""
