"""Bad input: the error, its path and its words. Everything here raises before anything is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

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
    gpt,
    losses_fused,
    normalisation,
    pooling,
    recurrent,
    resizing,
    training,
    units,
)
from errors.calls import Table, forward

import purenet as pn
from purenet import losses
from purenet.train import fit, init_train_state, make_run, make_step

X = jnp.ones((4, 6))
NET = pn.serial(pn.dense(8), pn.relu(), pn.dense(3))
NAMED = pn.serial(norm=pn.layer_norm(), up=pn.dense(8))
OBJECTIVE = pn.objective(NET, losses.softmax_cross_entropy())
INPUTS, LABELS = np.ones((20, 6), np.float32), np.zeros(20, np.int32)
SQUARED = pn.objective(NET, losses.squared_error())


def params_of(net: pn.Layer) -> Any:
    return net.init(jax.random.key(0), X)[0]


def loss(layer: pn.Layer, *pair: Any) -> Callable[[], Any]:
    return lambda: jax.jit(lambda pair: layer.forward((), (), pair, None)[0])(pair)


def run_fit(objective: Any = OBJECTIVE, optimizer: Any = None, data: Any = (INPUTS, LABELS), **changes: Any) -> Any:
    arguments: dict[str, Any] = {"key": jax.random.key(0), "epochs": 1, "batch_size": 5} | changes
    return lambda: fit(objective, optimizer or optax.sgd(0.1), data, **arguments)


def wrong_backward(change: Callable[[Any, Any], Any]) -> pn.Layer:
    dense = pn.dense(3)
    return dense.replace(backward=lambda *args: change(*dense.backward(*args)))


def gradient_of(layer: pn.Layer) -> Callable[[], Any]:
    net = pn.objective(pn.serial(pn.dense(8), pn.relu(), layer), losses.squared_error())
    x = (X, jnp.ones((4, 3)))
    return lambda: jax.jit(pn.value_and_grad(net))(net.init(jax.random.key(0), x)[0], (), x)


NAN = INPUTS.copy()
NAN[3, 2] = np.nan
INFINITE = INPUTS.copy()
INFINITE[7, 0] = np.inf

OWN: Table = {
    # Layers and networks.
    "feature size": (
        forward(NET, params_of(NET), jnp.ones((4, 5))),
        ValueError,
        r"serial\[0\].dense: expected x \[..., 6\] for kernel \[6, 8\], got float32 \[4, 5\]",
    ),
    "feature size, named": (
        forward(NAMED, params_of(NAMED), jnp.ones((4, 5))),
        ValueError,
        r"serial.norm.layer_norm: expected",
    ),
    "rank": (
        forward(NET, params_of(NET), jnp.float32(1)),
        ValueError,
        r"serial\[0\].dense: expected x \[..., features\]",
    ),
    "integers": (
        forward(NET, params_of(NET), jnp.ones((4, 6), jnp.int32)),
        TypeError,
        r"serial\[0\].dense: expected x of a floating dtype, got int32 \[4, 6\]: convert it with .astype",
    ),
    "integers to an activation": (
        forward(pn.tanh(), (), jnp.arange(3)),
        TypeError,
        "tanh: expected x of a floating dtype",
    ),
    "a tuple": (forward(pn.tanh(), (), (X, X)), TypeError, "tanh: expected x as one array, got tuple of 2"),
    "integers at init": (
        lambda: NET.init(jax.random.key(0), jnp.ones((4, 6), int)),
        TypeError,
        r"serial\[0\].dense: expected x of",
    ),
    "fewer layers' parameters": (
        forward(NET, params_of(NET)[:2], X),
        ValueError,
        r"serial: expected parameters for 3 layers, got list of 2.*another network's",
    ),
    "other names' parameters": (
        forward(NAMED, {"a": 1, "b": 2}, X),
        ValueError,
        r"serial: expected parameters for \['norm', 'up'\], got dict with \['a', 'b'\]: are they another network's",
    ),
    "another width's parameters": (
        forward(NET, params_of(pn.serial(pn.dense(9), pn.relu(), pn.dense(3))), X),
        ValueError,
        r"serial\[0\].dense: expected a kernel to 8 features, got kernel float32 \[6, 9\]",
    ),
    "parameters without bias": (
        forward(NET, params_of(pn.serial(pn.dense(8, use_bias=False), pn.relu(), pn.dense(3))), X),
        ValueError,
        r"serial\[0\].dense: expected parameters \['bias', 'kernel'\]",
    ),
    "residual changes the shape": (
        lambda: (
            pn.residual(pn.dense(5)).init(jax.random.key(0), X)
            and pn.residual(pn.dense(5)).forward(pn.dense(5).init(jax.random.key(0), X)[0], (), X, None)
        ),
        ValueError,
        r"residual: expected dense to keep the shape float32 \[4, 6\], got float32 \[4, 5\]",
    ),
    "repeat changes the shape": (
        lambda: pn.repeat(pn.dense(5), 3).init(jax.random.key(0), X),
        ValueError,
        r"repeat: expected each block to keep float32 \[4, 6\], got float32 \[4, 5\]",
    ),
    "repeat of another depth": (
        forward(pn.repeat(pn.dense(6), 3), params_of(pn.repeat(pn.dense(6), 2)), X),
        ValueError,
        r"repeat: expected .*bias.* stacked for 3 blocks",
    ),
    "branches do not add": (
        lambda: pn.parallel(pn.dense(2), pn.dense(3)).init(jax.random.key(0), X),
        ValueError,
        r'parallel: "sum" cannot combine branches with outputs',
    ),
    "deep path": (
        forward(pn.serial(pn.residual(pn.serial(pn.tanh(), NET))), [[(), params_of(NET)]], jnp.ones((4, 5))),
        ValueError,
        r"serial\[0\].residual.serial\[1\].serial\[0\].dense: expected x",
    ),
    "flatten": (forward(pn.flatten(3), (), X), ValueError, "flatten: expected x with an axis 3"),
    "reshape": (forward(pn.reshape(4, 2), (), X), ValueError, r"reshape: cannot give axes \[6\] the shape \[4, 2\]"),
    "dropout without key": (forward(pn.dropout(0.5), (), X), TypeError, "dropout: expected a key, got None"),
    # Constructors.
    "rate 1": (
        lambda: pn.dropout(1.0),
        ValueError,
        r"dropout: expected a rate in \[0, 1\), the part that is dropped, got 1.0",
    ),
    "rate below 0": (lambda: pn.dropout(-0.1), ValueError, r"dropout: expected a rate in \[0, 1\)"),
    "rate nan": (lambda: pn.dropout(float("nan")), ValueError, r"dropout: expected a rate in \[0, 1\)"),
    "features 0": (lambda: pn.dense(0), ValueError, "dense: expected a number of features of at least 1, got 0"),
    "features float": (lambda: pn.dense(cast(Any, 2.5)), ValueError, "dense: expected a number of features"),
    "no layers": (lambda: pn.serial(), ValueError, "serial: expected at least one layer"),
    "layer not called": (
        lambda: pn.serial(pn.dense(2), cast(Any, pn.tanh)),
        TypeError,
        r"serial\[1\]: expected a Layer, got.*call it, tanh\(\)",
    ),
    "names and positions": (
        lambda: pn.serial(pn.tanh(), a=pn.tanh()),
        TypeError,
        "serial: layers are all positional or all named",
    ),
    "repeat 0": (
        lambda: pn.repeat(pn.tanh(), 0),
        ValueError,
        "repeat: expected a number of blocks of at least 1, got 0",
    ),
    "combine": (
        lambda: pn.parallel(pn.tanh(), combine="max"),
        ValueError,
        'parallel: expected combine "sum", "mean" or',
    ),
    "reduction": (
        lambda: losses.squared_error("average"),
        ValueError,
        "squared_error: expected reduction in .*, got 'average'",
    ),
    "reduction of cross entropy": (
        lambda: losses.softmax_cross_entropy("none"),
        ValueError,
        "softmax_cross_entropy: expected reduction",
    ),
    "smoothing": (
        lambda: losses.softmax_cross_entropy(label_smoothing=1.0),
        ValueError,
        r"label_smoothing in \[0, 1\)",
    ),
    "delta": (lambda: losses.huber(delta=0.0), ValueError, "huber: expected delta above 0"),
    "needs": (lambda: pn.stateless(jnp.sin, jnp.cos, name="f", needs=("z",)), ValueError, 'needs may name "x" and "y"'),
    # Losses and objectives.
    "targets' shape": (
        loss(losses.squared_error(), X, jnp.ones((4, 5))),
        ValueError,
        r"squared_error: expected targets \[4, 6\] like the predictions, got float32 \[4, 5\]",
    ),
    "targets' length": (
        loss(losses.softmax_cross_entropy(), X, jnp.zeros(5, int)),
        ValueError,
        r"softmax_cross_entropy: expected labels as integers \[4\] or distributions \[4, 6\]",
    ),
    "integer targets": (
        loss(losses.huber(), X, jnp.ones((4, 6), int)),
        TypeError,
        "huber: expected targets of a floating dtype",
    ),
    "boolean labels": (
        loss(losses.softmax_cross_entropy(), X, jnp.ones(4, bool)),
        TypeError,
        "expected labels of an integer",
    ),
    "mask": (
        loss(losses.softmax_cross_entropy(), X, (jnp.zeros(4, int), jnp.ones(3, bool))),
        ValueError,
        r"softmax_cross_entropy: expected where as bool \[4\] or \[4, 6\], got bool \[3\]",
    ),
    "empty batch": (
        loss(losses.squared_error(), jnp.ones((0, 6)), jnp.ones((0, 6))),
        ValueError,
        r"squared_error: expected at least one example, got an empty batch",
    ),
    "empty batch of labels": (
        loss(losses.softmax_cross_entropy(), jnp.ones((0, 6)), jnp.ones(0, int)),
        ValueError,
        "softmax_cross_entropy: expected at least one example",
    ),
    "no pair": (loss(SQUARED, X, X, X), TypeError, r"expected a pair \(inputs, targets\), got tuple of 3"),
    "no scalar": (
        lambda: pn.value_and_grad(NET)(params_of(NET), (), X),
        ValueError,
        r"expected a scalar from serial, got float32 \[4, 3\]",
    ),
    # Gradients that do not belong to their parameters, found while tracing.
    "gradient transposed": (
        gradient_of(wrong_backward(lambda d, dx: (d | {"kernel": d["kernel"].T}, dx))),
        ValueError,
        r"serial\[2\].dense: kernel gradient \(3, 8\), parameter \(8, 3\)",
    ),
    "gradient missing": (
        gradient_of(wrong_backward(lambda d, dx: ({"kernel": d["kernel"]}, dx))),
        ValueError,
        r"serial\[2\].dense: bias gradient is missing, parameter \(3,\)",
    ),
    "gradient of nothing": (
        gradient_of(wrong_backward(lambda d, dx: (d | {"scale": dx}, dx))),
        ValueError,
        r"serial\[2\].dense: scale gradient belongs to no parameter",
    ),
    "gradient's dtype": (
        gradient_of(wrong_backward(lambda d, dx: (jax.tree.map(lambda g: g.astype(jnp.float16), d), dx))),
        TypeError,
        r"serial\[2\].dense: bias gradient float16, parameter float32",
    ),
    "input gradient's shape": (
        gradient_of(wrong_backward(lambda d, dx: (d, dx[:, :1]))),
        ValueError,
        r"serial\[2\].dense: input gradient \(4, 1\), input \(4, 8\)",
    ),
    "input gradient's shape, input dropped": (
        gradient_of(pn.serial(pn.tanh().replace(backward=lambda p, x, y, r, dy: ((), dy[:, :1])), pn.dense(3))),
        ValueError,
        r"serial\[2\].serial\[0\]: input gradient \(4, 1\), input \(4, 8\)",
    ),
    # Training.
    "inputs and targets": (
        run_fit(data=(INPUTS, LABELS[:-1])),
        ValueError,
        "fit: expected one number of examples, got {'data inputs': 20, 'data targets': 19}",
    ),
    "no data": (run_fit(data=(INPUTS[:0], LABELS[:0])), ValueError, "fit: expected at least one example"),
    "batch size above the data": (
        run_fit(batch_size=21),
        ValueError,
        "fit: expected a batch_size of at most the 20 examples, got 21",
    ),
    "batch size 0": (run_fit(batch_size=0), ValueError, "fit: expected batch_size of at least 1, got 0"),
    "batch size float": (run_fit(batch_size=4.0), TypeError, "fit: expected batch_size as an integer"),
    "epochs": (run_fit(epochs=0), ValueError, "fit: expected epochs of at least 1"),
    "nan": (
        run_fit(data=(NAN, LABELS)),
        ValueError,
        r"fit: expected finite data inputs, got nan at \[3, 2\] \(1 in all\)",
    ),
    "infinity": (
        run_fit(validation=(INFINITE, LABELS)),
        ValueError,
        r"fit: expected finite validation inputs, got inf at \[7, 0\]",
    ),
    "data without targets": (run_fit(data=INPUTS), TypeError, r"fit: expected data as a pair \(inputs, targets\)"),
    "lists": (run_fit(data=([1.0, 2.0], LABELS)), TypeError, "fit: expected data inputs.0 as an array"),
    "no optimizer": (run_fit(optimizer="adam"), TypeError, "expected an optax optimizer such as optax.adam"),
    "no optimizer in a step": (lambda: make_step(OBJECTIVE, cast(Any, 0.1)), TypeError, "expected an optax optimizer"),
    "key and state": (run_fit(key=None), TypeError, "fit: expected either key=.* or train_state="),
    "legacy key": (
        run_fit(key=jnp.zeros(2, jnp.uint32)),
        TypeError,
        "expected one typed key from jax.random.key, got uint32",
    ),
    "metrics without data": (run_fit(metrics={"a": lambda *_: 0}), TypeError, "pass validation="),
    "metric named loss": (
        run_fit(validation=(INPUTS, LABELS), metrics={"loss": lambda *_: 0}),
        ValueError,
        'expected metrics besides "loss"',
    ),
    "wrong features in data": (
        run_fit(data=(INPUTS[:, 0], LABELS)),
        ValueError,
        "softmax_cross_entropy: expected labels as integers",
    ),
    "targets of another kind": (
        run_fit(objective=SQUARED),
        TypeError,
        "squared_error: expected targets of a floating dtype",
    ),
    "metric that is no scalar": (
        run_fit(validation=(INPUTS, LABELS), metrics={"rows": lambda params, state, batch: batch[0].sum(1)}),
        ValueError,
        "fit: expected metric 'rows' as a scalar",
    ),
    "validation of another width": (
        run_fit(validation=(INPUTS[:, :3], LABELS)),
        ValueError,
        r"serial\[0\].dense: expected x",
    ),
    "validation batch size": (
        run_fit(validation=(INPUTS, LABELS), validation_batch_size=-5),
        ValueError,
        "fit: expected validation_batch_size of at least 1, got -5",
    ),
    "parameters as a state": (
        run_fit(key=None, train_state=params_of(NET)),
        TypeError,
        "fit: expected a TrainState to go on from, got list of 3",
    ),
    "gradient's tree": (
        gradient_of(wrong_backward(lambda d, dx: (list(d.values()), dx))),
        ValueError,
        r"serial\[2\].dense: bias gradient is missing",
    ),
    "targets of three": (
        loss(losses.softmax_cross_entropy(), X, (LABELS, LABELS, LABELS)),
        TypeError,
        r"expected labels or a pair \(labels, where\), got tuple of 3",
    ),
    "steps": (
        lambda: make_run(OBJECTIVE, optax.sgd(0.1), batch_size=5)(
            init_train_state(OBJECTIVE, optax.sgd(0.1), jax.random.key(0), (INPUTS, LABELS)), (X[:0], X[:0]), 3
        ),
        ValueError,
        "expected at least one batch",
    ),
}

SUBJECTS = (
    attention,
    combinators,
    convolution,
    embedding,
    gpt,
    losses_fused,
    normalisation,
    pooling,
    recurrent,
    resizing,
    training,
    units,
)
TABLE: Table = OWN | {name: row for subject in SUBJECTS for name, row in subject.TABLE.items()}


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
    assert len(TABLE) == len(OWN) + sum(len(subject.TABLE) for subject in SUBJECTS)
