"""What a worker of frozen trials loads, by training one in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

from tests.helpers.tiny import Prepared

HEAVY = ("sentence_transformers", "transformers", "peft", "sklearn", "scipy", "pandas", "datasets", "pyarrow")
_SCRIPT = """
import json, sys
from pathlib import Path
from tune.config.trial import TrialConfig
from tune.train.local import LocalOpener

told = json.loads(sys.argv[1])
opener = LocalOpener({told["base"]: Path(told["view"])})
for number, trial in enumerate(told["trials"]):
    config = TrialConfig.model_validate_json(trial)
    reports = list(opener(config, Path(told["root"]) / str(number)))
    assert reports[-1].last
print(json.dumps([name for name in told["heavy"] if name in sys.modules]))
"""


def test_training_a_layer_loads_no_library_of_models_or_data(prepared: Prepared, tmp_path: Path) -> None:
    # Every loss, and all that changes the step: Ray's own imports are left out, so that ours alone are seen.
    trials = [
        prepared.config(loss="cosent"),
        prepared.config(loss="angle", matryoshka=(4,), dropout=0.1),
        prepared.config(loss="cosine", activation="tanh"),
        prepared.config(loss="contrastive", bias=False),
        prepared.config(loss="online_contrastive", scheduler="warmupcosine", weight_decay=0.1),
        prepared.config(loss="mnr", hard_negatives=True),
        prepared.config(side="query", dims=None, bias=False),
    ]
    told = {
        "base": trials[0].base_model,
        "view": str(prepared.view.directory),
        "root": str(tmp_path),
        "trials": [trial.model_dump_json() for trial in trials],
        "heavy": HEAVY,
    }
    command = [sys.executable, "-c", _SCRIPT, json.dumps(told)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
