"""What people look at: one offline page, tables and pictures of a results folder.

Reads results/NAME and nothing that runs; the pipeline calls it at the end of a search, and for `report`. `explore` is
the page on labelled pairs alone.
"""
