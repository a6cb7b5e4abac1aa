"""The mistakes that people make in a backward, one at a time, in one place of its program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..program.record import Step, is_floating
from .recording import Recording, expression, is_copy, label, moves

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

MOST_OTHERS = 3
SUMS = ("add", "add_any", "sub")

Values = Sequence[Any]


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
    if not moves(step):
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
    if maker is None or moves(program.steps[maker]):
        for mutation in multiples(place):
            yield mutation._replace(what=f"gradient of {name} {mutation.what}")


def other_values(place: Place) -> Iterator[Mutation]:
    """Another of the values a backward reads, of the same shape, where the step reads one without dy."""
    recording, values = place.recording, place.recording.program.values
    for k, number in enumerate(place.step.inputs):
        moved = moves(place.step) and number not in recording.names
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
    own_value, value = recording.program.values[number], recording.program.values[other]
    known = number == other or (number not in recording.readable and is_copy(value, own_value))
    return not known and is_vector(value) and value.shape == own_value.shape


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


def run(step: Step, values: Values) -> Any:
    """What a step gives; a step that JAX runs gives its one output in a list."""
    result = step.rule.run(step.params, *(values[number] for number in step.inputs))
    return result[0] if isinstance(result, list) and len(result) == 1 else result
