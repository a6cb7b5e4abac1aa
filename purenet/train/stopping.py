"""Early stopping as a pure rule."""

from __future__ import annotations

import math
from typing import NamedTuple


class Stopping(NamedTuple):
    """The best loss so far and for how many epochs none has been better."""

    best: float = math.inf
    waited: int = 0

    def update(self, loss: float, min_delta: float) -> Stopping:
        """After one more epoch; better means more than `min_delta` below the best."""
        return Stopping(loss) if loss < self.best - min_delta else Stopping(self.best, self.waited + 1)
