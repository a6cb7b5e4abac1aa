"""What importing costs and changes, that public names are there, and that annotations tell the truth."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import purenet as pn

ROOT = Path(__file__).parent.parent


def run_python(code: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT)
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


def test_importing_starts_no_backend() -> None:
    out = run_python("import purenet\nfrom jax._src import xla_bridge\nprint(xla_bridge.backends_are_initialized())")
    assert out.strip() == "False"


def test_every_public_name_is_there_and_typed() -> None:
    assert all(hasattr(pn, name) for name in pn.__all__)
    assert sorted(pn.__all__) == pn.__all__
    assert (Path(pn.__file__).parent / "py.typed").is_file()


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
