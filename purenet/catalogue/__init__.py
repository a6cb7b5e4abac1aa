"""One row for every layer, loss, combinator and small model of purenet, and for each variant that is another way
through it.

Whoever needs them all reads these rows: `python -m purenet check` and `layers`, the tests' properties, and the
benchmark of layers. Nothing here is imported by `import purenet`.
"""

from __future__ import annotations

from . import features, images, losses, networks, normalisation, sequences
from .row import Row as Row, input_of as input_of

SUBJECTS = (features, images, normalisation, sequences, losses, networks)


def catalogue() -> list[Row]:
    """The rows, built when they are asked for."""
    return [row for subject in SUBJECTS for row in subject.rows()]
