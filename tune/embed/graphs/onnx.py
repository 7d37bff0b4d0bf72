"""A network as an ONNX file, and its weights as int8."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from tune.embed.graph import Feed
from tune.embed.graphs.network import Network
from tune.embed.graphs.refusal import NotAGraph

_OPSET = 17
_MOST_BYTES = 2_000_000_000
"""Of weights: an ONNX file cannot be larger than 2 GiB."""


def write_onnx(network: Network, feed: Feed, outputs: Sequence[str], file: Path) -> None:
    """Write the network as an ONNX file that takes any number of texts and tokens.

    feed: an example of its inputs. Raises NotAGraph if it is too large, or does something that ONNX has not.
    """
    weights = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    if weights > _MOST_BYTES:
        raise NotAGraph(f"the model has {weights / 1e9:.1f} GB of weights, and a graph file holds 2 GB")
    axes = {name: {0: "texts", 1: "tokens"} for name in network.names}
    arrays = tuple(torch.from_numpy(feed[name]) for name in network.names)
    try:
        with quiet(), torch.no_grad():
            # torch's newer exporter writes the same graph, takes five times as long and needs onnxscript.
            torch.onnx.export(
                network.eval(),
                arrays,
                str(file),
                dynamo=False,
                input_names=list(network.names),
                output_names=list(outputs),
                dynamic_axes={**axes, **{name: {0: "texts"} for name in outputs}},
                opset_version=_OPSET,
            )
    except OSError:
        raise  # the disk's fault, not the model's
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise NotAGraph(f"torch cannot write this model as ONNX ({reason})") from None


def quantise_onnx(file: Path, to: Path) -> None:
    """Write the graph with int8 weights, each output channel with a scale of its own, and activations as they come."""
    # Before the import: onnxruntime reports its use over the network otherwise.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quiet():
        quantize_dynamic(str(file), str(to), per_channel=True, weight_type=QuantType.QInt8)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what the converters print, log and warn of to themselves: errors are raised."""
    level = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)
