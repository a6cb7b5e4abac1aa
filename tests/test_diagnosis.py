"""The checker on the table of tests/faulty: every fault found and named, every right twin left alone.

The complete set takes a fixed sample, a first run a few of these; `pytest -m table -n 0` runs the whole table, a test
a subject, and prints how `jax.test_util.check_grads` does on the same rows.
"""

from __future__ import annotations

import math
import re
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from faulty import FAULTS, RIGHTS, SUBJECTS, Fault, Right
from jax.test_util import check_grads

import purenet as pn
from purenet.checking.forms.prepare import Given, in_one_form
from purenet.checking.probe import Probe, make_probe

# What says the same of a mistake in other words.
EQUIVALENT = {
    "factor": {"slices", "local_derivative", "wrong_operand", "path_scaled"},
    "forward_variant": {"wrong_operand", "local_derivative", "path_missing"},
    "local_derivative": {"not_linear", "support", "extra_term", "forward_variant"},
    "path_scaled": {"path_doubled"},
    "transposed": {"permuted"},
    "wrong_cotangent": {"wrong_operand", "local_derivative"},
    "stop_gradient": {"zero"},
    "wrong_operand": {"local_derivative"},
    "not_summed": {"wrong_shape"},
}

# Found, but not explained as the table asks: a list to be made shorter.
UNNAMED = frozenset(
    {
        "softplus: tanh",
        "sigmoid BCE: slope of the sigmoid once more",
        "clipped BCE: eps added instead of clipped",
        "clipped BCE: the rule of logits",
        "kl: the rule of softmax",
        "bilinear: sums multiplied",
        "product of features: value as derivative",
        "cross entropy: probabilities forgotten",
        "cross entropy: softmax over the batch",
        "cross entropy: slope of the log instead",
        "cross entropy: one-hot not subtracted",
        "softmax: mean instead of sum",
        "straight through: stopped",
    }
)

EVERY_FAULT, EVERY_RIGHT, FIRST_RUN = 9, 5, 6


def sample(rows: Any, every: int) -> Any:
    """One row in `every`, and in a first run one in FIRST_RUN of these."""
    chosen = enumerate(rows[::every])
    marked = [pytest.param(row, marks=pytest.mark.complete if k % FIRST_RUN else (), id=row.name) for k, row in chosen]
    return pytest.mark.parametrize("row", marked)


def diagnosed(fault: Fault) -> pn.Report:
    with pytest.raises(pn.GradientError) as caught:
        pn.check(fault.target, fault.x, params=fault.params, seconds=math.inf, verbose=False)
    return caught.value.report


def named(fault: Fault, report: pn.Report) -> bool:
    """Whether the first explanation is one that the row accepts."""
    if not report.causes:
        return False
    cause = report.causes[0]
    kinds = {cause.kind} | EQUIVALENT.get(cause.kind, set())
    return bool(kinds & set(fault.kinds)) and re.search(fault.says, f"{cause.text} {cause.fix}", re.I) is not None


def blamed(fault: Fault, report: pn.Report) -> bool:
    return not fault.layer or fault.layer in [layer.path for layer in report.layers]


@sample(FAULTS, EVERY_FAULT)
def test_a_fault_is_found_and_named(row: Fault) -> None:
    report = diagnosed(row)
    assert blamed(row, report), report
    assert named(row, report) or row.name in UNNAMED, report


@sample(RIGHTS, EVERY_RIGHT)
def test_a_right_twin_passes(row: Right) -> None:
    report = pn.check(row.target, row.x, params=row.params, seconds=math.inf, verbose=False)
    assert report.verdict in ("PASS", "VACUOUS")


def test_few_rows_are_unnamed() -> None:
    assert {fault.name for fault in FAULTS} >= UNNAMED
    assert len(FAULTS) >= 150
    assert len(RIGHTS) >= 60
    assert len(UNNAMED) <= 0.05 * len(FAULTS)


@pytest.mark.table
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.__name__.split(".")[-1])
def test_the_whole_table(subject: Any, capsys: pytest.CaptureFixture[str]) -> None:
    unnamed, misplaced, seconds = [], [], []
    for fault in subject.FAULTS:
        start = time.perf_counter()
        report = diagnosed(fault)
        seconds.append(time.perf_counter() - start)
        if not named(fault, report):
            unnamed.append(fault.name)
        if not blamed(fault, report):
            misplaced.append(fault.name)
    for right in subject.RIGHTS:
        test_a_right_twin_passes(right)
    missed = [fault.name for fault in subject.FAULTS if check_grads_accepts(fault)]
    rejected = [right.name for right in subject.RIGHTS if not check_grads_accepts(right)]
    with capsys.disabled():
        count = len(subject.FAULTS)
        rights, right_names = len(subject.RIGHTS), count - len(unnamed)
        print(f"\n{subject.__name__}: {count} faults found, {right_names} named, {rights} right ones passed")
        print(f"  median {np.median(seconds):.1f} s, at most {max(seconds):.1f} s a diagnosis")
        print(f"  check_grads misses {len(missed)} of {count}, rejects {len(rejected)} of {rights} right ones")
    assert not misplaced
    assert set(unnamed) <= UNNAMED


def check_grads_accepts(row: Fault | Right) -> bool:
    """What JAX's own checker says of the same pair, at its defaults, in float32 as people run it."""
    with jax.numpy_dtype_promotion("standard"):
        try:
            probe = float32_probe(row)
            check_grads(as_custom_vjp(probe), [jnp.asarray(leaf) for leaf in probe.leaves], order=1, modes=["rev"])
        except Exception:
            return False
    return True


def float32_probe(row: Fault | Right) -> Probe:
    keys = jax.random.split(jax.random.key(0), 4)
    x = jax.tree.map(lambda leaf: in_float32(leaf), row.x)
    given = Given(row.target, x, row.params, None)
    target, params, x = in_one_form(given, jax.random.split(keys[0], 4))
    params = params if row.params is None else row.params
    probe = make_probe(target, jax.tree.map(in_float32, params), x, keys[2])
    return probe._replace(dys=[])


def in_float32(leaf: Any) -> Any:
    leaf = jnp.asarray(leaf)
    return leaf.astype(jnp.float32) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def as_custom_vjp(probe: Probe) -> Any:
    @jax.custom_vjp
    def function(*leaves: Any) -> Any:
        return probe.forward(*leaves)

    def forward(*leaves: Any) -> Any:
        return probe.forward(*leaves), leaves

    def backward(leaves: Any, dys: Any) -> Any:
        raw = probe.plain[0](list(leaves), list(dys))[1]
        return tuple(leaf for leaf in jax.tree.leaves(raw) if jnp.issubdtype(leaf.dtype, jnp.floating))

    function.defvjp(forward, backward)
    return function
