"""purenet.mutation_test: would the check at this probe have noticed a mistake, had you made one?

Mutation testing of a backward pass. Your own backward is recorded, apart from its forward, as a list of steps; one
step at a time gets a mistake that people make (a term or a factor left out, a sign, a sum over the wrong axis, another
value read), the steps after it run again in NumPy, and the gradients that come out are judged as `purenet.check` judges
them. A mutant that gives the same gradient is one this probe cannot see: a scale of ones, a bias of zeros, a symmetric
kernel and a batch of one hide mistakes.
DeMillo, Lipton & Sayward, *Hints on Test Data Selection* (1978).
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..annotations import PyTree
from ..validation import leaves_with_paths
from .check import conclude, double, prepared
from .compare import Noise, compare_all, noise_of
from .diagnose.values import word
from .examine import examine
from .experiment import CANNOT_TRACE, Experiment, as_arrays
from .probe import join_inexact, split_inexact
from .program.record import MOST_STEPS, Program, Step, TooLong, as_value, is_floating, record
from .program.rules import Rule
from .program.source import UNKNOWN, Line, shorten
from .report import PASS, VACUOUS, wrap
from .target import Target

MOST_MUTANTS = 400
MOST_SHOWN = 12
MOST_OTHERS = 3
EQUIVALENT = 1e-12

TERM = "term left out"
SIGN = "sign flipped"
DOUBLED = "times 2"
SCALED = "times 1.01"
FACTOR = "factor left out"
TRANSPOSED = "operand transposed"
OTHER_VALUE = "another value read"
LAST = "last of a sum only"
AVERAGED = "averaged, not summed"
OTHER_AXIS = "another axis summed"
CONDITION = "condition turned round"
ZERO = "gradient left at zero"

KINDS = (TERM, SIGN, DOUBLED, SCALED, FACTOR, TRANSPOSED, OTHER_VALUE, LAST, AVERAGED, OTHER_AXIS, CONDITION, ZERO)

SUMS = ("add", "add_any", "sub")
# These move elements about: a sign or a factor there is one on what they move.
MOVES = ("broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "slice", "dynamic_slice", "rev", "pad")
MOVES += ("concatenate", "dynamic_update_slice", "copy", "copy_p", "convert_element_type", "reduce_precision")
MOVES += ("stop_gradient", "optimization_barrier", "index", "stack", "iota", "gather", "return")
DRAWS = ("random_", "threefry")

Values = Sequence[Any]


class Mutant(NamedTuple):
    """One mistake made in your backward, and whether the check noticed it.

    `kind` is the kind of mistake, `what` says which one, `line` where in the source. `equivalent`: the gradients are
    the right ones to 1e-12, so that no tolerance could tell them apart at this probe; `hint` says what hides it,
    where that is known.
    """

    kind: str
    what: str
    line: str
    noticed: bool
    equivalent: bool
    hint: str

    def __str__(self) -> str:
        place = f"{self.line}: " if self.line else ""
        return place + self.what + (f" ({self.hint})" if self.hint else "")


class MutationReport(NamedTuple):
    """How many mutants of a backward the check notices. It has no truth value: look at `rate`, or at `unnoticed`.

    `possible` is the number of mutants there were to choose `mutants` from.
    """

    name: str
    mutants: tuple[Mutant, ...]
    possible: int

    @property
    def noticed(self) -> int:
        return sum(mutant.noticed for mutant in self.mutants)

    @property
    def rate(self) -> float:
        """The part of the mutants that was noticed; NaN where there is nothing to mutate."""
        return self.noticed / len(self.mutants) if self.mutants else float("nan")

    @property
    def unnoticed(self) -> tuple[Mutant, ...]:
        return tuple(mutant for mutant in self.mutants if not mutant.noticed)

    def __bool__(self) -> bool:
        raise TypeError("a strength report has no truth value: look at rate or unnoticed")

    def __str__(self) -> str:
        head = f"strength of the check of {self.name}: {self.noticed} of {len(self.mutants)} mutants noticed"
        if self.possible > len(self.mutants):
            head += f" ({self.possible} were possible, these are evenly chosen)"
        return "\n".join([head, *kinds_text(self.mutants), *unnoticed_text(self.unnoticed)])

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dicts, lists, strings and numbers, for JSON."""
        return {
            "name": self.name,
            "noticed": self.noticed,
            "possible": self.possible,
            "mutants": [mutant._asdict() for mutant in self.mutants],
        }


def kinds_text(mutants: Sequence[Mutant]) -> list[str]:
    """A row a kind of mutation, with how many were noticed."""
    made = Counter(mutant.kind for mutant in mutants)
    noticed = Counter(mutant.kind for mutant in mutants if mutant.noticed)
    head = f"{'mutation':<22}  {'noticed':>7}  {'of':>4}"
    return [head, *(f"{kind:<22}  {noticed[kind]:>7}  {made[kind]:>4}" for kind in KINDS if made[kind])]


def unnoticed_text(unnoticed: Sequence[Mutant]) -> list[str]:
    """The mutants that the check passes as right, as far as they fit."""
    if not unnoticed:
        return []
    shown = unnoticed if len(unnoticed) <= MOST_SHOWN else unnoticed[: MOST_SHOWN - 1]
    left = len(unnoticed) - len(shown)
    lines = [textwrap.indent(wrap("", str(mutant)), "  ") for mutant in shown]
    return ["unnoticed, the check passes them as right:", *lines, *[f"  ... and {left} more"] * bool(left)]


def mutation_test(
    target: Any,
    x: PyTree = None,
    *,
    params: PyTree = None,
    reference: Callable[..., Any] | None = None,
    seed: int = 0,
    verbose: bool = True,
) -> MutationReport:
    """Make mistakes in a right backward, one at a time, and count how many `check` notices at this probe.

    Use it on the probe of your own test: what stays unnoticed is a mistake that this test would let pass, and the
    report says what in the probe hides it. `target`, `x`, `params`, `reference` and `seed` are those of `check`;
    `verbose` prints the report. At most 400 mutants are tried, evenly chosen among all.

    Raises `GradientError` if the backward is not right to begin with, and what `check` raises; ValueError if it has
    more steps than can be recorded, and TypeError if JAX cannot trace it.
    """
    with double():
        subject, trial = prepared(target, x, params, reference, seed)
        conclude(examine(subject, trial, seed=seed), verbose=False)
        report = strength(subject, trial, seed)
    if verbose:
        print(report)
    return report


def strength(target: Target, trial: Experiment, seed: int) -> MutationReport:
    """The report on a target whose backward is right at this trial."""
    recording = recorded(target, trial)
    truth = as_arrays(trial.truth(trial.leaves, trial.dys)[1])
    judge = Judge(trial.names, truth, noise_of(trial.truth, trial.leaves, trial.dys, seed))
    if notices(judge, gradient_leaves(recording.program, recording.program.values)):
        raise ValueError(f"mutation_test: the recorded backward of {trial.name} gives another gradient than itself")
    mutations = [mutation for steps in places(recording.program) for mutation in mutations_at(recording, steps)]
    # A mutation whose shapes do not fit the steps after it is no mutant: it would not run.
    tried = [(mutation, rerun_with(recording.program, mutation)) for mutation in evenly(mutations, MOST_MUTANTS)]
    mutants = tuple(judged(recording, judge, mutation, values) for mutation, values in tried if values is not None)
    return MutationReport(trial.name, mutants, len(mutations) - len(tried) + len(mutants))


def evenly(mutations: list[Mutation], most: int) -> list[Mutation]:
    if len(mutations) <= most:
        return mutations
    return [mutations[int(k)] for k in np.linspace(0, len(mutations) - 1, most).round()]


# The backward as a program.


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


def recorded(target: Target, trial: Experiment) -> Recording:
    """The backward alone, as a function of parameters, x, y, what was saved, and dy."""
    y, saved = target.forward(*join_inexact(trial.leaves, split_inexact(trial.trees)[1]))
    own, kept = [*trial.leaves, *jax.tree.leaves(y)], split_arrays(saved)[0]
    names = [*trial.names, *numbered("y", jax.tree.leaves(y)), *saved_names(target, saved)]
    first = first_copies(own, kept)
    try:
        backward = backward_of(target, trial, y, saved)
        program = with_returns(record(backward, [*own, *kept, *trial.dys]), trial.names)
    except TooLong as error:
        raise ValueError(f"mutation_test: the backward of {trial.name} has more than {MOST_STEPS} steps") from error
    except CANNOT_TRACE as error:
        raise TypeError(f"mutation_test: the backward of {trial.name} cannot be traced by JAX") from error
    named = [*(names[k] for k in first), *numbered("dy", trial.dys)]
    readable, given = program.inputs[: len(first)], dict(zip(program.inputs, named, strict=True))
    drawn = [n for step in program.steps if step.op.startswith(DRAWS) for n in step.outputs]
    primals = dependent(program, [n for n in readable if is_floating(program.values[n])])
    cotangents = dependent(program, program.inputs[len(first) :])
    distinct = tuple(number for k, number in enumerate(readable) if first[k] == k)
    return Recording(program, given, distinct, primals, cotangents, dependent(program, drawn) - primals - cotangents)


def backward_of(target: Target, trial: Experiment, y: PyTree, saved: PyTree) -> Callable[..., list[Any]]:
    """The target's backward on flat lists: all leaves, those of y, the arrays saved, the cotangents."""
    fixed = split_inexact(trial.trees)[1]
    y_tree = jax.tree.structure(y)
    kept, join_saved = split_arrays(saved)

    def backward(*arguments: Any) -> list[Any]:
        rest = iter(arguments)
        leaves, ys, arrays = (list(islice(rest, n)) for n in (len(trial.leaves), y_tree.num_leaves, len(kept)))
        y, dy = jax.tree.unflatten(y_tree, ys), jax.tree.unflatten(y_tree, list(rest))
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


# Mutations.


class Mutation(NamedTuple):
    """A mistake in some steps (the turns of one place in the source): `change(step, values)` is what they give then.

    `suspects` are values that may hide it, `length` that of the axis it is about.
    """

    kind: str
    what: str
    steps: tuple[int, ...]
    change: Callable[[Step, Values], Any]
    suspects: tuple[int, ...] = ()
    length: int | None = None


class Place(NamedTuple):
    """Where mutations are made: the first of its steps stands for all."""

    recording: Recording
    steps: tuple[int, ...]
    step: Step

    def operand(self, k: int) -> Any:
        return self.recording.program.values[self.step.inputs[k]]

    def label(self, k: int) -> str:
        return label(self.recording, self.step.inputs[k])

    def is_literal(self, k: int, number: int) -> bool:
        """Whether an operand is this number, written in the source: without it nothing changes at any probe."""
        return self.step.inputs[k] in self.recording.program.literals and bool(np.all(self.operand(k) == number))

    def on_output(self, kind: str, what: str, change: Callable[[Any], Any], length: int | None = None) -> Mutation:
        """The mutation of what the step gives."""

        def mutated(step: Step, values: Values) -> Any:
            return change(run(step, values))

        return Mutation(kind, what, self.steps, mutated, self.step.outputs, length)

    def on_operand(self, kind: str, what: str, k: int, change: Callable[[Any], Any]) -> Mutation:
        """The mutation of what the step reads as its operand k."""

        def mutated(step: Step, values: Values) -> Any:
            operands = [values[number] for number in step.inputs]
            operands[k] = change(operands[k])
            return step.rule.run(step.params, *operands)

        return Mutation(kind, what, self.steps, mutated, (self.step.inputs[k],))


def mutations_at(recording: Recording, steps: tuple[int, ...]) -> Iterator[Mutation]:
    """All mistakes in one place."""
    step = recording.program.steps[steps[0]]
    output = step.outputs[0]
    if len(step.outputs) != 1 or output in recording.drawn or not is_floating(recording.program.values[output]):
        return
    place = Place(recording, steps, step)
    if step.op not in MOVES:
        yield from multiples(place)
    for family in FAMILIES.get(step.op, ()):
        yield from family(place)
    yield from other_values(place)


def multiples(place: Place) -> Iterator[Mutation]:
    yield place.on_output(SIGN, "with the other sign", np.negative)
    yield place.on_output(DOUBLED, "times 2", lambda y: 2 * y)
    yield place.on_output(SCALED, "times 1.01", lambda y: 1.01 * y)


def terms(place: Place) -> Iterator[Mutation]:
    for k in range(2):
        if not place.is_literal(k, 0):
            yield place.on_operand(TERM, f"without the term {place.label(k)}", k, np.zeros_like)


def factors(place: Place) -> Iterator[Mutation]:
    for k in range(2):
        if not place.is_literal(k, 1):
            yield place.on_operand(FACTOR, f"without the factor {place.label(k)}", k, np.ones_like)


def transposed(place: Place) -> Iterator[Mutation]:
    for k in range(2):
        shape = np.shape(place.operand(k))
        if len(shape) >= 2 and shape[-1] == shape[-2]:
            yield place.on_operand(TRANSPOSED, f"{place.label(k)} transposed", k, lambda x: np.swapaxes(x, -1, -2))


def product_sums(place: Place) -> Iterator[Mutation]:
    """A matrix product sums over an axis: over its last element only, or with the mean."""
    (left, right), _ = place.step.params["dimension_numbers"]
    if len(left) != 1:
        return
    length = place.operand(0).shape[left[0]]

    def last(step: Step, values: Values) -> Any:
        pairs = zip(step.inputs, (left[0], right[0]), strict=True)
        return step.rule.run(step.params, *(last_of(values[number], (axis,)) for number, axis in pairs))

    yield Mutation(LAST, f"only the last of {length} terms", place.steps, last, (), length)
    yield place.on_output(AVERAGED, f"averaged over {length}, not summed", lambda y: y / length, length)


def sums(place: Place) -> Iterator[Mutation]:
    """A sum: of its last elements only, with the mean, or over other axes of the same shape."""
    axes, shape = tuple(place.step.params["axes"]), place.operand(0).shape
    length = int(np.prod([shape[axis] for axis in axes], dtype=int))
    last = place.on_operand(LAST, f"only the last of {length} terms", 0, lambda x: last_of(x, axes))
    yield last._replace(suspects=(), length=length)
    yield place.on_output(AVERAGED, f"averaged over {length}, not summed", lambda y: y / length, length)
    if len(axes) != 1:
        return
    for other in range(len(shape)):
        if other != axes[0] and shape[other] == length:
            what = f"summed over axis {other}, not {axes[0]}"
            yield place.on_operand(OTHER_AXIS, what, 0, lambda x, other=other: np.moveaxis(x, other, axes[0]))


def last_of(x: Any, axes: tuple[int, ...]) -> Any:
    return x[tuple(slice(-1, None) if axis in axes else slice(None) for axis in range(x.ndim))]


def kept_sums(place: Place) -> Iterator[Mutation]:
    """A sum that keeps its axis: another one fits wherever it is broadcast."""
    program = place.recording.program

    def summed(step: Step) -> Step | None:
        maker = program.maker.get(step.inputs[0])
        return None if maker is None or program.steps[maker].op != "reduce_sum" else program.steps[maker]

    sum_step = summed(place.step)
    if sum_step is None or len(sum_step.params["axes"]) != 1:
        return
    x, (axis,) = program.values[sum_step.inputs[0]], sum_step.params["axes"]
    if np.shape(program.values[place.step.outputs[0]]) != (*x.shape[:axis], 1, *x.shape[axis + 1 :]):
        return
    for other in range(x.ndim):
        if other != axis:

            def change(step: Step, values: Values, other: int = other) -> Any:
                made = summed(step)
                assert made is not None
                return np.sum(values[made.inputs[0]], other, keepdims=True)

            what = f"summed over axis {other}, not {axis}"
            yield Mutation(OTHER_AXIS, what, place.steps, change, (sum_step.inputs[0],))


def conditions(place: Place) -> Iterator[Mutation]:
    if len(place.step.inputs) == 3 and place.operand(0).dtype == np.bool_:
        yield place.on_operand(CONDITION, "with the condition turned round", 0, np.logical_not)


def returns(place: Place) -> Iterator[Mutation]:
    """A gradient that is returned: left at zero; its sign and size where no arithmetic made it."""
    name, program = place.step.params["name"], place.recording.program
    yield place.on_output(ZERO, f"gradient of {name} left at zero", np.zeros_like)
    maker = program.maker.get(place.step.inputs[0])
    if maker is None or program.steps[maker].op in MOVES:
        for mutation in multiples(place):
            yield mutation._replace(what=f"gradient of {name} {mutation.what}")


def other_values(place: Place) -> Iterator[Mutation]:
    """Another of the values a backward reads, of the same shape, where the step reads one without dy."""
    recording, values = place.recording, place.recording.program.values
    for k, number in enumerate(place.step.inputs):
        moved = place.step.op in MOVES and number not in recording.names
        if number not in recording.primals - recording.cotangents or moved or not is_vector(values[number]):
            continue
        others = [other for other in recording.readable if is_other(recording, number, other)]
        first = number % max(len(others), 1)
        for other in [*others[first:], *others[:first]][:MOST_OTHERS]:
            what = f"{recording.names[other]} in place of {expression(recording, number)}"
            mutation = place.on_operand(OTHER_VALUE, what, k, lambda x, value=values[other]: value)
            yield mutation._replace(suspects=(number, other))


def is_vector(value: Any) -> bool:
    return is_floating(value) and value.ndim > 0


def is_other(recording: Recording, number: int, other: int) -> bool:
    """Whether a value that backward reads is another one of the same shape: a computed one may be a known one again."""
    mine, value = recording.program.values[number], recording.program.values[other]
    known = number == other or (number not in recording.readable and is_copy(value, mine))
    return not known and is_vector(value) and value.shape == mine.shape


FAMILIES: dict[str, tuple[Callable[[Place], Iterator[Mutation]], ...]] = {
    **dict.fromkeys(SUMS, (terms,)),
    "mul": (factors,),
    "div": (factors,),
    "dot_general": (factors, transposed, product_sums),
    "reduce_sum": (sums,),
    "broadcast_in_dim": (kept_sums,),
    "select_n": (conditions,),
    "return": (returns,),
}


def label(recording: Recording, number: int) -> str:
    """A value by its name, also where it was only moved about; by its number; or by the expression that makes it."""
    origin = number
    while (step := made_by(recording.program, origin)) is not None and step.op in MOVES and step.inputs:
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
    return f"`{shorten(step.line.text, 40)}`" if step.line.text else word(step.op)


def made_by(program: Program, number: int) -> Step | None:
    return program.steps[program.maker[number]] if number in program.maker else None


# Running and judging.


class Judge(NamedTuple):
    """What a check compares with: the leaves' names, the true gradient, and its noise."""

    names: tuple[str, ...]
    truth: list[Any]
    noise: Noise


def notices(judge: Judge, leaves: list[Any]) -> bool:
    """Whether a check raises on this gradient."""
    with np.errstate(all="ignore"):
        compared = compare_all(judge.names, leaves, judge.truth, judge.noise)
    return any(leaf.verdict not in (PASS, VACUOUS) for leaf in compared)


def gradient_leaves(program: Program, values: Values) -> list[Any]:
    return [np.asarray(values[number]) for number in program.outputs]


def run(step: Step, values: Values) -> Any:
    """What a step gives; a step that JAX runs gives its one output in a list."""
    result = step.rule.run(step.params, *(values[number] for number in step.inputs))
    return result[0] if isinstance(result, list) and len(result) == 1 else result


def rerun_with(program: Program, mutation: Mutation) -> list[Any] | None:
    """All values of the mutant: what does not depend on the mutated steps stays. None where it cannot run."""
    values, changed = list(program.values), set()
    for k, step in enumerate(program.steps):
        if k not in mutation.steps and not changed.intersection(step.inputs):
            continue
        try:
            with np.errstate(all="ignore"):
                result = mutation.change(step, values) if k in mutation.steps else run(step, values)
        except (ValueError, TypeError, IndexError):
            return None
        for number, value in zip(step.outputs, result if isinstance(result, list) else [result], strict=True):
            if not same(value, program.values[number], 0.0):
                values[number] = value
                changed.add(number)
    shapes = [np.shape(values[number]) == np.shape(program.values[number]) for number in program.outputs]
    return values if all(shapes) else None


def same(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two values agree, relative to the largest."""
    if a is b or np.shape(a) != np.shape(b) or not is_floating(a):
        return a is b or (np.shape(a) == np.shape(b) and isinstance(a, np.ndarray) and np.array_equal(a, b))
    if not tolerance or not np.all(np.isfinite(a)):
        return np.array_equal(a, b, equal_nan=True)
    return bool(np.max(np.abs(a - b), initial=0.0) <= tolerance * np.max(np.abs(b), initial=0.0))


def judged(recording: Recording, judge: Judge, mutation: Mutation, values: Values) -> Mutant:
    program = recording.program
    leaves, own = gradient_leaves(program, values), gradient_leaves(program, program.values)
    noticed = notices(judge, leaves)
    equivalent = not noticed and all(same(mine, leaf, EQUIVALENT) for mine, leaf in zip(leaves, own, strict=True))
    hint = "" if noticed else why_unnoticed(recording, mutation, values)
    line = program.steps[mutation.steps[0]].line
    return Mutant(mutation.kind, mutation.what, line_text(line), noticed, equivalent, hint)


def line_text(line: Line) -> str:
    return str(line._replace(text=shorten(line.text, 40))) if line.text else ""


def why_unnoticed(recording: Recording, mutation: Mutation, values: Values) -> str:
    """What in the probe hides a mutant: at the mutated step itself, or where its effect ends."""
    program = recording.program
    mutated = [number for k in mutation.steps for number in program.steps[k].outputs]
    if not changes(program, values, mutated):
        if mutation.length == 1:
            return "the axis has length 1"
        if mutation.kind == OTHER_VALUE:
            return "the two are equal"
        return degenerate(recording, [*mutation.suspects, *mutated, *program.steps[mutation.steps[0]].inputs])
    for step in program.steps:
        if changes(program, values, step.inputs) and not changes(program, values, step.outputs):
            unchanged = [number for number in step.inputs if not changes(program, values, [number])]
            cause = degenerate(recording, unchanged)
            at = line_text(step.line) or word(step.op)
            return f"its effect ends at {at}" + (f", where {cause}" if cause else "")
    return "the difference is below the check's tolerance"


def changes(program: Program, values: Values, numbers: Sequence[int]) -> bool:
    return any(not same(values[number], program.values[number], EQUIVALENT) for number in numbers)


def degenerate(recording: Recording, numbers: Sequence[int]) -> str:
    """The first of these values that is zero, one or symmetric, in words."""
    for number in numbers:
        value = recording.program.values[number]
        if is_floating(value) and value.size and (what := degeneracy(value)):
            return f"{label(recording, number)} is {what}"
    return ""


def degeneracy(value: Any) -> str:
    if np.all(value == 0):
        return "0" if not value.ndim else "all zeros"
    if np.all(value == 1):
        return "1" if not value.ndim else "all ones"
    square = value.ndim >= 2 and value.shape[-1] == value.shape[-2] > 1
    if square and np.array_equal(value, np.swapaxes(value, -1, -2)):
        return "symmetric"
    return ""
