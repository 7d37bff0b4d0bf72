"""TODO tune/pipeline."""
