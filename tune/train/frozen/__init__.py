"""Trials on a frozen base model: a Dense layer trained on a view's vectors, or one per fold.

trial.py is the entry point and fit.py the training loop; dense.py reads layers back, refit.py trains the one to export.
Import from these modules directly: all of them load torch and sentence-transformers.
"""
