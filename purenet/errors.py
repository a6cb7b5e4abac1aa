"""Errors that say where: every message starts with the path of the layer it happened in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jax


class LayerError(Exception):
    """Something does not fit in a layer.

    `problem` says what was expected, what came and how to mend it; `path` says in which layer, outermost first.
    """

    def __init__(self, problem: str):
        super().__init__(problem)
        self.problem = problem
        self.path: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{'.'.join(self.path)}: {self.problem}" if self.path else self.problem


class LayerValueError(LayerError, ValueError):
    """A shape, a length, a structure or a hyper-parameter that does not fit."""


class LayerTypeError(LayerError, TypeError):
    """A dtype or a kind of argument that does not fit."""


@contextmanager
def layer_scope(step: str) -> Iterator[None]:
    """Everything inside happens in layer `step`: errors, profiles and compiled operations carry the name."""
    try:
        with jax.named_scope(step):
            yield
    except LayerError as error:
        error.path = (step, *error.path)
        raise
    except Exception as error:
        error.add_note(f"in purenet layer {step}")
        raise
