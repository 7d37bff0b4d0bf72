"""The program that `pictures.py` runs: reads orders as lines of JSON, and writes what it made as a pickle for each.

It imports no module of ours, so that it starts in milliseconds.
"""

import json
import pickle
import sys
from typing import Any

import vl_convert

_SMALLEST = {"data": {"values": [{}]}, "mark": "point"}


def main() -> None:
    """Do what each order on stdin says, and write the result to stdout, until there are no more."""
    for line in sys.stdin.buffer:
        pickle.dump(_made(json.loads(line)), sys.stdout.buffer)
        sys.stdout.buffer.flush()


def _made(order: dict[str, Any]) -> Any:
    if "bundle" in order:
        return vl_convert.javascript_bundle(order["bundle"])
    if "specs" not in order:
        # Vega takes a third of a second to start, and starts with the first picture.
        return len(vl_convert.vegalite_to_svg(_SMALLEST))
    svgs = [vl_convert.vegalite_to_svg(spec) for spec in order["specs"]]
    return [(svg, vl_convert.svg_to_png(svg, scale=order["scale"])) for svg in svgs]


if __name__ == "__main__":
    main()
