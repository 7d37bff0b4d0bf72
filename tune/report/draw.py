"""The program that `pictures.py` runs: reads one order as JSON, and writes what it made as a pickle.

It imports no module of ours, so that it starts in milliseconds.
"""

import json
import pickle
import sys
from typing import Any

import vl_convert


def main() -> None:
    """Do what the order on stdin says, and write the result to stdout."""
    order = json.load(sys.stdin)
    made: Any
    if "bundle" in order:
        made = vl_convert.javascript_bundle(order["bundle"])
    else:
        svgs = [vl_convert.vegalite_to_svg(spec) for spec in order["specs"]]
        made = [(svg, vl_convert.svg_to_png(svg, scale=order["scale"])) for svg in svgs]
    pickle.dump(made, sys.stdout.buffer)


if __name__ == "__main__":
    main()
