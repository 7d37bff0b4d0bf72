"""TODO tune/train/whole."""
