"""The directory of files that are kept between runs and can be made again."""

import os
import pathlib

import platformdirs


def cache_dir() -> pathlib.Path:
    """The folder that ``AVEMO_CACHE`` names, else one in the user's cache directory."""
    default = platformdirs.user_cache_dir("avemo_jax")
    return pathlib.Path(os.environ.get("AVEMO_CACHE") or default)
