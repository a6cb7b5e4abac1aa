"""Small wrong gradients on which a diagnosis is easily led to say something untrue.

Each names what must not be said of it, and what may be expected, as regular expressions. Several outputs, loops,
scalars, gradients with fewer independent numbers than elements, penalties, sizes that coincide, operations of several
outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from faulty.rows import normal, uniform


class Program(NamedTuple):
    """A pair (forward, backward) with a wrong backward; `never` is what would be false, `says` what is true."""

    name: str
    target: Any
    x: Any
    params: Any
    never: str
    says: str = ""


X, ROWS = normal(1, 5, 3), normal(2, 4, 3)
KERNEL = {"kernel": normal(3, 3, 3)}
SQUARE = uniform(4, 4, 4, low=0.5, high=1.5)


def wrong_with(forward: Callable[..., Any], alter: Callable[..., Any]) -> Any:
    """A pair whose backward is jax's, altered: `alter(pull, params, x, dy) -> gradients`."""

    def backward(params: Any, x: Any, dy: Any) -> Any:
        _, pull = jax.vjp(forward, params, x)
        return alter(pull, params, x, dy)

    return forward, backward


def wrong_dx(forward: Callable[..., Any], alter: Callable[..., Any]) -> Any:
    """The same for a function of x alone: `alter(pull, x, dy) -> dx`."""

    def backward(x: Any, dy: Any) -> Any:
        return alter(lambda dy: jax.vjp(forward, x)[1](dy)[0], x, dy)

    return forward, backward


def times(factor: float, x: Any) -> tuple[Any, Any]:
    return wrong_dx(jnp.tanh, lambda pull, x, dy: pull(dy) * factor), x


# Several outputs.


def two(params: Any, x: Any) -> Any:
    z = x @ params["kernel"]
    return {"a": z * z, "b": jnp.tanh(z)}


def stack_of_norm(x: Any) -> Any:
    centred = x - jnp.mean(x, 1, keepdims=True)
    return {"h": x, "y": centred / jnp.sqrt(jnp.sum(centred * centred, 1, keepdims=True))}


def moments(x: Any) -> Any:
    return {"mean": jnp.mean(x, 0), "square": jnp.mean(x * x, 0), "third": jnp.mean(x * x * x, 0)}


def with_dy(**factors: float) -> Callable[..., Any]:
    """Outputs whose cotangents count another number of times."""

    def alter(pull: Any, *arguments: Any) -> Any:
        dy = arguments[-1]
        return pull({name: leaf * factors.get(name, 1.0) for name, leaf in dy.items()})

    return alter


def exchanged(pull: Any, x: Any, dy: Any) -> Any:
    return pull({**dy, "mean": dy["third"], "third": dy["mean"]})


def before_norm(pull: Any, x: Any, dy: Any) -> Any:
    return pull({"h": jnp.zeros_like(dy["h"]), "y": dy["y"] + dy["h"]})


LAST = "contribution"
OUTPUTS = [
    Program("second cotangent ignored", wrong_with(two, with_dy(b=0)), X, KERNEL, LAST, "output 1 .*ignored"),
    Program("first cotangent ignored", wrong_with(two, with_dy(a=0)), X, KERNEL, LAST, "output 0 .*ignored"),
    Program("cotangent of one of three ignored", wrong_dx(moments, with_dy(square=0)), X, None, LAST, "output 1"),
    Program("two of three ignored", wrong_dx(moments, with_dy(mean=0, third=0)), X, None, LAST, "outputs 0, 2"),
    Program("cotangent of one flipped", wrong_with(two, with_dy(b=-1)), X, KERNEL, LAST, "output 1 .*-1"),
    Program("cotangent of one twice", wrong_with(two, with_dy(a=2)), X, KERNEL, LAST, "output 0 .*2 t"),
    Program("cotangents exchanged", wrong_dx(moments, exchanged), X, None, LAST, "outputs 0 and 2 .*exchanged"),
    Program("added before the norm", wrong_dx(stack_of_norm, before_norm), X, None, "of the output (all|one)"),
    Program("identity beside a norm", wrong_dx(stack_of_norm, with_dy(h=0)), X, None, "diagonal", "output 0"),
]

# Loops.


def decayed(params: Any, x: Any) -> Any:
    """A scalar in every turn of a loop, and once more after it."""

    def turn(h: Any, row: Any) -> Any:
        return params["decay"] * h + row, None

    last, _ = jax.lax.scan(turn, jnp.ones_like(x[0]), x)
    return last * params["decay"]


def decayed_by_hand(params: Any, x: Any) -> Any:
    h = jnp.ones_like(x[0])
    for row in x:
        h = params["decay"] * h + row
    return h * params["decay"]


def divided(params: Any, x: Any) -> Any:
    def turn(h: Any, row: Any) -> Any:
        return jnp.tanh(h / params["decay"]) + row, None

    last, _ = jax.lax.scan(turn, jnp.ones_like(x[0]), x)
    return last * params["decay"]


def loop_cut(forward: Callable[..., Any]) -> Any:
    """The gradient of the last use of the scalar alone."""

    def alter(pull: Any, params: Any, x: Any, dy: Any) -> Any:
        last = forward(params, x) / params["decay"]
        return {"decay": jnp.sum(last * dy)}, pull(dy)[1]

    return wrong_with(forward, alter)


DECAY = {"decay": normal(5).reshape(()) + 1.5}
LOOPS = [
    Program("scan: decay's loop forgotten", loop_cut(decayed), X, DECAY, "multiplied by itself"),
    Program("loop: decay's turns forgotten", loop_cut(decayed_by_hand), X, DECAY, "multiplied by itself"),
    Program("scan: divisor's loop forgotten", loop_cut(divided), X, DECAY, "multiplied by itself"),
]

# Scalars.


def gammas(x: Any) -> Any:
    return jax.lax.lgamma(x + 0.5) + x * x * x + jax.lax.digamma(x * x)


def errors(x: Any) -> Any:
    return x * x * x * x + jax.lax.erf_inv(x - 0.5) + jax.lax.lgamma(x * x)


def bessel(x: Any) -> Any:
    return jnp.sin(x) * 0.3 + jax.lax.bessel_i1e(x * 0.5) + jax.lax.lgamma(x + 2.5)


POINT = uniform(6, 1, low=0.6, high=0.9).reshape(())
INSTEAD = "in place of the constant|exactly that of a forward"
SCALARS = [
    Program("gammas forgotten", (gammas, lambda x, dy: 3 * x * x * dy), POINT, None, INSTEAD),
    Program("erf_inv forgotten", (errors, lambda x, dy: 4 * x * x * x * dy), POINT, None, INSTEAD),
    Program("bessel forgotten", (bessel, lambda x, dy: 0.3 * jnp.cos(x) * dy), POINT, None, INSTEAD),
]

# Fewer independent numbers than elements.


def product(params: Any, x: Any) -> Any:
    return x @ params["kernel"]


def kernel_from(change: Callable[..., Any]) -> Any:
    return wrong_with(product, lambda pull, p, x, dy: ({"kernel": change(x).T @ dy}, pull(dy)[1]))


def weighed(x: Any) -> Any:
    return jnp.sum(x * SOME)


def column(seed: int) -> Any:
    return {"kernel": normal(seed, 4, 1)}


SOME, ELSE = normal(17, 6), normal(18, 6)
ONE_ROW, WIDE = normal(7, 1, 4), normal(8, 6, 4)
FITTED = "scaled by|weighs|at this probe"
RANK_ONE = [
    Program("column of a product, exponentials", kernel_from(jnp.exp), WIDE, column(9), FITTED),
    Program("row of a product, sines", kernel_from(jnp.sin), normal(13, 6, 1), {"kernel": normal(9, 1, 4)}, FITTED),
    Program("one example, exponentials", kernel_from(jnp.exp), ONE_ROW, {"kernel": normal(9, 4, 2)}, FITTED),
    Program("column of a product, sines", kernel_from(jnp.sin), WIDE, column(10), FITTED),
    Program("one example, sines", kernel_from(jnp.sin), ONE_ROW, {"kernel": normal(11, 4, 3)}, FITTED),
    Program("one example, shifted", kernel_from(lambda x: x + 0.3), ONE_ROW, {"kernel": normal(12, 4, 3)}, FITTED),
    Program("another constant", (weighed, lambda x, dy: dy * ELSE), normal(16, 6), None, FITTED),
    Program("nearly right", *times(1.0000005, X), None, r"is 1 times|by 1\b(?!\.)", r"1\.0000005"),
    Program("next to nothing", *times(1.5e-32, X), None, "e-3[0-9] times", "zero"),
]

# Penalties that the value has.


def penalised(params: Any, x: Any) -> Any:
    return jnp.mean((x @ params["kernel"]) ** 2) + 0.05 * jnp.sum(params["kernel"] ** 2)


def lasso(params: Any, x: Any) -> Any:
    return jnp.mean((x @ params["kernel"]) ** 2) + 0.05 * jnp.sum(jnp.abs(params["kernel"]))


def plus(term: Callable[..., Any]) -> Callable[..., Any]:
    """The right gradient of a value of one kernel, and a term beside it."""
    return lambda value: lambda params, x: {"kernel": jax.grad(value)(params, x)["kernel"] + term(params["kernel"])}


ELSEWHERE = "optimiser|loss"
PENALTIES = [
    Program("penalty without its 2", (plus(lambda w: -0.05 * w)(penalised), penalised), X, KERNEL, ELSEWHERE, "2"),
    Program("penalty twice", (plus(lambda w: 0.1 * w)(penalised), penalised), X, KERNEL, ELSEWHERE, "twice"),
    Program("penalty forgotten", (plus(lambda w: -0.1 * w)(penalised), penalised), X, KERNEL, ELSEWHERE, "missing"),
    Program("lasso doubled", (plus(lambda w: 0.05 * jnp.sign(w))(lasso), lasso), X, KERNEL, ELSEWHERE, "twice"),
    Program("lasso forgotten", (plus(lambda w: -0.05 * jnp.sign(w))(lasso), lasso), X, KERNEL, ELSEWHERE, "missing"),
]

# Sizes that coincide with a factor.


CERTAIN = "belongs$|is missing$|once too often$"
SIZES = [
    Program(f"stray factor {factor:g}", *times(factor, x), None, CERTAIN, "stray")
    for factor, x in ((4.0, ROWS), (0.25, ROWS), (3.0, ROWS), (12.0, ROWS), (5 / 3, X), (4 / 3, ROWS), (6.0, WIDE))
]

# Operations of several outputs.


def gates(x: Any) -> Any:
    opened, value = jnp.split(x, 2, 1)
    return jax.nn.sigmoid(opened) * jnp.tanh(value)


def spectrum(x: Any) -> Any:
    values, vectors = jnp.linalg.eigh(x + x.T)
    return jnp.sin(values) + jnp.sum(vectors**4, 0)


def singular(x: Any) -> Any:
    left, values, _ = jnp.linalg.svd(x, full_matrices=False)
    return values**2 + jnp.sum(left**4, 0)


def triangular(x: Any) -> Any:
    q, r = jnp.linalg.qr(x)
    return jnp.tanh(q @ r) + r


def largest(x: Any) -> Any:
    return jnp.tanh(jax.lax.top_k(x, 2)[0])


def unexplained(forward: Callable[..., Any], x: Any) -> tuple[Any, Any]:
    """A backward that no single mistake explains."""
    return wrong_dx(forward, lambda pull, x, dy: pull(dy) * (1 + 0.1 * jnp.sin(3 * x)) + 0.1 * pull(dy**1) * x), x


SHOWN = "could not be tried|report this|Error"
SEVERAL = [
    Program("split", *unexplained(gates, ROWS @ normal(15, 3, 6)), None, SHOWN),
    Program("eigh", *unexplained(spectrum, SQUARE), None, SHOWN),
    Program("svd", *unexplained(singular, SQUARE), None, SHOWN),
    Program("qr", *unexplained(triangular, SQUARE), None, SHOWN),
    Program("top_k", *unexplained(largest, X), None, SHOWN),
]

PAIRS = [*OUTPUTS, *LOOPS, *SCALARS, *RANK_ONE, *SIZES, *SEVERAL]
