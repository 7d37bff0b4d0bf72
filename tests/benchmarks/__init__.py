"""Benchmarks: ratios measured in one run, on the machine at hand. No timed tests, and none that pytest collects."""
