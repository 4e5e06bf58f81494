"""The reference networks, for tests and benchmarks with the extra "parity"."""
