"""The weights that a model needs: which are missing, and fetching them on first use."""

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

from avemo_jax.convert.fetch import fetch_head, fetch_network, head_path
from avemo_jax.convert.heads import is_head_checkpoint
from avemo_jax.convert.published_networks import HEAD_MB, NETWORKS, SIZES_MB
from avemo_jax.convert.rules import ConversionError
from avemo_jax.convert.torch_file import TorchFileError
from avemo_jax.convert.transfer import DownloadError, NoNetworkError, Patience
from avemo_jax.embed.weights import WeightsError, default_weights_path, weights_dir
from avemo_jax.extractors import EXTRACTORS
from avemo_jax.extractors.published import THESIS_HEADS, THESIS_LICENCE
from avemo_jax.prediction.model_table import PUBLISHED
from avemo_jax.runtime import locks
from avemo_jax.runtime.errors import text_of

OFFLINE = "AVEMO_OFFLINE"  # in the environment; 1: nothing is fetched
_PATIENCE = Patience(reaching=1)  # whoever has no network is told at once
_HEADS = {head.name: head for head in THESIS_HEADS}


def missing_weights(names: Iterable[str], *, sound: bool = True) -> tuple[str, ...]:
    """Names of the weights that are not in the cache directory, each once.

    Args:
        names: Names of networks, of the original's heads, and of published models,
            which stand for all weights that they need but the face detector's.
            Networks of other packages are left out, for nobody here could fetch them.
        sound: Whether sound is used; else its networks are left out, and published
            heads that hear, where others stand in their place.
    """
    wanted = [
        part
        for name in names
        for part in (
            PUBLISHED[name].weights(sound=sound) if name in PUBLISHED else (name,)
        )
    ]
    return tuple(
        name
        for name in dict.fromkeys(wanted)
        if (sound or not _hears(name)) and not _is_there(name)
    )


def download_mb(names: Iterable[str]) -> int:
    """Megabytes of what is downloaded for weights with these names, about."""
    return sum(SIZES_MB.get(name, HEAD_MB) for name in names)


def fetch_missing(
    names: Iterable[str],
    *,
    sound: bool = True,
    offline: bool = False,
    show_progress: bool = True,
    say: Callable[[str], None] | None = None,
) -> tuple[str, ...]:
    """Fetches the weights that are missing, and returns their names.

    Of several processes that miss them at the same time one fetches, and the others
    wait for it.

    Args:
        names: Names of weights, which :func:`missing_weights` explains.
        sound: Whether sound is used, which :func:`missing_weights` explains.
        offline: Whether nothing may be fetched; ``AVEMO_OFFLINE=1`` in the environment
            says the same.
        show_progress: Whether progress bars are drawn.
        say: Called with lines on what is fetched and its licence; None: they are
            written to standard error.

    Raises:
        WeightsError: If weights are missing and may not or cannot be fetched; one line
            that names the command which fetches them.
    """
    tell = say or _to_stderr
    missing = missing_weights(names, sound=sound)
    if not missing:
        return ()
    if offline or os.environ.get(OFFLINE, "0") not in ("", "0"):
        why = "--offline" if offline else f"{OFFLINE}={os.environ[OFFLINE]}"
        raise WeightsError(
            f"{_not_there(missing)}, and {why} lets nothing be fetched; "
            f"{_remedy(missing)}"
        )
    try:
        weights_dir().mkdir(parents=True, exist_ok=True)
        with locks.held(
            weights_dir() / "first_use.lock", what=f"{weights_dir()}", wait=True
        ):
            left = missing_weights(missing)
            if left:
                tell(
                    f"fetching once, about {download_mb(left)} MB, to {weights_dir()}: "
                    f"{', '.join(left)}"
                )
            told = ""
            for name in left:
                _fetch(name, show_progress=show_progress)
                licence = _licence(name)
                tell(
                    f"{name}: ready"
                    + ("" if licence == told else f", licence: {licence}")
                )
                told = licence
    except NoNetworkError as error:
        raise WeightsError(
            f"{_not_there(missing_weights(missing))}, and no network is reached "
            f"({str(error).partition('. Try again')[0]}); "
            f"{_remedy(missing_weights(missing))}"
        ) from error
    except DownloadError as error:
        raise WeightsError(str(error)) from error
    except OSError as error:
        raise WeightsError(
            f"{_not_there(missing)}, and the cache directory cannot be written: "
            f"{text_of(error)}; or set AVEMO_CACHE to a folder of your own"
        ) from error
    return missing


def _fetch(name: str, *, show_progress: bool) -> None:
    how: Any = {"show_progress": show_progress, "patience": _PATIENCE}
    try:
        if name in NETWORKS:
            fetch_network(NETWORKS[name], **how)
        else:
            fetch_head(_HEADS[name], **how)
    except (ConversionError, TorchFileError, WeightsError) as error:
        raise WeightsError(
            f"{name}: {error}; replace what is there by 'avemo fetch {name} "
            "--overwrite'"
        ) from error


def _hears(name: str) -> bool:
    return name in EXTRACTORS and EXTRACTORS[name].kind == "audio"


def _is_there(name: str) -> bool:
    if name in NETWORKS:
        path = default_weights_path(name)
        return not NETWORKS[name].needs_weights or path.is_file()
    return name not in _HEADS or is_head_checkpoint(head_path(_HEADS[name]))


def _licence(name: str) -> str:
    return NETWORKS[name].licence if name in NETWORKS else THESIS_LICENCE


def _not_there(missing: Iterable[str]) -> str:
    missing = tuple(missing)
    return (
        f"weights are missing: {', '.join(missing)} (about {download_mb(missing)} MB)"
    )


def _remedy(missing: Iterable[str]) -> str:
    return (
        f"expected them in {weights_dir()}; with a network, "
        f"run 'avemo fetch {' '.join(missing)}'"
    )


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
