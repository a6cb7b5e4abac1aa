"""What importing costs and changes, that public names are there, and that annotations tell the truth."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

import purenet as pn

ROOT = Path(__file__).parent.parent


def run_python(code: str, *options: str, **environment: str) -> str:
    """What a program prints in a process of its own, started in the checkout."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    command = [sys.executable, *options, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=inherited | environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_changes_no_configuration_and_loads_nothing_heavy() -> None:
    out = run_python(
        "import jax, optax, sys\n"
        "before = dict(jax.config.values)\n"
        "import purenet\n"
        "assert dict(jax.config.values) == before\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & "
        "{'matplotlib', 'sklearn', 'tqdm', 'safetensors', 'orbax', 'beartype'}))"
    )
    assert out.strip() == "[]"


def test_importing_loads_the_contract_and_nothing_else() -> None:
    """A fraction of the 60 ms that it may cost beside jax and optax: all layers would be 100."""
    out = run_python(
        "import jax, optax, sys\n"
        "before = set(sys.modules)\n"
        "import purenet\n"
        "print(sorted(name for name in set(sys.modules) - before if name.startswith('purenet.')))\n"
        "print(len(set(sys.modules) - before))"
    )
    loaded, number = out.splitlines()
    assert "purenet.layer'" in loaded
    assert not re.search(r"purenet\.(layers|combine|losses|checking|models|train)\b", loaded), loaded
    assert int(number) < 20, number


def test_importing_starts_no_backend() -> None:
    out = run_python(
        "import purenet\ndir(purenet)\nfrom jax._src import xla_bridge\nprint(xla_bridge.backends_are_initialized())"
    )
    assert out.strip() == "False"


def test_a_checkout_that_is_not_installed_is_imported(tmp_path: Path) -> None:
    """Beside everything else that is installed: its site-packages without purenet."""
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "purenet" not in entry.name.lower() and entry.suffix != ".pth":
            (tmp_path / entry.name).symlink_to(entry)
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    out = run_python("import purenet; print(purenet.__version__, purenet.dense(3).name)", "-S", PYTHONPATH=path)
    assert out.split() == ["0+unknown", "dense"]


def test_every_public_name_is_there_and_typed() -> None:
    """None is a module by mistake: a submodule of a name would hide the function once it is loaded."""
    names = [name for name in dir(pn) if not name.startswith("_")]
    assert {"dense", "serial", "check", "plan", "summary", "Layer", "LayerError", "losses", "train"} <= set(names)
    modules = {name for name in names if isinstance(getattr(pn, name), ModuleType)}
    assert modules == {"checking", "combine", "data", "files", "layers", "losses", "models", "train"}
    assert (Path(pn.__file__).parent / "py.typed").is_file()
    assert pn.__version__ == version("purenet")


@pytest.mark.parametrize(
    "code",
    [
        "from purenet import *; Layer, dense, check, losses.hinge",
        "import purenet as pn; pn.losses.hinge, pn.layers.dense, pn.train.fit, pn.models.gpt, pn.data.split",
        "import purenet.planning; from purenet.layers.dense import dense_forward\n"
        "from purenet import dense, plan; plan.__call__, dense(3)",
    ],
)
def test_names_are_found_in_a_fresh_process(code: str) -> None:
    run_python(code)


def test_a_misspelt_name_is_said() -> None:
    with pytest.raises(AttributeError, match="module 'purenet' has no attribute 'dnse'"):
        pn.dnse  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.complete
def test_annotations_hold_at_run_time() -> None:
    """Every row of the table forward and backward with jaxtyping's annotations enforced by beartype."""
    out = run_python(
        "import jax, jax.numpy as jnp\n"
        "from jaxtyping import install_import_hook\n"
        "hook = install_import_hook('purenet', 'beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))')\n"
        "from purenet.catalogue import catalogue, input_of\n"
        "from purenet.layer import run_backward\n"
        "def run(row):\n"
        "    x = jax.tree.map(jnp.asarray, input_of(row))\n"
        "    params, state = row.layer.init(jax.random.key(1), x)\n"
        "    y, _, residuals = row.layer.forward(params, state, x, jax.random.key(2))\n"
        "    return run_backward(row.layer, params, x, y, residuals, jax.tree.map(jnp.ones_like, y))\n"
        "rows = catalogue()\n"
        "for row in rows:\n"
        "    jax.eval_shape(lambda: run(row))\n"
        "print(len(rows), 'rows')"
    )
    assert out.strip().endswith("rows")
