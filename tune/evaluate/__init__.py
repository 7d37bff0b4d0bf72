"""TODO tune/evaluate."""
