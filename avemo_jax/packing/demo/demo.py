"""The demo corpus (synthetic): a small made-up Aff-Wild2, so that all runs at once.

Provenance: nothing in it was recorded. numpy draws 96 "videos" with labels of all
three tasks and features under the names and in the sizes of the real extractors, from
the seed and the numbers in `parameters.py`. The numbers were chosen, with an eye on the
scores, so that the effects listed below can be seen, and the seed so that every
expression is in every labelled split: no score on the corpus is evidence for a method
or says anything of real faces. Whatever is made from it says "demo corpus (synthetic)".

The corpus is made to show, in seconds, what matters on real data:

- Expressions switch like a Markov chain and last 100-600 frames; one frame shows them
  badly, by noise that is partly slow: wide smoothing helps. Action units come and go
  within some 20 frames: narrow smoothing helps, wide hurts. Valence and arousal drift.
- The voice carries arousal, speech and the difference between classes that look alike.
- Some things are seen only over time: of two classes that look alike, one is held and
  the other moves; small movements quicken with arousal; a half-tight muscle counts
  while it tightens, and does not while it relaxes. A head over time can beat one that
  sees single frames.
- Subjects differ, and none is on both sides of a split. Classes are rare as in
  Aff-Wild2 (milder). Crops, labels and sound are missing here and there.
"""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import shutil
import tempfile
import time
from collections.abc import Mapping

from absl import logging

from avemo_jax.data.store import layout, tfds
from avemo_jax.packing.build import build_store
from avemo_jax.packing.demo.corpus import DemoCorpus, demo_videos
from avemo_jax.packing.demo.parameters import PARAMETERS, Parameters
from avemo_jax.runtime import cache
from avemo_jax.runtime.json_files import read_json
from avemo_jax.runtime.progress import progress_bar

DEMO_TITLE = "demo corpus (synthetic)"
# Counts up when the program, not only a parameter, changes what is written.
DEMO_VERSION = 1
_MANIFEST = "demo_files.json"
_SCRATCH = ".demo-"
_LEFTOVER_AGE_S = 24 * 3600.0


def demo_fingerprint(p: Parameters = PARAMETERS) -> str:
    """16 hex digits of everything that the corpus depends on."""
    content = {
        "version": DEMO_VERSION,
        "store": layout.STORE_VERSION,
        "parameters": dataclasses.asdict(p),
        "plan": [dataclasses.asdict(video) for video in demo_videos(p)],
    }
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def demo_store(cache_dir: pathlib.Path | None = None) -> pathlib.Path:
    """A directory for `open_store` with the demo corpus, written once.

    The corpus is written beside its place and renamed, so that no half corpus is ever
    seen; of several processes that write at once, one wins and the others discard
    theirs. A corpus that is there is taken if all its files have their sizes (the
    records have checksums of their own); else it is written anew.

    Args:
        cache_dir: Where the corpus is kept, in a folder of its own. None: the
            environment variable ``AVEMO_CACHE``, or else the user's cache directory.

    Raises:
        OSError: If the cache directory cannot be written to.
        ImportError: If stores cannot be written here.
    """
    tfds.check_installed()
    cache_dir = (cache_dir or cache.cache_dir()).expanduser()
    place = cache_dir / f"demo-v{DEMO_VERSION}-{demo_fingerprint()}"
    if _is_whole(place):
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(place.parent)
    logging.info("writing the %s to %s; this happens once", DEMO_TITLE, place)
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=place.parent) as scratch:
        ours = pathlib.Path(scratch) / "new"
        corpus = DemoCorpus()
        annotations = []
        with progress_bar(len(corpus.videos), "making the labels", "video") as bar:
            for name in corpus.videos:
                annotations.append(corpus.annotations(name))
                bar.update()
        sources = corpus.sources(demo_fingerprint())
        build_store(ours, annotations, sources, synthetic=True)
        (ours / _MANIFEST).write_text(
            json.dumps(_sizes(ours), indent=1) + "\n", "utf-8"
        )
        _put_in_place(ours, place, pathlib.Path(scratch) / "damaged")
    return place


def _sizes(folder: pathlib.Path) -> dict[str, int]:
    """Bytes of each file below ``folder``, without the manifest."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {
        str(p.relative_to(folder).as_posix()): p.stat().st_size
        for p in files
        if p.name != _MANIFEST
    }


def _is_whole(place: pathlib.Path) -> bool:
    """Whether all files are there as they were written, by name and size."""
    manifest = place / _MANIFEST
    if not manifest.is_file():
        return False
    try:
        expected = read_json(manifest, Mapping[str, int], remedy="written anew")
    except ValueError as error:
        logging.info("%s", error)
        return False
    found = _sizes(place)
    return all(found.get(name) == size for name, size in expected.items())


def _put_in_place(ours: pathlib.Path, place: pathlib.Path, aside: pathlib.Path) -> None:
    """Move a whole corpus to ``place``, unless a faster process already did.

    Args:
        ours: The corpus that this process wrote.
        place: Where the corpus belongs.
        aside: Where a damaged corpus that is at ``place`` goes.
    """
    if place.exists() and not _is_whole(place):
        logging.warning("%s is damaged; it is written anew", place)
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            place.rename(aside)
    try:
        ours.rename(place)
    except OSError:
        if not _is_whole(place):
            raise
        shutil.rmtree(ours)


def _remove_leftovers(cache_dir: pathlib.Path) -> None:
    """Remove scratch folders of processes that were killed more than a day ago."""
    for folder in cache_dir.glob(f"{_SCRATCH}*"):
        if time.time() - folder.stat().st_mtime > _LEFTOVER_AGE_S:
            logging.info("removing %s, left by a run that was killed", folder)
            shutil.rmtree(folder, ignore_errors=True)
