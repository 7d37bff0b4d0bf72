"""TODO tune/export."""
