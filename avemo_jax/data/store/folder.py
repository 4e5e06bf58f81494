"""The folder of a store while it is built: locked, cleared, its configs replaced."""

import contextlib
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

from absl import logging

from avemo_jax.data.store import layout
from avemo_jax.runtime import locks


def checked_folder(root: pathlib.Path) -> pathlib.Path:
    """``root``, if a store may lie in it.

    Raises:
        ValueError: If ``root`` is a file, or the folder inside of a store.
    """
    if root.exists() and not root.is_dir():
        raise ValueError(
            f"{root} is a file; expected the folder of a store: choose another path"
        )
    above = root.absolute().parent
    inside = above / layout.DATASET / layout.ANNOTATIONS / layout.STORE_VERSION
    if root.name == layout.DATASET and inside.is_dir():
        raise ValueError(
            f"{root} is the inside of a store; expected the folder that was given when "
            f"it was built: give {above}"
        )
    return root


def locked(
    root: pathlib.Path, *, shared: bool = False
) -> contextlib.AbstractContextManager[None]:
    """A context that holds ``root`` for one build, until the process ends.

    Args:
        root: The folder.
        shared: Share the folder with others that share it, such as the parts of one
            job.

    Raises:
        HeldError: If another process holds the folder, on entering.
        OSError: If the folder cannot be written, on entering.
    """
    lock = locks.shared if shared else locks.held
    return lock(root / ".build.lock", what=f"the folder {root}")


def remove_incomplete(root: pathlib.Path) -> None:
    """Remove incomplete folders that killed builds left."""
    pattern = f"{layout.DATASET}/*/{layout.INCOMPLETE_PREFIX}*"
    for folder in sorted(root.glob(pattern)):
        logging.warning("removing what an earlier build left incomplete: %s", folder)
        # Renamed first: a worker that outlives its build no longer finds the folder.
        aside = tempfile.mkdtemp(prefix=layout.INCOMPLETE_PREFIX, dir=folder.parent)
        shutil.rmtree(folder.rename(pathlib.Path(aside) / "removed").parent)


@contextlib.contextmanager
def replacing(folder: pathlib.Path) -> Iterator[None]:
    """Move ``folder`` aside while it is replaced, and back if that fails.

    The folder that was moved has the name of an incomplete one, so a killed build
    leaves neither the old folder nor the new.
    """
    old = folder.with_name(f"{layout.INCOMPLETE_PREFIX}OLD_{folder.name}")
    if not folder.exists():
        yield
        return
    folder.rename(old)
    try:
        yield
    except BaseException:
        if not folder.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old)
