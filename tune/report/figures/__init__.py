"""The figures of a report: each takes stories, and returns None if the results do not hold what it shows."""
