"""Names for numbers: -1 is a sign, 1/5 may be the number of examples, 1.702 a constant of the forward."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .evidence import Evidence, Factor


def sizes(evidence: Evidence) -> dict[int, str]:
    """Lengths of axes, with what people call them; the first name of a length counts."""
    point = evidence.first
    named: dict[int, str] = {}
    xs = point.inputs[evidence.params :]
    data = [*evidence.data, *zip(evidence.names[evidence.params :], xs, strict=True)]
    if data and np.ndim(data[0][1]) > 1:
        name, array = data[0]
        named[array.shape[0]] = f"the number of examples (axis 0 of {name})"
        named.setdefault(array.shape[-1], f"the number of features (axis {array.ndim - 1} of {name})")
    for name, array in evidence.data:
        for axis, size in enumerate(np.shape(array)):
            named.setdefault(size, f"the length of axis {axis} of {name}")
    for names, arrays in (
        ([f"axis {{}} of {name}" for name in evidence.names[evidence.params :]], xs),
        (["axis {} of the output"] * len(point.dys), point.dys),
        ([f"axis {{}} of {name}" for name in evidence.names], point.inputs),
    ):
        for name, array in zip(names, arrays, strict=False):
            for axis, size in enumerate(array.shape):
                named.setdefault(size, f"the length of {name.format(axis)}")
    if point.program:
        for number in sorted(point.recorded.active):
            for axis, size in enumerate(np.shape(point.recorded.values[number])):
                named.setdefault(size, f"the length of axis {axis} of a value inside")
        for value in point.recorded.values:
            if getattr(value, "dtype", None) == np.bool_ and value.size > 1:
                named.setdefault(int(np.sum(value)), "the number of elements that a mask lets through")
    return {size: name for size, name in named.items() if size > 1}


def constants(evidence: Evidence) -> dict[float, str]:
    """Numbers that the forward has written down, without their signs."""
    program = evidence.first.program
    found: dict[float, str] = {}
    for number in program.literals if program else ():
        value = np.asarray(program.values[number]) if program else np.zeros(())
        if value.ndim == 0 and np.issubdtype(value.dtype, np.floating) and np.isfinite(value) and value != 0:
            size = abs(float(value))
            root = round(size**2) if size**2 < 1e6 else 0
            is_root = root > 1 and abs(size - math.sqrt(root)) < 1e-6 * size and size != round(size)
            name = f"{size:.6g}, " + (f"the square root of {root}, " if is_root else "")
            found.setdefault(size, f"{name}a constant of the forward")
    return {value: name for value, name in found.items() if value != 1}


def factors(evidence: Evidence) -> list[Factor]:
    """All numbers that have a name here, the plainest first."""
    plain = [
        Factor(-1.0, "-1", 0.0, "the sign is flipped"),
        Factor(2.0, "2", 0.1, "a term is counted twice, or a factor 1/2 is missing"),
        Factor(0.5, "1/2", 0.1, "a factor of 2 is missing"),
        Factor(-2.0, "-2", 0.3, "the sign is flipped and a factor of 2 is too many"),
        Factor(-0.5, "-1/2", 0.3, "the sign is flipped and a factor of 2 is missing"),
    ]
    by_size = []
    lengths = list(sizes(evidence).items())
    for n, name in lengths:
        by_size += size_factors(n, name)
    for k, (n, first) in enumerate(lengths):
        for m, second in lengths[k + 1 :]:
            by_size += pair_factors(n, first, m, second)
    written = [factor for value, name in constants(evidence).items() for factor in constant_factors(value, name)]
    fractions = [
        Factor(p / q, f"{p}/{q}" if q > 1 else str(p), 0.4 if abs(p) in (1, 3) and q in (1, 3, 4) else 0.8)
        for q in (1, 3, 4, 5, 6, 8)
        for p in range(-9, 10)
        if p and math.gcd(p, q) == 1
    ]
    return plain + by_size + written + exponents(evidence) + rounded_constants() + fractions


def exponents(evidence: Evidence) -> list[Factor]:
    """The factors of the power rule."""
    program = evidence.first.program
    powers = {step.params["y"] for step in program.steps if step.op == "integer_pow"} if program else set()
    return [
        Factor(1 / n, f"1/{n}", 0.15, f"the factor {n} of the power rule is left out, or a stray factor")
        for n in powers
        if n not in (0, 1)
    ]


KNOWN = {
    "sqrt(2 pi)": math.sqrt(2 * math.pi),
    "sqrt(2/pi)": math.sqrt(2 / math.pi),
    "sqrt(pi)": math.sqrt(math.pi),
    "2/sqrt(pi)": 2 / math.sqrt(math.pi),
    "pi": math.pi,
    "e": math.e,
    "sqrt(2)": math.sqrt(2),
    "sqrt(1/2)": math.sqrt(0.5),
    "log(2)": math.log(2),
    "log(10)": math.log(10),
}


def rounded_constants() -> list[Factor]:
    """A constant of mathematics written with too few digits, or left out."""
    found = []
    for name, value in KNOWN.items():
        found.append(Factor(value, name, 0.6, f"a factor {name} is too many, or its inverse is left out"))
        found.append(Factor(1 / value, f"1/{name}", 0.6, f"a factor {name} is left out, or its inverse is too many"))
        for digits in (0, 1, 2, 3):
            near = round(value, digits)
            if near and near != value:
                cause = f"{near:g} stands where {name} = {value:.6g} belongs"
                found += [
                    Factor(near / value, f"{near:g}/{name}", 0.6, cause),
                    Factor(value / near, f"{name}/{near:g}", 0.6, cause),
                ]
    return found


def size_factors(n: int, name: str) -> list[Factor]:
    return [
        Factor(1 / n, f"1/{n}", 0.2, f"divided by {name} ({n}) once too often, or a stray factor"),
        Factor(float(n), str(n), 0.2, f"a sum where a mean belongs, {n} being {name}, or a stray factor"),
        Factor(-1 / n, f"-1/{n}", 0.4, f"the sign is flipped, and a factor 1/{n} too many: {n} is {name}"),
        Factor(-float(n), f"-{n}", 0.4, f"the sign is flipped, and a factor {n} too many: {n} is {name}"),
        Factor(math.sqrt(n), f"sqrt({n})", 0.3, f"a factor 1/sqrt({n}) is missing, or a stray factor: {n} is {name}"),
        Factor(1 / math.sqrt(n), f"1/sqrt({n})", 0.3, f"a factor 1/sqrt({n}) too many: {n} is {name}"),
        Factor(n / (n - 1), f"{n}/{n - 1}", 0.45, f"n - 1 where n = {n} belongs, {name}, or a stray factor"),
        Factor((n - 1) / n, f"{n - 1}/{n}", 0.45, f"n where n - 1 belongs, n = {n} being {name}, or a stray factor"),
        Factor(2 / n, f"2/{n}", 0.5, f"divided by {name} ({n}) once too often and doubled, or a stray factor"),
        Factor(n / 2, f"{n}/2", 0.5, f"a division by {name} ({n}) is missing, and halved, or a stray factor"),
        Factor(1 / n**2, f"1/{n}^2", 0.5, f"divided by {name} ({n}) twice too often, or a stray factor"),
    ]


def pair_factors(n: int, first: str, m: int, second: str) -> list[Factor]:
    return [
        Factor(1 / (n * m), f"1/({n}*{m})", 0.4, f"divided by {first} times {second}, or a stray factor"),
        Factor(float(n * m), f"{n}*{m}", 0.4, f"a division by {first} times {second} is missing, or a stray factor"),
        Factor(n / m, f"{n}/{m}", 0.4, f"divided by {second} ({m}) where {first} ({n}) belongs, or a stray factor"),
        Factor(m / n, f"{m}/{n}", 0.4, f"divided by {first} ({n}) where {second} ({m}) belongs, or a stray factor"),
    ]


def constant_factors(value: float, name: str) -> list[Factor]:
    return [
        Factor(value, f"{value:.6g}", 0.25, f"a factor is too many: {name}"),
        Factor(1 / value, f"1/({value:.6g})", 0.25, f"a factor is missing: {name}"),
        Factor(value**2, f"{value:.6g}^2", 0.7, f"a square is too many: {name}"),
        Factor(1 / value**2, f"1/({value:.6g})^2", 0.7, f"a square is missing: {name}"),
        Factor(-value, f"-{value:.6g}", 0.7, f"a factor is too many and the sign is flipped: {name}"),
        Factor(-1 / value, f"-1/({value:.6g})", 0.7, f"a factor is missing and the sign is flipped: {name}"),
    ]


def number_list(values: Any) -> str:
    """A short vector for a sentence."""
    if np.all(np.abs(np.ravel(values) - 1) < 0.01):
        return "1 plus " + number_list_of([f"{float(v) - 1:.2g}" for v in np.ravel(values)])
    rounded = [f"{float(v):.4g}" if abs(v) > 1e-9 else "0" for v in np.ravel(values)]
    return number_list_of(rounded)


def number_list_of(texts: list[str]) -> str:
    return "[" + " ".join(texts if len(texts) <= 12 else [*texts[:6], "...", *texts[-3:]]) + "]"
