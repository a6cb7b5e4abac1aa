"""`python -m purenet check` and `python -m purenet layers`: see `python -m purenet --help`."""

from __future__ import annotations

import sys

from .checking.command import main

if __name__ == "__main__":
    sys.exit(main())
