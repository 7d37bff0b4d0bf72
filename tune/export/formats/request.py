"""What is asked of an export beside the trial: format, precision, dims, and how its vectors will be stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tune.config.trial import TrialConfig
from tune.embed.graph import check_writing
from tune.errors import UserError


@dataclass(frozen=True)
class Request:
    """form: st for a SentenceTransformer. quantize: of the weights. truncate: dims to keep. vectors: how stored."""

    form: Literal["st", "onnx", "openvino"] = "st"
    quantize: Literal["int8"] | None = None
    truncate: int | None = None
    vectors: Literal["int8", "binary"] | None = None

    @property
    def plain(self) -> bool:
        """Whether it asks for nothing but the trial's model."""
        return self == Request()

    @property
    def precision(self) -> str:
        """Of the weights: fp32 or int8."""
        return self.quantize or "fp32"

    def check(self) -> None:
        """Raise UserError if options contradict each other, ModelError if packages are missing."""
        if self.form == "st":
            if self.quantize is not None:
                raise UserError(
                    "--quantize needs --format onnx or --format openvino; for int8 vectors of the usual model, "
                    "give --vectors int8"
                )
            return
        check_writing(self.form, f"--format {self.form}")

    def check_trial(self, config: TrialConfig, dims: Sequence[int], *, closed: bool) -> None:
        """Raise UserError if a trial's model cannot be exported so. dims: those that it is scored at, ascending."""
        if closed and self.form != "st":
            raise UserError(
                f"--format {self.form}: {config.base_model} is a closed model, which its provider runs, so there is "
                "nothing to convert; export it without --format"
            )
        if closed and self.vectors is not None:
            raise UserError(
                f"--vectors {self.vectors}: every text of {config.base_model} would be bought to measure it; the "
                "leaderboard's report has the AUC of its quantised vectors"
            )
        if self.truncate is None:
            return
        if not config.matryoshka:
            raise UserError(
                f"--truncate {self.truncate}: the first components of this trial's vectors were not trained to work "
                "alone; search with --matryoshka, or export a trial with fewer dims"
            )
        if self.truncate not in dims:
            known = ", ".join(map(str, dims))
            raise UserError(f"--truncate {self.truncate}: this trial was trained for {known} dims; give one of them")
