"""purenet: pure functions for neural networks in JAX, every backward pass written by hand.

Layers, networks and objectives are `Layer`s: pure functions over plain pytrees. The backward stands next to its
forward in `purenet.layers` and `purenet.losses`, combinators plan what is kept between the two, `check` compares
with jax.grad, and `purenet.train` runs whole epochs as one compiled program.

`import purenet` loads the contract; what stands in a package loads when one of its names is first used. All names of
combine, layers and checking are names of purenet, so that a layer is exported by one line, in layers/__init__.py.
"""

from __future__ import annotations

import importlib as _importlib
import sys as _sys
import typing as _typing
from types import ModuleType as _ModuleType

from .constructor import constructor as constructor
from .errors import LayerError as LayerError, LayerTypeError as LayerTypeError, LayerValueError as LayerValueError
from .functions import as_function as as_function, from_function as from_function
from .layer import Kind as Kind, Layer as Layer
from .objective import objective as objective, value_and_grad as value_and_grad
from .stateless import stateless as stateless

_MODULES = ("checking", "combine", "data", "files", "layers", "losses", "models", "train")
_PACKAGES = ("combine", "layers", "checking")  # in the order in which a name is looked for
_MODULE_OF = {
    "clipped_value_and_grad": "per_example_gradients",
    "decoding": "reading",
    "per_example_norms": "per_example_gradients",
    "plan": "planning",
    "summary": "summarize",
}

if _typing.TYPE_CHECKING:
    from . import (
        checking as checking,
        combine as combine,
        data as data,
        files as files,
        layers as layers,
        losses as losses,
        models as models,
        train as train,
    )
    from .checking import *
    from .combine import *
    from .layers import *
    from .per_example_gradients import (
        clipped_value_and_grad as clipped_value_and_grad,
        per_example_norms as per_example_norms,
    )
    from .planning import plan as plan
    from .reading import decoding as decoding
    from .summarize import summary as summary

    __version__: str
else:

    def __getattr__(name):
        """Found once: it then stands in the module like any other name."""
        if name == "__all__":
            return __dir__()
        if name in _MODULES:
            return _load(name)
        value = _version() if name == "__version__" else _exported(name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    modules = (_sys.modules[__name__], *map(_load, _PACKAGES))
    return sorted({*_MODULES, *_MODULE_OF, *(name for module in modules for name in _public(module))})


def _exported(name: str) -> object:
    if name in _MODULE_OF:
        return getattr(_load(_MODULE_OF[name]), name)
    for package in () if name.startswith("_") else _PACKAGES:
        names = _public(_load(package))
        if name in names:
            return names[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _load(module: str) -> _ModuleType:
    return _importlib.import_module(f".{module}", __name__)


def _public(module: _ModuleType) -> dict[str, object]:
    """What a module exports: not its submodules, which importing them leaves there."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, _ModuleType)
    }


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("purenet")
    except PackageNotFoundError:  # a checkout that is not installed
        return "0+unknown"
