"""python -m tune"""

import sys

from tune.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
