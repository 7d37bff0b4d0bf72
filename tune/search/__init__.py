"""Ray Tune over any opener of trials."""
