"""Rows of a table by integers, and kernels that are used twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from .rows import Fault, Right, altered, normal

TOKENS = np.array([2, 0, 4, 2, 6, 2, 4])  # 2 three times, 4 twice, 1, 3 and 5 never
TABLE = {"table": normal(141, 7, 11)}
PAIRS_OF_TOKENS = np.array([[1, 2, 2], [5, 1, 0]])


def embedding(params: Any, tokens: Any) -> Any:
    return params["table"][tokens]


def one_hot(tokens: Any, dy: Any) -> Any:
    return (tokens[..., None] == jnp.arange(7).reshape((1,) * tokens.ndim + (7,))).astype(dy.dtype)


def embedding_with(table: Callable[..., Any]) -> Any:
    """table(zeros, tokens, dy) is the gradient of the table."""
    return embedding, lambda params, tokens, dy: ({"table": table(jnp.zeros_like(params["table"]), tokens, dy)}, None)


def add(zeros: Any, tokens: Any, dy: Any) -> Any:
    return zeros.at[tokens].add(dy)


def counted(zeros: Any, tokens: Any, dy: Any) -> Any:
    count = jnp.sum(one_hot(tokens, dy), 0)
    return add(zeros, tokens, dy) / jnp.maximum(count, 1.0)[:, None]


def fault(name: str, kinds: tuple[str, ...], says: str, table: Callable[..., Any]) -> Fault:
    return Fault(f"embedding: {name}", embedding_with(table), TOKENS, TABLE, kinds, says)


FAULTS = [
    fault("set instead of added", ("slices", "path_missing"), "", lambda g, i, dy: g.at[i].set(dy)),
    fault("divided by how often a token comes", ("slices", "path_scaled"), "", counted),
    fault("averaged over the tokens", ("scaled",), "1/7|token|example|axis", lambda g, i, dy: add(g, i, dy) / len(i)),
    fault(
        "tokens off by one",
        ("shifted", "permuted", "wrong_operand"),
        r"shift|roll|one|\b1\b|order|permut|place",
        lambda g, i, dy: add(g, (i + 1) % 7, dy),
    ),
    fault("last token forgotten", ("slices",), "last|token|example|axis", lambda g, i, dy: add(g, i[:-1], dy[:-1])),
    fault("token 0 taken as padding", ("slices", "support"), "", lambda g, i, dy: add(g, i, dy).at[0].set(0.0)),
    fault("rows of the tokens alone", ("wrong_shape",), "shape", lambda g, i, dy: dy[:5]),
    fault("largest instead of sum", ("not_linear",), "linear|add", lambda g, i, dy: g.at[i].max(dy)),
    Fault(
        "embedding: gradient of the integers",
        (
            embedding,
            lambda params, tokens, dy: ({"table": add(jnp.zeros_like(params["table"]), tokens, dy)}, jnp.zeros(7)),
        ),
        TOKENS,
        TABLE,
        ("wrong_dtype", "wrong_tree"),
        "None|integer|int",
    ),
]


# A kernel used twice: y = tanh(x W) W^T.

X = normal(142, 5, 7)
TIED = {"kernel": normal(143, 7, 11, scale=0.5)}
SQUARE = {"kernel": normal(144, 7, 7, scale=0.5)}


def tied(params: Any, x: Any) -> Any:
    z = x @ params["kernel"]
    h = jnp.tanh(z)
    y = h @ params["kernel"].T
    return y, (x, h)


def parts(params: Any, saved: Any, dy: Any) -> Any:
    """What the kernel gets from its first and from its second use, and dz."""
    x, h = saved
    dz = (1 - h**2) * (dy @ params["kernel"])
    return x.T @ dz, dy.T @ h, dz


def tied_backward(params: Any, saved: Any, dy: Any) -> Any:
    first, second, dz = parts(params, saved, dy)
    return {"kernel": first + second}, dz @ params["kernel"].T


def tied_fault(name: str, kinds: tuple[str, ...], says: str, rule: Callable[..., Any], params: Any = TIED) -> Fault:
    """rule(first, second) is the gradient of the kernel."""
    target = (tied, altered(tied_backward, kernel=lambda g, *args: rule(*parts(*args)[:2])))
    return Fault(f"tied kernel: {name}", target, X, params, kinds, says)


def shared(params: Any, x: Any) -> Any:
    """The same layer three times."""
    states = [x]
    for _ in range(3):
        states.append(jnp.tanh(states[-1] @ params["kernel"]))
    return states[-1], states


def shared_with(mistake: str = "") -> Callable[..., Any]:
    def backward(params: Any, states: Any, dy: Any) -> Any:
        dkernel, d = jnp.zeros_like(params["kernel"]), dy
        for before, after in zip(reversed(states[:-1]), reversed(states[1:]), strict=True):
            dz = (1 - after**2) * d
            one = before.T @ dz
            dkernel = one if mistake == "overwritten" else dkernel + one
            d = dz @ params["kernel"].T
        return {"kernel": dkernel / 3 if mistake == "averaged" else dkernel}, d

    return backward


FAULTS += [
    tied_fault("second use forgotten", ("path_missing",), "path|use|dot|transpos|kernel", lambda first, second: first),
    tied_fault("first use forgotten", ("path_missing",), "path|use|dot|kernel", lambda first, second: second),
    tied_fault("uses averaged", ("scaled",), "1/2|0.5|half", lambda first, second: (first + second) / 2),
    tied_fault("second use twice", ("path_doubled",), "twice|doubl", lambda first, second: first + 2 * second),
    tied_fault("uses subtracted", ("path_sign",), "sign|negat|-1", lambda first, second: first - second),
    tied_fault(
        "second use not transposed, square",
        ("wrong_cotangent", "transposed", "wrong_operand"),
        "",
        lambda first, second: first + second.T,
        SQUARE,
    ),
    Fault(
        "shared kernel: overwritten",
        (shared, shared_with("overwritten")),
        X,
        SQUARE,
        ("path_missing", "two_paths", "slices"),
        "",
    ),
    Fault("shared kernel: averaged", (shared, shared_with("averaged")), X, SQUARE, ("scaled",), "1/3|0.33"),
]

RIGHTS = [
    Right("embedding", embedding_with(add), TOKENS, TABLE),
    Right(
        "embedding by a product",
        embedding_with(lambda g, i, dy: jnp.einsum("...t,...d->td", one_hot(i, dy), dy)),
        PAIRS_OF_TOKENS,
        TABLE,
    ),
    Right("embedding of one token", embedding_with(add), np.int64(3), TABLE),
    Right("embedding of no token", embedding_with(add), np.zeros(0, int), TABLE),
    Right("tied kernel", (tied, tied_backward), X, TIED),
    Right("shared kernel", (shared, shared_with()), X, SQUARE),
]
