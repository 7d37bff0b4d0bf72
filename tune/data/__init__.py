"""Labelled pairs: read, cleaned, split without leaks, or made up for the demo."""
