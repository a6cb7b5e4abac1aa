"""Names for annotations: jaxtyping's, without loading jaxtyping only for them, and the ranges of numbers.

`import purenet` is to cost little, and jaxtyping alone would be half of it. Type checkers see the real names; so does
a program that has loaded jaxtyping before, with its import hook for instance, to enforce them at run time.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import jax

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Array as Array, Bool as Bool, Float as Float, Int as Int, Integer as Integer, PyTree as PyTree
else:

    class Unchecked:
        """Stands for `Float[Array, "batch features"]` and its like."""

        def __class_getitem__(cls, item: Any) -> Any:
            return Any

    Array = jax.Array
    Bool = Float = Int = Integer = Unchecked
    PyTree = Any

# A constructor refuses a number outside (`constructor.py`); all are finite.
PositiveInt = NonNegativeInt = int
PositiveFloat = NonNegativeFloat = float
