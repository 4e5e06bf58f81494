"""How XLA compiles in the tests."""

# Poor machine code, made in a fifth of the time: small networks run for milliseconds,
# and compiling them well takes seconds.
QUICK_CODE = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1"
)
