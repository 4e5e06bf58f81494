"""Where made and derived files are kept between runs."""

import os
import pathlib

import platformdirs


def cache_dir() -> pathlib.Path:
    """``AVEMO_CACHE`` where it is set, else the user's cache directory."""
    default = platformdirs.user_cache_dir("avemo_jax")
    return pathlib.Path(os.environ.get("AVEMO_CACHE") or default)
