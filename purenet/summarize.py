"""A network as a table: what each layer gives, holds, keeps for the backward and computes. Nothing is run or compiled.

The network is traced once with an observer around every layer. What stands among the network's residuals is told apart
by identity: a layer's own residuals and its output, where somebody keeps that, count in the layer's row, everything
else in the row of the combinator that keeps it, each value once. A combinator whose part stands for several blocks, or
runs several times, says so by its rule "copies": `copies(x) -> (blocks with parameters of their own, runs)`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax

from .annotations import PyTree
from .flops import matmul_flops
from .layer import Key, Layer, Params, Residuals, State
from .parts import Path, map_parts
from .validation import describe


class Row(NamedTuple):
    """One layer, `times` as often as it runs: `output` is the shape and dtype of one run, all numbers are of all runs.

    A combinator's row holds what it adds to its parts, so that the columns add up: the values it keeps itself, and
    the parameters that `tied` saves, which are negative.
    """

    path: str
    name: str
    times: int
    output: PyTree
    parameters: int
    parameter_bytes: int
    kept_bytes: int
    flops: int


class Summary(NamedTuple):
    """The rows of a network, the combinators' before those of their parts. Print it."""

    rows: tuple[Row, ...]

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in self.rows)

    @property
    def parameter_bytes(self) -> int:
        return sum(row.parameter_bytes for row in self.rows)

    @property
    def kept_bytes(self) -> int:
        return sum(row.kept_bytes for row in self.rows)

    @property
    def flops(self) -> int:
        return sum(row.flops for row in self.rows)

    def __str__(self) -> str:
        total = ("total", "", *numbers(self))
        table = [("layer", "output", "parameters", "bytes", "kept", "FLOPs"), *lines(self.rows), total]
        widths = [max(len(row[column]) for row in table) for column in range(len(total))]
        places = [str.ljust, str.ljust, str.rjust, str.rjust, str.rjust, str.rjust]
        columns = list(zip(places, widths, strict=True))
        rows = [[place(c, width) for c, (place, width) in zip(row, columns, strict=True)] for row in table]
        return "\n".join(map("  ".join, rows))

    def __repr__(self) -> str:
        return str(self)


def summary(layer: Layer, x: PyTree, *, key: Key = None) -> Summary:
    """Output, parameters, bytes kept between forward and backward, and forward FLOPs of every layer of a network.

    x is an input or `jax.ShapeDtypeStruct`s, for an objective the pair (inputs, targets); key, or its shape, is for
    layers that draw. Kept is what `purenet.plan` says, in bytes. FLOPs are those of matrix products and convolutions.

    >>> print(purenet.summary(serial(dense(8), gelu(), dense(1)), jax.ShapeDtypeStruct((32, 4), jnp.float32)))
    layer        output           parameters  bytes     kept    FLOPs
    serial       float32 [32, 1]           0    0 B    512 B        0
      [0] dense  float32 [32, 8]          40  160 B    1 KiB  2.048 k
      [1] gelu   float32 [32, 8]           0    0 B      0 B        0
      [2] dense  float32 [32, 1]           9   36 B      0 B      512
    total                                 49  196 B  1.5 KiB   2.56 k
    """
    seen: Seen = {}
    network = observed(layer, seen)
    params, state = jax.eval_shape(network.init, jax.random.key(0), x)

    def run(params: Params, state: State, x: PyTree, key: Key) -> Any:
        y, _, residuals = network.forward(params, state, x, key)
        read = [value for letter, value in (("x", x), ("y", y)) if letter in layer.needs]
        alive = {id(leaf) for leaf in jax.tree.leaves((params, state))}
        kept = [leaf for leaf in jax.tree.leaves((residuals, read)) if id(leaf) not in alive]
        rows.extend(rows_of(layer, layer.name, (), kept, seen))
        return y, kept

    rows: list[Row] = []
    program = jax.make_jaxpr(run)(params, state, x, key)
    first = rows[0]._replace(flops=matmul_flops(program.jaxpr) - sum(row.flops for row in rows[1:]))
    return Summary((first, *rows[1:]))


# Observing.


class Run(NamedTuple):
    """What went into a layer's forward and came out, as tracers: alike where they are the same value."""

    arguments: tuple[Params, State, PyTree, Key]
    y: PyTree
    residuals: Residuals


class Observed(NamedTuple):
    """What `init` made of a layer, and its last run."""

    params: Params = ()
    run: Run | None = None


Seen = dict[Path, Observed]


def observed(network: Layer, seen: Seen) -> Layer:
    """The same network, each layer of which notes under its path what goes through it."""

    def observe(layer: Layer, inside: Layer, path: Path) -> Layer:
        def init(key: Key, x: PyTree) -> tuple[Params, State]:
            params, state = inside.init(key, x)
            seen[path] = seen.get(path, Observed())._replace(params=params)
            return params, state

        def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
            y, new_state, residuals = inside.forward(params, state, x, key)
            run = Run((params, state, x, key), y, residuals)
            seen[path] = seen.get(path, Observed())._replace(run=run)
            return y, new_state, residuals

        return inside.replace(init=init, forward=forward)

    return map_parts(network, {}, observe)


# Counting.


def rows_of(
    layer: Layer, name: str, path: Path, kept: Sequence[Any], seen: Seen, blocks: int = 1, times: int = 1
) -> Iterator[Row]:
    """The rows of a layer, printed as `name`, and its parts. `kept` of its residuals and outputs are somebody's to
    keep; `blocks` have parameters of their own, and it runs `times`."""
    noted = seen[path]
    assert noted.run is not None
    parts = [(key, part, found) for key, part in layer.parts if (found := seen.get((*path, key))) and found.run]
    more_blocks, more_times = layer.rules.get("copies", one_copy)(noted.run.arguments[2])
    own, shares = divided(kept, noted.run, [found.run for _, _, found in parts if found.run], more_times)
    numbers = [sizes(noted.params), *(sizes(found.params) for _, _, found in parts)]
    count, size = (n[0] - more_blocks * sum(n[1:]) for n in zip(*numbers, strict=True))
    flops = 0 if parts else matmul_flops(jax.make_jaxpr(layer.forward)(*map(shapes, noted.run.arguments)).jaxpr)
    output = shapes(noted.run.y)
    yield Row(name, layer.name, times, output, blocks * count, blocks * size, times * own, times * flops)
    for (key, part, _), share in zip(parts, shares, strict=True):
        inside = f"{name}{key}.{part.name}", (*path, key)
        yield from rows_of(part, *inside, share, seen, blocks * more_blocks, times * more_times)


def one_copy(x: PyTree) -> tuple[int, int]:
    return 1, 1


def divided(kept: Sequence[Any], run: Run, parts: Sequence[Run], times: int) -> tuple[int, list[list[Any]]]:
    """(bytes of what belongs to no part, what belongs to each part) of what is kept; each value once."""
    values = list({id(leaf): leaf for leaf in kept}.values())
    if times > 1:  # the part ran in a trace of its own, its residuals stacked
        stored = identities(run.residuals) & {id(leaf) for leaf in values}
        inside = jax.tree.leaves([part.residuals for part in parts]) if stored else []
        inside = list({id(leaf): leaf for leaf in inside}.values())
        return sizes(values)[1] - times * sizes(inside)[1], [inside]
    owners = [identities(part.y) for part in parts], [identities(part.residuals) for part in parts]
    shares: list[list[Any]] = [[] for _ in parts]
    own = []
    for leaf in values:
        owner = next((k for group in owners for k, theirs in enumerate(group) if id(leaf) in theirs), None)
        (own if owner is None else shares[owner]).append(leaf)
    return sizes(own)[1], shares


def identities(tree: PyTree) -> set[int]:
    return {id(leaf) for leaf in jax.tree.leaves(tree)}


def sizes(tree: PyTree) -> tuple[int, int]:
    """(elements, bytes) of all leaves."""
    leaves = jax.tree.leaves(tree)
    return sum(leaf.size for leaf in leaves), sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def shapes(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


# Printing.


def lines(rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    """The cells of each row; parts stand under what holds them, two spaces in."""
    around: list[str] = []
    for row in rows:
        while around and not row.path.startswith(around[-1]):
            around.pop()
        place = row.path[len(around[-1]) :] if around else row.path
        label = place.removesuffix(row.name).removesuffix(".") + f" {row.name}"
        yield ("  " * len(around) + label.strip(), describe(row.output), *numbers(row))
        around.append(row.path)


def numbers(of: Row | Summary) -> tuple[str, ...]:
    binary, decimal = ("B", "KiB", "MiB", "GiB", "TiB"), ("", "k", "M", "G", "T", "P")
    sizes = scaled(of.parameter_bytes, 1024, binary), scaled(of.kept_bytes, 1024, binary)
    return (f"{of.parameters:,}", *sizes, scaled(of.flops, 1000, decimal))


def scaled(number: int, base: int, units: Sequence[str]) -> str:
    """The number with the unit that leaves four digits or fewer: 1.5 KiB."""
    step = min(int(math.log(abs(number), base)), len(units) - 1) if number else 0
    text = f"{number / base**step:.4g}" if step else str(number)
    return f"{text} {units[step]}".rstrip()
