"""Numbers on scored pairs: AUC and thresholds (score), their certainty (intervals), a sentence (verdict)."""
