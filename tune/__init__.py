"""embedtune: find the best embedding model fine-tuned on labelled text pairs. Knows Ray, knows nothing of Modal."""
