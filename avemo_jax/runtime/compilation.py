"""Compiled programs, kept between runs."""

import hashlib
import os
import pathlib
import platform as host
from typing import Any

import jax
import jaxlib
from absl import logging
from jax.experimental.compilation_cache import compilation_cache

from avemo_jax.runtime.cache import cache_dir

# XLA's default width is 256 bits. With 512, where the CPU has them, a small training
# step takes a tenth less time and EfficientNet a seventh less; else nothing changes.
_CPU_OPTIONS: dict[str, str | bool | int] = {"xla_cpu_prefer_vector_width": 512}


def compiler_options(platform: str | None = None) -> dict[str, Any] | None:
    """Options of XLA for compiling a program; None: there are none.

    Args:
        platform: Platform to compile for; None: that of this process's devices.
    """
    platform = platform or jax.local_devices()[0].platform
    return dict(_CPU_OPTIONS) if platform == "cpu" else None


def keep_compiled(where: str | os.PathLike[str] = "on") -> str | None:
    """Lets JAX keep what it compiles, and find it in the next process.

    Processes may share a folder, also those of several hosts: in a distributed program
    JAX lets only the first process write. An entry that cannot be read (half written
    by a process that was killed) costs a warning, and the program is compiled anew. On
    CPUs, JAX names a distributed program's entries by process, so that only the first
    process finds any.

    This replaces JAX's own settings, and may be called again in one process.

    Args:
        where: "on": in ``xla`` of the cache directory; if that cannot be written,
            nowhere, with a warning. "off": nothing is kept and nothing is found. Else
            a folder, local or of a bucket (``gs://``, with the extra ``gcs``).

    Returns:
        The folder of this machine's programs; None: nothing is kept.

    Raises:
        ValueError: If a folder is named and cannot be written.
    """
    text = os.fspath(where)
    folder: str | None = None
    if text == "on":
        folder = _local(cache_dir() / "xla")
        if folder is None:
            logging.warning(
                "%s cannot be written: compiled programs are not kept; set AVEMO_CACHE "
                "or --compilation-cache to another folder, or the latter to off",
                cache_dir() / "xla",
            )
    elif "://" in text:
        folder = f"{text.rstrip('/')}/{_machine()}"
    elif text != "off":
        folder = _local(pathlib.Path(text).expanduser())
        if folder is None:
            raise ValueError(
                f"compilation cache {text!r} cannot be written; expected on, off or a "
                "folder: correct --compilation-cache"
            )
    jax.config.update("jax_enable_compilation_cache", folder is not None)
    jax.config.update("jax_compilation_cache_dir", folder)
    # Small programs are kept too: a run has dozens, which take seconds together.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    # JAX reads these settings when it first compiles, and not again.
    compilation_cache.reset_cache()
    return folder


def _local(directory: pathlib.Path) -> str | None:
    """This machine's folder in ``directory``, made; None if it cannot be written."""
    folder = (directory / _machine()).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return str(folder) if os.access(folder, os.W_OK) else None


def _machine() -> str:
    """A name of jaxlib's version and the CPU's instruction set, which programs fit."""
    cpu = host.machine()
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text("utf-8").splitlines()
        cpu += next((line for line in lines if line.startswith("flags")), "")
    digest = hashlib.sha256(cpu.encode()).hexdigest()[:8]
    return f"{jaxlib.__version__}-{digest}"
