"""Every option of a search: named, typed and given its default once.

Depends on nothing of ours but tune.errors. search.py checks a whole search, toml.py reads and writes it as a file,
trial.py is one point of it; import from these modules directly.
"""
