"""Functions that compute in float32, bfloat16 or float16 by design: right within that precision, and no further."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import normal

import purenet as pn

X, W = normal(6, 5), normal(5, 4)
DTYPES = ("float32", "bfloat16", "float16")


def product(dtype: Any, factor: float = 1.0, last: float = 1.0, strict: bool = False) -> Any:
    """x w in a dtype; `strict`: it takes no other, as kernels do."""
    dtype = jnp.dtype(dtype)

    def f(x: Any, w: Any) -> Any:
        if strict and x.dtype != dtype:
            raise TypeError(f"the kernel takes {dtype}, got {x.dtype}")
        return (x.astype(dtype) @ w.astype(dtype)).astype(x.dtype)

    def backward(kept: Any, dy: Any) -> Any:
        x, w, d = (value.astype(dtype) for value in (*kept, dy))
        dw = (x.T @ d).at[-1].multiply(last)
        return (factor * (d @ w.T)).astype(dy.dtype), dw.astype(dy.dtype)

    function = jax.custom_vjp(f)
    function.defvjp(lambda x, w: (f(x, w), (x, w)), backward)
    return function


def reference(x: Any, w: Any) -> Any:
    return x @ w


def said(target: Any, **options: Any) -> str:
    with pytest.raises(pn.GradientError) as caught:
        pn.check(target, (X, W), verbose=False, **options)
    assert caught.value.report.verdict == "WRONG"
    return " ".join(str(caught.value).split())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("strict", [False, True], ids=["cast inside", "one dtype only"])
def test_a_function_of_low_precision_is_right_within_it(dtype: str, strict: bool) -> None:
    options: dict[str, Any] = {"dtype": jnp.dtype(dtype)} if strict else {}
    report = pn.check(product(dtype, strict=strict), (X, W), reference=reference, verbose=False, **options)
    assert report.verdict == "PASS"
    assert f"the forward computes in {dtype}" in report.notes[0]
    factor = said(product(dtype, factor=1.02, strict=strict), reference=reference, **options)
    assert "times the right one, which is more than" in factor
    row = said(product(dtype, last=1.1, strict=strict), reference=reference, **options)
    assert f"more than {dtype} explains in slice 4 of axis 0" in row


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_kernel_of_one_dtype_needs_no_reference(dtype: str) -> None:
    options: dict[str, Any] = {"dtype": jnp.dtype(dtype)}
    assert pn.check(product(dtype, strict=True), (X, W), verbose=False, **options).verdict == "PASS"
    assert "times the right one" in said(product(dtype, factor=1.02, strict=True), **options)


def test_a_kernel_of_one_dtype_says_how_it_is_checked() -> None:
    with pytest.raises(TypeError, match="the kernel takes float32") as caught:
        pn.check(product("float32", strict=True), (X, W), verbose=False)
    assert any("dtype=jnp.float32" in note for note in caught.value.__notes__)


def twins(factor: float) -> Any:
    """The output's dtype is the function's own."""
    return lambda x: jnp.tanh(x.astype(jnp.float32)), lambda y, dy: factor * dy * (1 - y**2)


def test_an_output_that_is_float32_is_right_within_it() -> None:
    assert pn.check(twins(1.0), X, verbose=False).verdict == "PASS"
    with pytest.raises(pn.GradientError, match=r"1\.001 times the right one"):
        pn.check(twins(1.001), X, verbose=False)


def test_a_backward_less_precise_than_its_forward_is_told() -> None:
    with pytest.raises(pn.GradientError) as caught:
        pn.check((jnp.tanh, lambda y, dy: dy * (1 - y.astype(jnp.float32) ** 2)), X, verbose=False)
    assert caught.value.report.verdict == "PRECISION"


def test_float32_inside_numpy_is_no_mistake() -> None:
    targets = normal(6, seed=5)

    def gradient(w: Any, two: float = 2.0) -> Any:
        x, t, w = X.astype(np.float32), targets.astype(np.float32), w.astype(np.float32)
        return np.float32(two) * x.T @ (x @ w - t) / np.float32(len(t))

    def value(w: Any) -> Any:
        return jnp.mean((X @ w - targets) ** 2)

    report = pn.check_gradient(gradient, value, normal(5), verbose=False)
    assert report.verdict == "PASS"
    assert "computes in float32: the formula is right" in report.notes[0]
    with pytest.raises(pn.GradientError, match="1/2 times the right one"):
        pn.check_gradient(lambda w: gradient(w, 1.0), value, normal(5), verbose=False)
