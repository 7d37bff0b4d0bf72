"""embedtune: find the best embedding model fine-tuned on labelled text pairs.

Runs on local Ray by itself; `cluster` runs the same search on Modal and is never imported here.
"""
