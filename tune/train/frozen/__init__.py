"""TODO tune/train/frozen."""
