"""An ONNX file as an OpenVINO model, and its weights as int8. Nothing is reported to the makers of either."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tune.embed.graph import Feed
from tune.embed.graphs.onnx import quiet


def write_openvino(onnx: Path, to: Path) -> None:
    """Write an ONNX file as NAME.xml and NAME.bin, in fp32."""
    import openvino

    # `openvino.convert_model` does the same, and reports its use over the network.
    model = openvino.Core().read_model(str(onnx))
    openvino.save_model(model, str(to), compress_to_fp16=False)


def quantise_openvino(onnx: Path, to: Path, calibration: Sequence[Feed]) -> None:
    """Write an ONNX file as an OpenVINO model with int8 weights.

    calibration: inputs of training texts, which give the ranges of activations; without any, activations stay fp32.
    """
    # Before the import: nncf reports its use over the network otherwise.
    os.environ.setdefault("NNCF_CI", "1")
    with quiet():
        import nncf
        import openvino

        model: Any = openvino.Core().read_model(str(onnx))
        if calibration:
            model = nncf.quantize(
                model,
                nncf.Dataset(list(calibration)),
                subset_size=len(calibration),
                model_type=nncf.ModelType.TRANSFORMER,
            )
        else:
            model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
        openvino.save_model(model, str(to), compress_to_fp16=False)
