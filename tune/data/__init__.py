"""Labelled pairs: read, cleaned, and split into train, val and test without leaks; also the demo pairs.

pairs.py reads, clean.py drops rows, split.py splits, sides.py hands out the pairs of each side, folds.py makes folds;
import from these modules directly. Modules with a leading underscore serve pairs.py.
"""
