"""head_objective: the objective of a network whose loss has the parameters of its last layer.

y = head(params_head, (body(params_body, inputs), targets))

The parameters are {"body": ..., "head": ...}, those of `serial(body=body, head=dense(vocabulary))` for the head
`linear_cross_entropy(vocabulary)`: what is trained here gives logits there, to generate from.
"""

from __future__ import annotations

import jax

from ..annotations import PyTree
from ..barrier import after
from ..constructor import constructor
from ..errors import layer_scope
from ..layer import Key, Kind, Layer, Params, Residuals, State, Value, run_backward
from ..planning import DROPPED, KEPT, RECOMPUTED
from ..randomness import split_key
from ..validation import check_cotangent, check_scalar, pair, spec
from .named import name_layers

HEAD_OBJECTIVE = Kind("head_objective", passes_gradients=True, has_params=False)


@constructor
def head_objective(body: Layer, head: Layer) -> Layer:
    """The layer whose output is the loss of `body` under `head`; x is the pair (inputs, targets).

    `head` is a layer with or without parameters from the pair (hidden, targets) to a number, such as
    `losses.linear_cross_entropy(vocabulary)`. Parameters and state are those of `serial(body=body, head=...)`.
    What the body hands to the head is kept if one of them reads it in its backward and the body cannot recompute it.
    """
    chain = name_layers("head_objective", (), {"body": body, "head": head})
    recomputed = body.recompute is not None and "y" not in body.needs and "x" in head.needs
    kept = ("y" in body.needs or "x" in head.needs) and not recomputed

    def init(key: Key, x: PyTree) -> tuple[Params, State]:
        inputs, targets = pair(x)
        keys = split_key(key, 2)
        with layer_scope(chain.step(0)):
            params, state = body.init(keys[0], inputs)
            hidden = jax.eval_shape(body.predict, params, state, inputs)
        with layer_scope(chain.step(1)):
            head_params, head_state = head.init(keys[1], (hidden, targets))
        return chain.pack([params, head_params]), chain.pack_state([state, head_state])

    def forward(params: Params, state: State, x: PyTree, key: Key) -> tuple[PyTree, State, Residuals]:
        inputs, targets = pair(x)
        params, states, keys = chain.unpack(params), chain.unpack_state(state), split_key(key, 2)
        with layer_scope(chain.step(0)):
            hidden, state, body_extra = body.forward(params[0], states[0], inputs, keys[0])
        with layer_scope(chain.step(1)):
            y, head_state, head_extra = head.forward(params[1], states[1], (hidden, targets), keys[1])
            check_scalar(y, head.name)
        extras = body_extra, head_extra, hidden if kept else None, spec(hidden)
        return y, chain.pack_state([state, head_state]), extras

    def backward(params: Params, x: PyTree, y: PyTree, residuals: Residuals, dy: PyTree) -> tuple[Params, PyTree]:
        inputs, targets = x
        params = chain.unpack(params)
        body_extra, head_extra, hidden, hidden_spec = residuals
        if recomputed:
            assert body.recompute is not None
            dy, (inputs_again, extra) = after(dy, (inputs, body_extra))
            with layer_scope(chain.step(0)):
                hidden = body.recompute(params[0], inputs_again, extra)
        # y = head(hidden, targets)
        with layer_scope(chain.step(1)):
            dhead, (dhidden, dtargets) = run_backward(head, params[1], (hidden, targets), y, head_extra, dy)
            check_cotangent(dhidden, hidden_spec)
        # hidden = body(inputs)
        with layer_scope(chain.step(0)):
            dbody, dinputs = run_backward(body, params[0], inputs, hidden, body_extra, dhidden)
        return chain.pack([dbody, dhead]), (dinputs, dtargets)

    def predict(params: Params, state: State, x: PyTree) -> PyTree:
        inputs, targets = pair(x)
        params, states = chain.unpack(params), chain.unpack_state(state)
        with layer_scope(chain.step(0)):
            hidden = body.predict(params[0], states[0], inputs)
        with layer_scope(chain.step(1)):
            return head.predict(params[1], states[1], (hidden, targets))

    reads = [f"{head.name} reads its input"] * ("x" in head.needs)
    reads += [f"{body.name} reads its output"] * ("y" in body.needs)
    why = "; ".join(reads + [f"{body.name} recomputes it"] * recomputed) or "nothing reads it"
    return Layer(
        init=init,
        forward=forward,
        backward=backward,
        predict=predict,
        needs=("x", "y") if "y" in head.needs else ("x",),
        name="head_objective",
        kind=HEAD_OBJECTIVE,
        parts=chain.parts,
        plan=(Value(".body -> .head", KEPT if kept else RECOMPUTED if recomputed else DROPPED, why),),
        with_parts=lambda parts: head_objective(*parts),
    )
