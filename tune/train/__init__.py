"""One trial: a stream of reports."""
