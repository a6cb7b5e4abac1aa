"""jaxtyping's names for annotations, without loading jaxtyping when a program runs.

`import purenet` is to cost little, and jaxtyping alone would be half of it. Type checkers see the real names; so does
whoever sets `typing.TYPE_CHECKING` before the import to enforce them at run time, as tests/test_package.py does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax

if TYPE_CHECKING:
    from jaxtyping import Array as Array
    from jaxtyping import Bool as Bool
    from jaxtyping import Float as Float
    from jaxtyping import Int as Int
    from jaxtyping import Integer as Integer
    from jaxtyping import PyTree as PyTree
else:

    class Unchecked:
        """Stands for `Float[Array, "batch features"]` and its like."""

        def __class_getitem__(cls, item: Any) -> Any:
            return Any

    Array = jax.Array
    Bool = Float = Int = Integer = Unchecked
    PyTree = Any
