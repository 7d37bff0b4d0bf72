"""Benchmarks: ratios measured in one run on one machine. pytest collects none of them, and no test is timed."""
