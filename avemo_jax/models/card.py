"""What a checkpoint says of itself: ``head.json``, ``joint.json``, ``blend.json``.

Here alone are they read and written. Loads no JAX.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np

from avemo_jax.models.selection import Selection
from avemo_jax.runtime.atomic_files import write_json
from avemo_jax.runtime.json_files import fitted, read_json
from avemo_jax.tasks import TASKS, Task, definition, from_definition, register

SCHEMA = 1
HEAD_FILE, JOINT_FILE, BLEND_FILE = "head.json", "joint.json", "blend.json"
UNKNOWN: Literal["unknown"] = "unknown"
_C = TypeVar("_C", bound="Evaluated")
# Names, or "unknown" where nothing may be chosen on dev.
Videos = tuple[str, ...] | Literal["unknown"]


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, or of another shape than expected."""


@dataclasses.dataclass(frozen=True)
class CardFeatures:
    """A feature set that a head takes.

    Attributes:
        name: Full name, ``EXTRACTOR@INPUT``.
        kind: "visual" or "audio".
        dim: Features of a frame.
        fingerprint: What the features were made by; "unknown" for converted heads.
    """

    name: str
    kind: str
    dim: int
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class CardData:
    """The store that a head was trained on.

    Attributes:
        name: "demo", or the store's path.
        synthetic: Whether the data are made and not recorded.
        fingerprint: What the store was made of.
    """

    name: str
    synthetic: bool
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class Provenance:
    """The published file that a head was converted from.

    Attributes:
        source: Name of the file.
        source_sha256: Its sha256.
        source_git_blob: Its hash as git has it.
        known_source: Whether the file is one that was published.
        source_url: Where it was published; None: unknown.
        licence: The licence of the weights.
    """

    source: str
    source_sha256: str
    source_git_blob: str
    known_source: bool
    source_url: str | None
    licence: str


@dataclasses.dataclass(frozen=True)
class BlendFiles:
    """The files of predictions that are heads of a blend.

    Attributes:
        trained_on: Videos that the models behind the files were trained on.
        sha256: Digest of each file, by its path.
    """

    trained_on: Videos
    sha256: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What an evaluation keeps in a card; all None before it.

    Attributes:
        selection: What was chosen for the post-processing.
        best_seed: The seed that is best on dev.
        scores: ``metrics`` of results.json; None where the split has no labels.
    """

    selection: Selection | None = None
    best_seed: int | None = None
    scores: Mapping[str, Any] | None = None

    remedy: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """The content of the file; what may be missing and is None is left out."""
        stored: dict[str, Any] = {"schema": SCHEMA}
        evaluated = {field.name for field in dataclasses.fields(Evaluated)}
        for field in sorted(
            dataclasses.fields(self), key=lambda f: f.name in evaluated
        ):
            value = getattr(self, field.name)
            kept = field.name in evaluated and self.selection is not None
            if value is not None or field.default is not None or kept:
                stored[field.name] = _plain(value)
        return stored


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card(Evaluated):
    """What a head checkpoint says of itself, or the heads of joint tasks say in common.

    Attributes:
        task: Name of the task, or of several joined by "+".
        head: The options that make the head (``HeadSpec.to_dict``).
        features: The feature sets that it takes, in the order of the columns.
        data: The store that it was trained on.
        protocol: "ours" or "original".
        inputs: "features", or "outputs" of the extractors.
        missing_audio: What becomes of frames without sound (``config.data``).
        windows: How windows of a sequence are joined (``config.evaluate``).
        evaluation_batch_size: Frames at once when rows are scored.
        train_on: The split that it was trained on, or "unknown".
        training_videos: The videos that it was trained on.
        dev_videos: The videos by which epochs were chosen; none where there is no dev.
        class_counts: Training frames of each class; None: other tasks, or unknown.
        counts: Counts of videos and frames, by split.
        config: The configuration of the training; of a converted head only what
            evaluation needs.
        version: The version of this package.
        own_task: The definition of a user's own task; None: an official one.
        candidates: Where the seeds are among all that were trained: begin and end.
        seeds: The seeds, in the order of the variables.
        setting: What was swept, as it was chosen.
        sweep: Every swept setting with its scores on dev.
        best_epochs: The epoch of each seed; None: unknown.
        dev_scores: The criterion of each seed on dev; None where there is no dev.
        trained_with: The joint task that it was trained in; None: it was trained alone.
        provenance: What the head was converted from; None: it was trained here.
        sha256: Digest of each leaf of the variables; None in ``joint.json``.
    """

    task: str
    head: Mapping[str, Any]
    features: tuple[CardFeatures, ...]
    data: CardData
    protocol: str
    inputs: str
    missing_audio: str
    windows: str
    evaluation_batch_size: int
    train_on: str
    training_videos: Videos
    dev_videos: tuple[str, ...]
    class_counts: tuple[int, ...] | None
    counts: Mapping[str, Mapping[str, int]]
    config: Mapping[str, Any]
    version: str
    own_task: Mapping[str, Any] | None = None
    candidates: tuple[int, int]
    seeds: tuple[int, ...]
    setting: Mapping[str, float]
    sweep: tuple[Mapping[str, float], ...]
    best_epochs: tuple[int | None, ...]
    dev_scores: tuple[float, ...] | None
    trained_with: str | None = None
    provenance: Provenance | None = None
    sha256: Mapping[str, str] | None = None

    remedy: ClassVar[str] = (
        "read it with the version that wrote it, or train or convert the head anew"
    )

    @property
    def fingerprint(self) -> str:
        """Sha256 (hex) of the variables and the task: another head has another one."""
        return combined([self.task, *map(str, sorted((self.sha256 or {}).items()))])


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlendCard(Evaluated):
    """What a blend says of itself.

    Attributes:
        head_paths: Paths of its heads, from its own folder or whole.
        predictions: Which of the heads are files of predictions; None: there are none.
        config: The configuration of the post-processing; None: the first head's.
    """

    head_paths: tuple[str, ...]
    predictions: BlendFiles | None = None
    config: Mapping[str, Any] | None = None

    remedy: ClassVar[str] = "blend anew"


def read_card(path: pathlib.Path) -> Card:
    """The card of one head; registers its task if that is one's own.

    Args:
        path: The folder of a head checkpoint, or the file.

    Raises:
        CheckpointError: If there is no card, or it is damaged.
    """
    file = path / HEAD_FILE if path.is_dir() else path
    if not file.is_file():
        why = "it has no head.json" if path.exists() else "it is not there"
        hint = ""
        if (path / "best_model" / HEAD_FILE).is_file():
            hint = f", here {path / 'best_model'}"
        raise CheckpointError(
            f"{path} is no head checkpoint: {why}; expected one: name a "
            f"best_model/ folder that training wrote{hint}"
        )
    card = read_as(Card, file)
    if card.own_task is not None:
        register(from_definition(card.own_task))
    return card


def read_as(kind: type[_C], path: pathlib.Path) -> _C:
    """The card in a file.

    Args:
        kind: Which card it is to be: ``Card`` or ``BlendCard``.
        path: The file.

    Raises:
        CheckpointError: If the file is no JSON, is of another schema, lacks a key or
            has one too many, or a value is of another kind.
    """
    stored = read_json(path, dict, remedy=kind.remedy, error=CheckpointError)
    schema = stored.pop("schema", None)
    if schema != SCHEMA:
        raise CheckpointError(
            f"{path}: schema {schema!r}; expected {SCHEMA}, which this version reads: "
            f"{kind.remedy}"
        )
    try:
        found: _C = fitted(kind, stored)
        return found
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}: {kind.remedy}") from error


def write_card(path: pathlib.Path, card: Evaluated) -> None:
    """Writes a card as JSON, whole or not at all."""
    write_json(path, card.to_dict())


def combined(texts: Iterable[str]) -> str:
    """Sha256 (hex) of texts in their order."""
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()


def own_definition(task: Task) -> dict[str, Any] | None:
    """The definition of a user's own task; None for others.

    By it the head can be used without the store.
    """
    if task.name in TASKS or task.kind == "joint":
        return None
    return definition(task)


def class_counts(task: Task, labels: Any, valid: Any) -> tuple[int, ...] | None:
    """Frames of each class; None for tasks without classes.

    Args:
        task: The task of the labels.
        labels: Labels of all frames.
        valid: True where a label counts.
    """
    if task.kind != "multiclass":
        return None
    return tuple(np.bincount(labels[valid], minlength=task.num_outputs).tolist())


# --- Values of JSON ------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """A value of a card in the form that JSON keeps."""
    if isinstance(value, Selection):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value
