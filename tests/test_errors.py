"""Bad input: the error, its path and its words. Everything here raises before anything is compiled."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from errors import (
    attention,
    combinators,
    convolution,
    embedding,
    fitting,
    gpt,
    layers,
    losses_fused,
    models,
    normalisation,
    objectives,
    pooling,
    recurrent,
    resizing,
    training,
    units,
)
from errors.calls import Table

import purenet as pn
from purenet import losses
from purenet.train import fit, init_train_state

X = jnp.ones((4, 6))
OBJECTIVE = pn.objective(pn.dense(3), losses.softmax_cross_entropy())
INPUTS, LABELS = np.ones((20, 6), np.float32), np.zeros(20, np.int32)

SUBJECTS = (
    attention,
    combinators,
    convolution,
    embedding,
    fitting,
    gpt,
    layers,
    losses_fused,
    models,
    normalisation,
    objectives,
    pooling,
    recurrent,
    resizing,
    training,
    units,
)
TABLE: Table = {name: row for subject in SUBJECTS for name, row in subject.TABLE.items()}


@pytest.mark.parametrize("name", TABLE)
def test_bad_input_is_named(name: str) -> None:
    call, error, message = TABLE[name]
    with pytest.raises(error, match=message):
        call()


def test_other_errors_carry_the_path_as_notes() -> None:
    broken = pn.stateless(lambda x: x @ jnp.ones((9, 9)), lambda x, dy: dy, name="broken")
    net = pn.serial(pn.tanh(), pn.residual(broken))
    with pytest.raises(TypeError) as caught:
        net.forward([(), ()], (), X, None)
    assert [
        note.removeprefix("in purenet layer ") for note in caught.value.__notes__ if note.startswith("in purenet")
    ] == [
        "broken",
        "residual",
        "serial[1]",
    ]


def test_a_failed_fit_leaves_the_callers_state_alone() -> None:
    state = init_train_state(OBJECTIVE, optax.sgd(0.1), jax.random.key(0), (INPUTS, LABELS))
    with pytest.raises(ValueError, match="expected labels"):
        fit(OBJECTIVE, optax.sgd(0.1), (INPUTS, LABELS[:, None]), train_state=state, epochs=1, batch_size=5)
    assert all(not leaf.is_deleted() for leaf in jax.tree.leaves(state))


def test_no_two_subjects_have_a_row_of_the_same_name() -> None:
    assert len(TABLE) == sum(len(subject.TABLE) for subject in SUBJECTS)
