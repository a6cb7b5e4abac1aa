"""The backward as a program: a list of steps, apart from its forward, with names for the values it reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...annotations import PyTree
from ...validation import leaves_with_paths
from ..forms.target import Target
from ..points import join_inexact, split_inexact
from ..probe import Probe, as_cotangents
from ..program.record import MOST_STEPS, Program, Step, TooLong, as_value, is_floating, record
from ..program.rules import MOVES, Rule
from ..program.source import UNKNOWN, op_name, shorten
from ..vocabulary import CANNOT_TRACE

EQUIVALENT = 1e-12
DRAWS = ("random_", "threefry")


class Recording(NamedTuple):
    """The recorded backward, its values named.

    `names` of the program's inputs; `readable` are those that a backward reads: parameters, x, y and what was saved.
    `primals` are all values that depend on one of these, `cotangents` those that depend on a cotangent, `drawn` those
    that depend on random numbers only.
    """

    program: Program
    names: dict[int, str]
    readable: tuple[int, ...]
    primals: frozenset[int]
    cotangents: frozenset[int]
    drawn: frozenset[int]


def recorded(target: Target, probe: Probe) -> Recording:
    """The backward alone, as a function of parameters, x, y, what was saved, and dy."""
    y, saved = target.forward(*join_inexact(probe.leaves, split_inexact(probe.trees)[1]))
    own, kept = [*probe.leaves, *jax.tree.leaves(y)], split_arrays(saved)[0]
    names = [*probe.names, *numbered("y", jax.tree.leaves(y)), *saved_names(target, saved)]
    first = first_copies(own, kept)
    try:
        backward = backward_of(target, probe, y, saved)
        program = with_returns(record(backward, [*own, *kept, *probe.dys]), probe.names)
    except TooLong as error:
        raise ValueError(f"mutation_test: the backward of {probe.name} has more than {MOST_STEPS} steps") from error
    except CANNOT_TRACE as error:
        raise TypeError(f"mutation_test: the backward of {probe.name} cannot be traced by JAX") from error
    named = [*(names[k] for k in first), *numbered("dy", probe.dys)]
    readable, given = program.inputs[: len(first)], dict(zip(program.inputs, named, strict=True))
    drawn = [n for step in program.steps if step.op.startswith(DRAWS) for n in step.outputs]
    primals = dependent(program, [n for n in readable if is_floating(program.values[n])])
    cotangents = dependent(program, program.inputs[len(first) :])
    distinct = tuple(number for k, number in enumerate(readable) if first[k] == k)
    return Recording(program, given, distinct, primals, cotangents, dependent(program, drawn) - primals - cotangents)


def backward_of(target: Target, probe: Probe, y: PyTree, saved: PyTree) -> Callable[..., list[Any]]:
    """The target's backward on flat lists: all leaves, those of y, the arrays saved, the cotangents."""
    fixed = split_inexact(probe.trees)[1]
    y_tree = jax.tree.structure(y)
    kept, join_saved = split_arrays(saved)

    def backward(*arguments: Any) -> list[Any]:
        rest = iter(arguments)
        leaves, ys, arrays = (list(islice(rest, n)) for n in (len(probe.leaves), y_tree.num_leaves, len(kept)))
        y = jax.tree.unflatten(y_tree, ys)
        dy = as_cotangents(y, list(rest))
        return floating_leaves(target.backward(*join_inexact(leaves, fixed), y, join_saved(arrays), dy))

    return backward


def first_copies(own: list[Any], kept: list[Any]) -> list[int]:
    """The place of each value, or that of an earlier one which it is: x is often kept under a second name."""
    values, found = [*own, *kept], []
    for k, value in enumerate(values):
        copies = (j for j in range(k) if value is values[j] or (k >= len(own) and is_copy(value, values[j])))
        found.append(next(copies, k))
    return found


def is_copy(a: Any, b: Any) -> bool:
    """Whether two values agree and vary: those that agree because the probe is all ones are not the same value."""
    a, b = as_value(a), as_value(b)
    alike = is_floating(a) and is_floating(b) and same(a, b, EQUIVALENT)
    return alike and (not a.ndim or bool(np.any(a != np.ravel(a)[:1])))


def split_arrays(tree: PyTree) -> tuple[list[Any], Callable[[list[Any]], PyTree]]:
    """The arrays of a tree, and the function that puts others in their places."""
    leaves, structure = jax.tree.flatten(tree)
    places = [k for k, leaf in enumerate(leaves) if hasattr(leaf, "dtype")]

    def join(arrays: list[Any]) -> PyTree:
        given = dict(zip(places, arrays, strict=True))
        return jax.tree.unflatten(structure, [given.get(k, leaf) for k, leaf in enumerate(leaves)])

    return [leaves[k] for k in places], join


def saved_names(target: Target, saved: PyTree) -> list[str]:
    """What a layer says that it keeps, else places."""
    arrays = [(path, leaf) for path, leaf in leaves_with_paths(saved) if hasattr(leaf, "dtype")]
    if target.layer is not None and len(target.layer.keeps) == len(arrays):
        return list(target.layer.keeps)
    return [f"saved {path}".strip() for path, _ in arrays]


def numbered(name: str, leaves: Sequence[Any]) -> list[str]:
    return [name] if len(leaves) == 1 else [f"{name}[{k}]" for k in range(len(leaves))]


def floating_leaves(gradients: PyTree) -> list[Any]:
    leaves = [jnp.asarray(x, jnp.float64) if isinstance(x, (int, float)) else x for x in jax.tree.leaves(gradients)]
    return [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]


def with_returns(program: Program, names: Sequence[str]) -> Program:
    """The program with one step more a gradient, which returns it: there is a place for mistakes even in `dx = dy`."""
    count = len(program.values)
    same = Rule(lambda params, x: x, lambda *arguments: None)
    returns = tuple(
        Step("return", {"name": name}, (number,), (count + k,), rule=same, line=UNKNOWN, template=(), turn=())
        for k, (number, name) in enumerate(zip(program.outputs, names, strict=True))
    )
    values = [*program.values, *(program.values[number] for number in program.outputs)]
    outputs = tuple(count + k for k in range(len(returns)))
    maker = program.maker | {number: len(program.steps) + k for k, number in enumerate(outputs)}
    return program._replace(steps=(*program.steps, *returns), values=values, outputs=outputs, maker=maker)


def dependent(program: Program, numbers: Sequence[int]) -> frozenset[int]:
    """The values that depend on these."""
    found = set(numbers)
    for step in program.steps:
        if found.intersection(step.inputs):
            found.update(step.outputs)
    return frozenset(found)


def places(program: Program) -> list[tuple[int, ...]]:
    """The steps by their place in the source: the turns of a scan are one place, since they are written once."""
    found: dict[Any, list[int]] = {}
    for k, step in enumerate(program.steps):
        scanned = step.turn and all(isinstance(part, int) for part in step.template)
        found.setdefault(step.template if scanned else k, []).append(k)
    return [tuple(steps) for steps in found.values()]


def label(recording: Recording, number: int) -> str:
    """A value by its name, also where it was only moved about; by its number; or by the expression that makes it."""
    origin = number
    while (step := made_by(recording.program, origin)) is not None and moves(step) and step.inputs:
        origin = step.inputs[0]
    return recording.names.get(origin) or expression(recording, number)


def expression(recording: Recording, number: int) -> str:
    if number in recording.names:
        return recording.names[number]
    step, value = made_by(recording.program, number), recording.program.values[number]
    if step is None:
        return f"{float(value):.6g}" if is_floating(value) and not value.ndim else "a constant"
    if step.op == "return":
        return f"the gradient of {step.params['name']}"
    return f"`{shorten(step.line.text, 40)}`" if step.line.text else op_name(step.op)


def made_by(program: Program, number: int) -> Step | None:
    return program.steps[program.maker[number]] if number in program.maker else None


def same(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two values agree, relative to the largest."""
    if a is b or np.shape(a) != np.shape(b) or not is_floating(a):
        return a is b or (np.shape(a) == np.shape(b) and isinstance(a, np.ndarray) and np.array_equal(a, b))
    if not tolerance or not np.all(np.isfinite(a)):
        return np.array_equal(a, b, equal_nan=True)
    return bool(np.max(np.abs(a - b), initial=0.0) <= tolerance * np.max(np.abs(b), initial=0.0))


def moves(step: Step) -> bool:
    """Whether a step moves elements about: a sign or a factor there is one on what it moves."""
    return step.op in MOVES or step.op == "return"
