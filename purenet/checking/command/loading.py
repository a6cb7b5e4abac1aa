"""From `module:name` to what stands there: a module of the caller's, imported, and the name in it."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
from types import ModuleType
from typing import Any

from ...layer import Layer
from ..check import check
from .forms import Job, has_rule, is_pair, jobs_in, required
from .usage import UsageError, sentence

MISSING = object()


def load(target: str) -> list[Job]:
    """A job for each target that `module:name` stands for; `module:name[key]` is one row of a list or dict."""
    module_name, _, name = target.partition(":")
    name, bracket, _ = name.partition("[")
    if not module_name or not name:
        raise UsageError(f"expected module:name, got {target!r}")
    found = jobs_in(f"{module_name}:{name}", value_of(import_module(module_name), name))
    jobs = chosen(found, target) if bracket else found
    return [Job(name, with_known_names(name, arguments) | {"verbose": False}) for name, arguments in jobs]


def chosen(jobs: list[Job], target: str) -> list[Job]:
    """The rows that module:name[key] stands for."""
    rows = [job for job in jobs if job.name == target or job.name.startswith(f"{target}[")]
    if not rows:
        raise UsageError(f"there is no {target}: expected one of {', '.join(job.name for job in jobs)}")
    return rows


def with_known_names(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(map(str, set(arguments) - set(inspect.signature(check).parameters)))
    if unknown:
        raise UsageError(f"{name} gives {', '.join(map(repr, unknown))}, which purenet.check does not take")
    return arguments


def import_module(name: str) -> ModuleType:
    """Import a module, from the current directory too."""
    if name.endswith(".py") or "/" in name or os.sep in name:
        raise UsageError(f"expected the name of a module, such as package.module, got the file {name!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise UsageError(f"importing {name} failed: {sentence(error)}") from error
        raise UsageError(f"no module named {error.name!r} in {os.getcwd()} or where Python looks") from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"importing {name} failed: {sentence(error)}") from error


def value_of(module: ModuleType, name: str) -> Any:
    """What the name stands for. Twins go before a plain function, which may be one of them."""
    found, both = getattr(module, name, MISSING), twins(module, name)
    if is_pair(both) and (found is MISSING or is_plain(found)):
        return both
    if found is MISSING:
        raise UsageError(no_such_name(module, name))
    return found


def is_plain(found: Any) -> bool:
    """Whether a value is no target by itself, as far as can be seen."""
    if isinstance(found, (Layer, dict, list, tuple)) or has_rule(found):
        return False
    return not callable(found) or required(found)


def twins(module: ModuleType, name: str) -> tuple[Any, Any]:
    """name_forward and name_backward; either of them may be the name that was given."""
    stem = name.removesuffix("_forward").removesuffix("_backward")
    return getattr(module, f"{stem}_forward", None), getattr(module, f"{stem}_backward", None)


def no_such_name(module: ModuleType, name: str) -> str:
    names = {public.removesuffix("_forward").removesuffix("_backward") for public in vars(module)}
    close = difflib.get_close_matches(name, sorted(names), 1)
    hint = f": did you mean {close[0]}?" if close else ""
    return f"{module.__name__} has no {name!r} and no twins {name}_forward and {name}_backward{hint}"
