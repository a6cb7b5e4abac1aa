"""An optimizer's update of all parameters as one traced program, read for a part of them.

A block of a stack is updated by reading the program with the block's rows in the place of whole arrays: elementwise
operations give the block's row of what they give for all blocks. What any other operation gives is `Unknown`, and so
is what belongs to other parameters; a new parameter computed from it is an error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from ..annotations import Array, PyTree
from ..errors import LayerValueError
from ..validation import leaves_with_paths

NAMES = """
abs acos acosh add and asin asinh atan atan2 atanh cbrt ceil clamp convert_element_type copy cos cosh div eq erf erf_inv
erfc exp exp2 expm1 floor ge gt integer_pow is_finite le log log1p logistic lt max min mul ne neg nextafter not or pow
reduce_precision rem round rsqrt select_n sign sin sinh sqrt square sub tan tanh xor
"""
ELEMENTWISE = frozenset(NAMES.split())
CALLS = ("jit", "pjit", "closed_call", "checkpoint", "custom_jvp_call", "custom_vjp_call")

Leaves = dict[int, Array]  # by their numbers among all leaves of (params, opt_state): arrays, or one block's rows
Value = Any  # an array, or Unknown


class Unknown(NamedTuple):
    """A value that is not there for this part; the operation that made it so, if one did, and whose it is."""

    operation: str = ""
    optimizer: str = ""


@dataclasses.dataclass(frozen=True)
class Update:
    """`program(gradients, params, opt_state, loss)`, leaf by leaf, gives what `before = params, opt_state` become."""

    program: Any
    before: tuple[PyTree, PyTree]
    loss: Array
    owners: tuple[int, ...]

    def part_of(self, params: PyTree) -> Leaves:
        """These of the parameters, found by which arrays they are, and what the optimizer keeps for them."""
        numbers = {id(leaf): k for k, leaf in enumerate(jax.tree.leaves(self.before[0]))}
        own = [numbers.get(id(leaf), -1) for leaf in jax.tree.leaves(params)]
        if own and own != list(range(max(own[0], 0), max(own[0], 0) + len(own))):
            raise LayerValueError(
                "make_fused_step: expected a repeat whose parameters are all its own, got some that a layer around it "
                "makes of others, as tied does: use make_step"
            )
        return {k: leaf for k, leaf in enumerate(jax.tree.leaves(self.before)) if self.owners[k] in own}

    def all_but(self, part: Leaves) -> Leaves:
        return {k: leaf for k, leaf in enumerate(jax.tree.leaves(self.before)) if k not in part}

    def apply(self, gradients: Sequence[Array], part: Leaves, *, by_block: bool) -> Leaves:
        """The part after the update, whole arrays or the rows of one block.

        A block reads the optimizer's numbers besides, such as counts: they are the same for all blocks.
        """
        numbers = {k: leaf for k, leaf in self.all_but(part).items() if by_block and jnp.ndim(leaf) == 0}
        given = dict(zip(part, gradients, strict=False))  # the parameters come first
        dparams = [given.get(k, Unknown()) for k in range(jax.tree.structure(self.before[0]).num_leaves)]
        there = numbers | part
        before = [there.get(k, Unknown()) for k in range(len(self.owners))]
        after = read_program(self.program, [*dparams, *before, self.loss], by_block)
        for k in part:
            check_known(after[k], self.before, k)
        return {
            k: after[k] if np.shape(after[k]) == leaf.shape else lax.broadcast(after[k], leaf.shape)
            for k, leaf in part.items()
        }


def trace_update(
    optimizer: optax.GradientTransformationExtraArgs, params: PyTree, opt_state: PyTree, loss: Array
) -> Update:
    """The optimizer's update, traced once for the real shapes."""

    def update(gradients: PyTree, params: PyTree, opt_state: PyTree, loss: Array) -> tuple[PyTree, PyTree]:
        with jax.numpy_dtype_promotion("standard"):  # several optax transformations mix dtypes
            updates, opt_state = optimizer.update(gradients, opt_state, params, value=loss, grad=gradients)
            return optax.apply_updates(params, updates), opt_state

    before = params, opt_state
    gradients = jax.tree.map(lambda leaf: leaf if jnp.issubdtype(leaf.dtype, jnp.floating) else None, params)
    program = jax.make_jaxpr(update)(gradients, params, opt_state, loss)
    numbers = {(path, leaf.shape): k for k, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(params))}
    owners = tuple(owner(path, leaf, numbers) for path, leaf in jax.tree_util.tree_leaves_with_path(before))
    return Update(program, before, loss, owners)


def owner(path: tuple[Any, ...], leaf: Array, numbers: dict[Any, int]) -> int:
    """The parameter of this leaf's shape with the longest path that ends the leaf's own, or -1.

    Were it another's, the leaf would be `Unknown` where it is read: an error, and never a wrong number.
    """
    ends = [(path[start:], jnp.shape(leaf)) for start in range(len(path) + 1)]
    return next((numbers[end] for end in ends if end in numbers), -1)


def read_program(program: Any, args: Sequence[Value], by_block: bool) -> list[Value]:
    """The outputs of a jaxpr, whose values are whole arrays, or else the rows of a block, a number for equal ones."""
    jaxpr = getattr(program, "jaxpr", program)
    consts = [Unknown() if by_block and np.ndim(const) else const for const in getattr(program, "consts", ())]
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))

    def value(atom: Any) -> Value:
        return atom.val if hasattr(atom, "val") else values[atom]

    for equation in jaxpr.eqns:
        outputs = read_equation(equation, [value(atom) for atom in equation.invars], by_block)
        values.update(zip(equation.outvars, outputs, strict=True))
    return [value(atom) for atom in jaxpr.outvars]


def read_equation(equation: Any, args: Sequence[Value], by_block: bool) -> Sequence[Value]:
    primitive, params = equation.primitive, equation.params
    unknown = [arg for arg in args if isinstance(arg, Unknown)]
    if primitive.name in CALLS:
        outputs = read_program(params.get("jaxpr") or params["call_jaxpr"], args, by_block)
        return [named(output, equation) if isinstance(output, Unknown) else output for output in outputs]
    if primitive.name == "cond" and not isinstance(args[0], Unknown) and (unknown or by_block):
        branches = [read_program(branch, args[1:], by_block) for branch in params["branches"]]
        return [select(args[0], cases, out) for *cases, out in zip(*branches, equation.outvars, strict=True)]
    if unknown:
        return [max(unknown)] * len(equation.outvars)
    if not by_block or all(map(is_number, equation.invars + equation.outvars)):
        outputs = primitive.bind(*args, **params)
    elif primitive.name in ELEMENTWISE:
        outputs = primitive.bind(*alike(args, equation.invars), **params)
    elif primitive.name == "broadcast_in_dim" and is_number(equation.invars[0]):
        return args
    else:
        return [named(Unknown(primitive.name), equation)] * len(equation.outvars)
    return outputs if primitive.multiple_results else [outputs]


def select(index: Array, cases: Sequence[Value], out: Any) -> Value:
    unknown = [case for case in cases if isinstance(case, Unknown)]
    return max(unknown) if unknown else lax.select_n(index, *alike(cases, [out] * len(cases)))


def is_number(atom: Any) -> bool:
    return atom.aval.shape == ()


def alike(values: Sequence[Array], atoms: Sequence[Any]) -> list[Array]:
    """The values of arrays in one shape, where some are numbers that stand for rows of equal ones."""
    shapes = [() if is_number(atom) else value.shape for value, atom in zip(values, atoms, strict=True)]
    shape = max(shapes, key=len)
    numbers = [own != shape and not is_number(atom) for own, atom in zip(shapes, atoms, strict=True)]
    return [lax.broadcast(value, shape) if number else value for value, number in zip(values, numbers, strict=True)]


def named(value: Unknown, equation: Any) -> Unknown:
    """With the innermost optimizer, by Python's calls, that the operation is in."""
    if not value.operation or value.optimizer:
        return value
    traceback = equation.source_info.traceback
    functions = [frame.function_name for frame in traceback.frames] if traceback else []
    return Unknown(value.operation, next((name.split(".")[0] for name in functions if ".<locals>.update" in name), ""))


def check_known(value: Value, before: PyTree, k: int) -> None:
    if isinstance(value, Unknown):
        why = " in ".join(filter(None, value)) or "what belongs to other parameters"
        raise ValueError(
            "make_fused_step: expected an optimizer that updates every number by its own gradient alone, but "
            f"{leaves_with_paths(before)[k][0]} is updated by {why}: use make_step, or leave this out"
        )
