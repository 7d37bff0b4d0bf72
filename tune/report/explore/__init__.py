"""The page of `python -m tune explore`: labelled pairs alone, before any search.

Gets what was found as plain data (`findings`); reads neither pairs nor models itself.
"""
