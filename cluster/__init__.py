"""The cloud: the same search on Modal. Calls tune, is never called by it."""
