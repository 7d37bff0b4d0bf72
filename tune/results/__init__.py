"""What a search leaves behind: where each file lies, the leaderboard and the summary."""
