"""The decision: which trials become finalists, test opened once, and the rows of the leaderboard.

Works on scores and models in memory; the pipeline writes the files.
"""
