"""The device that networks run on, by name."""

import jax

from avemo_jax.prediction.networks import device_text


def use_device(name: str) -> str:
    """Let JAX run on a device, and say on which it does, in words.

    Args:
        name: "auto" for what JAX takes, "cpu", "gpu", "tpu"; "gpu:1" for one of
            several.

    Raises:
        ValueError: If there is no such device, or JAX runs on another one already.
    """
    platform, _, index = name.partition(":")
    if platform == "auto":
        return f"{device_text()}, chosen by itself"
    if platform == "cpu":
        jax.config.update("jax_platforms", "cpu")
    elif index and platform == "gpu":
        jax.config.update("jax_cuda_visible_devices", index)
    try:
        there = jax.default_backend()
    except RuntimeError as error:
        raise ValueError(_missing(name, str(error).splitlines()[0][:200])) from error
    if there != platform:
        raise ValueError(_missing(name, f"JAX runs on {there}"))
    if index and platform != "gpu" and int(index) >= jax.local_device_count():
        raise ValueError(
            _missing(name, f"there are {jax.local_device_count()} of the kind")
        )
    return device_text()


def _missing(name: str, why: str) -> str:
    platform = name.partition(":")[0]
    extra = {"gpu": "cuda", "tpu": "tpu"}.get(platform)
    if extra is None:
        return (
            f"--device {name}: {why}; expected it before anything runs: set "
            "JAX_PLATFORMS=cpu for the process"
        )
    return (
        f"--device {name}: no such device here ({why}); expected a {platform.upper()} "
        f"that JAX sees: install avemo-jax[{extra}] and its driver, or take --device "
        "auto"
    )
