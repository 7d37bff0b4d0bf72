"""Trials on a frozen base model: a Dense layer trained on a view's vectors, or one per fold.

trial.py is the entry point, fit.py the training loop, step.py one step of it and losses/ what it minimises; dense.py
reads layers back, refit.py trains the one to export. Import from these modules directly: they load torch and numpy, and
no other library of models or data, so that a worker starts fast.
"""
