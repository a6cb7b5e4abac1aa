"""What can be checked, as people bring it, and the one form of each.

- A Layer; a network and an objective are layers too.
- A pair of plain functions whose arguments say what is kept, as in `purenet.stateless`:

      forward([params], x) -> y                                 or (y, residuals)
      backward([params], [x], [y], [residuals], dy) -> dx       or (dparams, dx) with params

  `[params]` is there when forward takes two arguments. A backward argument called x or y is that value, any other
  one stands for the residuals where forward returns them, and for x where it does not. A pair that forward returns
  is two outputs only where backward reads nothing but x and y, and both are arrays that forward has made.
- The same with several arguments, x a tuple or dict of them, in the order and under the names of course work:

      forward(x, w, b) -> (out, cache)                          backward(dout, cache) -> (dx, dw, db), or {"dw": ...}

- A function with derivative rules of its own, `f(x)`, `f(params, x)`, `f(*x)` or `f(**x)`: `jax.custom_vjp`,
  `custom_jvp`, `custom_gradient`, `linear_call`, `lax.custom_linear_solve`, `lax.custom_root`, or Equinox's
  `filter_custom_vjp` and `filter_custom_jvp`, at any depth of jit, vmap, checkpoint, partial, methods and loops. It is
  compared with itself without these rules, or with another function given as `reference`.
- A function that returns (loss, gradients), the gradients of its first arguments, or a dict under their names.
- An object with `forward(x)` and `backward(dy) -> dx`, whose gradients are left in `grads` beside `params`, or in
  attributes such as `dW` for `W`.

Of several arguments those are differentiated that `argnums` numbers, else all that hold floating numbers; words,
integers, functions and None stay as they are, and so do keys and integer arrays. Outputs may be integers or booleans
beside the floating ones. A gradient has the containers of what it is the gradient of. It is read as well under `dW`,
`grad_W` or the like for `W`, as one flat vector of all leaves, and in course work with axes of length 1 more or less.

Complex numbers follow JAX: the gradient of a real value by z = a + i b is d/da - i d/db, and dy is pulled back through
w = f(z) as dz = dy f'(z), without conjugates.

Functions may be JAX's, NumPy's, SciPy's, plain Python's or PyTorch's: what JAX cannot trace runs on NumPy's arrays, or
on tensors, and where nothing can be differentiated (a callback, `while_loop`, Pallas, C) differences are the reference.
"""
