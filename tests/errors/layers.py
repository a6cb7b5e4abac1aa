"""Bad input to networks and constructors."""

from __future__ import annotations

from typing import Any, cast

import jax
import jax.numpy as jnp

import purenet as pn
from purenet import losses

from .calls import Table, forward, params_of

X = jnp.ones((4, 6))
NET = pn.serial(pn.dense(8), pn.relu(), pn.dense(3))
NAMED = pn.serial(norm=pn.layer_norm(), up=pn.dense(8))


TABLE: Table = {
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
    "rate nan": (lambda: pn.dropout(float("nan")), ValueError, "dropout: expected rate as a number, got nan"),
    "features 0": (lambda: pn.dense(0), ValueError, "dense: expected features of at least 1, got 0"),
    "features float": (
        lambda: pn.dense(cast(Any, 2.5)),
        TypeError,
        "dense: expected features as a whole number, got float 2.5",
    ),
    "no layers": (lambda: pn.serial(), ValueError, "serial: expected at least one layer"),
    "layer not called": (
        lambda: pn.serial(pn.dense(2), cast(Any, pn.tanh)),
        TypeError,
        r"serial: expected layers\[1\] as a Layer, got function .*: call it, tanh",
    ),
    "names and positions": (
        lambda: pn.serial(pn.tanh(), a=pn.tanh()),
        TypeError,
        "serial: layers are all positional or all named",
    ),
    "repeat 0": (
        lambda: pn.repeat(pn.tanh(), 0),
        ValueError,
        "repeat: expected n of at least 1, got 0",
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
}
