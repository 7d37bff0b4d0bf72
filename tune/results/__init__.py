"""What a search leaves in results/NAME: the layout, the leaderboard, the summary, ASHA's rungs.

No other room writes a path under results/NAME by hand. Knows neither torch nor Ray.
"""
