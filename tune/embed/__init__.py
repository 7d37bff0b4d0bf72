"""Texts to vectors: sources of vectors, the snapshot that keeps them, and the views that trials read.

Start at `sources` (any base model by name), `orders` (embed all texts of a search) and `adapted` (load an export on a
closed model). Nothing is re-exported: importing the package, or `closed`, must load neither torch nor an SDK.
"""
