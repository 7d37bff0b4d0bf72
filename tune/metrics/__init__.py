"""Numbers on scored pairs, with no disk access and no model.

score: AUC and thresholds; intervals: their bootstrap; multiple: Holm's correction; verdict: the sentence. Import
from these modules directly.
"""
