"""How tests compile: most of their time goes into programs that run once, so machine code is made in a hurry.

XLA's passes over whole programs are all there. Only, the older of its two ways to write the code of fused loops takes
a third of the time, and fuses a little differently: bytes are counted with the one that users get (cost.py), and so
is noise, which is float32 in every dtype, drawn (test_properties.py).
"""

from importlib.metadata import version

FLAGS = ["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"]
AS_FOR_USERS: dict[str, str | bool] = {}
if version("jaxlib").startswith("0.10."):  # jax 0.12 has only the newer way, and XLA aborts at flags it does not know
    FLAGS.append("--xla_cpu_use_fusion_emitters=false")
    AS_FOR_USERS["xla_cpu_use_fusion_emitters"] = True
