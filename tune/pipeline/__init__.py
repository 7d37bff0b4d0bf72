"""What each command does: the phases of a search, baselines, score and dry run, and the checks before them.

Calls the other rooms in order. Prints nothing; a `Backend` says where trials run.
"""
