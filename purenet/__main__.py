"""`python -m purenet check`: the library's gradients, or yours, checked on this machine."""

from __future__ import annotations

import sys

from .checking.command import main

if __name__ == "__main__":
    sys.exit(main())
