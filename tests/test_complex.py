"""Complex numbers, in JAX's convention: for z = a + i b the gradient of a real value is d/da - i d/db."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import normal

import purenet as pn

X = normal(4)
Z, W = X + 1j * normal(4, seed=1), normal(4, seed=2) + 1j * normal(4, seed=3)


def ruled(f: Callable[..., Any], backward: Callable[..., Any]) -> Any:
    function = jax.custom_vjp(f)
    function.defvjp(lambda *arguments: (f(*arguments), arguments), backward)
    return function


def power(z: Any) -> Any:
    return jnp.real(z * jnp.conj(z))


def real_by_complex(c: float) -> Any:
    return ruled(lambda x, z: x * z, lambda kept, dy: (jnp.real(dy * kept[1]), c * dy * kept[0]))


FORMS: dict[str, tuple[Callable[[float], Any], Any]] = {
    "complex in, real out": (lambda c: ruled(power, lambda kept, dy: (2 * c * jnp.conj(kept[0]) * dy,)), Z),
    "complex in and out": (lambda c: ruled(jnp.multiply, lambda kept, dy: (dy * kept[1], c * dy * kept[0])), (Z, W)),
    "real and complex in": (real_by_complex, (X, Z)),
    "real in, complex out": (lambda c: (jnp.fft.fft, lambda x, dy: c * jnp.real(jnp.fft.fft(dy))), X),
    "complex inside": (lambda c: (lambda x: jnp.real(jnp.fft.fft(x)), lambda x, dy: c * jnp.real(jnp.fft.fft(dy))), X),
    "a pair of complex": (lambda c: (jnp.fft.fft, lambda x, dy: c * jnp.fft.fft(dy)), Z),
    "complex64": (lambda c: (lambda z: z**2, lambda z, dy: 2 * c * z * dy), Z.astype(np.complex64)),
}


@pytest.mark.parametrize("name", FORMS)
def test_complex_numbers_are_taken(name: str) -> None:
    make, x = FORMS[name]
    assert pn.check(make(1.0), x, verbose=False).verdict == "PASS"
    with pytest.raises(pn.GradientError):
        pn.check(make(1.01), x, verbose=False)


def test_a_conjugate_gradient_is_named() -> None:
    with pytest.raises(pn.GradientError, match="the complex conjugate of the right one") as caught:
        pn.check(ruled(power, lambda kept, dy: (2 * kept[0] * dy,)), Z, verbose=False)
    leaf = caught.value.report.leaves[0]
    assert (leaf.shape, leaf.yours) == ((4,), pytest.approx(leaf.reference.conjugate()))


def test_the_row_holds_what_jax_gives() -> None:
    with pytest.raises(pn.GradientError) as caught:
        pn.check(real_by_complex(2.0), (X, Z), verbose=False)
    row, dy = caught.value.report.leaves[1], caught.value.report.leaves[0]
    assert row.path == "z"
    assert row.yours == pytest.approx(2 * row.reference)
    assert isinstance(dy.yours, float)
    assert caught.value.report.to_dict()["leaves"][1]["yours"] == pytest.approx([row.yours.real, row.yours.imag])


def test_a_gradient_in_numpy_is_checked() -> None:
    def value(z: Any) -> float:
        return float(np.sum(np.abs(z) ** 2))

    assert pn.check_gradient(lambda z: 2 * np.conj(z), value, Z, verbose=False).verdict == "PASS"
    with pytest.raises(pn.GradientError):
        pn.check_gradient(lambda z: 2 * z, value, Z, verbose=False)
