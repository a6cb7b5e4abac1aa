"""Strict JAX for every test: no silent broadcasting, no silent promotion, typed keys used once, warnings are errors.

Tests that share compiled programs run in one process: those of one row of the table, else those of one file.
Most of a test's time is compiling programs that run once, so machine code is compiled in a hurry; XLA's own passes,
which decide about numbers and memory, are all there.
"""

import os
from typing import Any

HURRY = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {HURRY}"

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_legacy_prng_key", "error")
jax.config.update("jax_debug_key_reuse", True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bytes", action="store_true", help="print the table of bytes that test_properties.py compares")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if not config.getoption("--bytes"):
        return
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    rows = {report.nodeid: dict(report.user_properties)["bytes"] for report in reports if report.user_properties}
    write = terminalreporter.write_line
    write(f"{'bytes: temporary, by hand and by jax.vjp; kept between forward and backward':>76}")
    for name, numbers in sorted(rows.items()):
        write(f"{name.split('[')[1][:-1]:34}" + "".join(f"{number:14,}" for number in numbers))
