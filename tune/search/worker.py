"""What a Ray worker imports when it starts, before it has a trial: torch and our own code, all that layers need.

A trial of a whole model imports sentence-transformers as well, once it begins; it runs for much longer than that takes.
"""

import tune.search.trainable
import tune.train.frozen.trial
import tune.train.local  # noqa: F401
