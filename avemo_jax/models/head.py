"""A head checkpoint, loaded, and its scores on a split."""

import dataclasses
import pathlib
from collections.abc import Sequence

import jax
import numpy as np
from absl import logging
from jaxtyping import Float

from avemo_jax.batches import sharding
from avemo_jax.batches.row_scores import Predictor
from avemo_jax.batches.tables import Data, Loader
from avemo_jax.data.store.table import FeatureSet, FrameTable
from avemo_jax.heads import Head, HeadSpec, Variables, build_head
from avemo_jax.models import checkpoints
from avemo_jax.models.card import (
    HEAD_FILE,
    UNKNOWN,
    Card,
    CheckpointError,
    Videos,
    read_card,
)
from avemo_jax.tasks import Task, get_task


@dataclasses.dataclass
class TrainedHead:
    """A head checkpoint, loaded.

    Attributes:
        directory: The checkpoint's folder.
        card: What the checkpoint says of itself.
        head: The network.
        variables: Its parameters and statistics, leading axis seeds.
        mesh: Devices that the variables are on.
    """

    directory: pathlib.Path
    card: Card
    head: Head
    variables: Variables
    mesh: jax.sharding.Mesh

    @property
    def task(self) -> Task:
        """The task that the head was trained on."""
        return get_task(self.card.task)

    @property
    def features(self) -> list[str]:
        """Full names of the feature sets that the head takes, in order."""
        return [entry.name for entry in self.card.features]

    @property
    def kind(self) -> str:
        """The kind of the network."""
        return self.head.spec.kind

    @property
    def fingerprint(self) -> str:
        """Digest of what the network is; another head has another one."""
        return self.card.fingerprint

    @property
    def training_videos(self) -> Videos:
        """The videos that the head was trained on."""
        return self.card.training_videos

    @property
    def best_epochs(self) -> Sequence[int | None]:
        """The epoch of each seed; None: unknown."""
        return self.card.best_epochs


def load_trained_head(directory: pathlib.Path) -> TrainedHead:
    """The head checkpoint in ``directory``, on all devices.

    Raises:
        CheckpointError: If ``directory`` is no head checkpoint, or is damaged.
    """
    card = read_card(directory)
    mesh = sharding.make_mesh()
    try:
        head = build_head(HeadSpec.from_dict(card.head))
    except ValueError as error:
        raise CheckpointError(f"{directory / HEAD_FILE}: head: {error}") from error
    params, stats = jax.eval_shape(head.init, jax.random.key(0))
    count = len(card.seeds)
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape), leaf.dtype),
        Variables(params=params, stats=stats),
    )
    variables = checkpoints.load_head(directory, card, like, mesh)
    return TrainedHead(directory, card, head, variables, mesh)


def check_feature_sets(trained: TrainedHead, data: Data) -> None:
    """Refuses a store whose features are not those that the head was trained on.

    A converted head's fingerprints are unknown: names and lengths are checked, and a
    warning says so.

    Raises:
        ValueError: If a feature set differs or is missing; the error names it.
    """
    wanted = []
    for entry in trained.card.features:
        name, fingerprint = entry.name, entry.fingerprint
        here = data.store.feature_sets.get(name)
        if fingerprint == UNKNOWN and here is not None:
            logging.warning(
                "%s does not say which %s it was trained on; expected features "
                "extracted alike, and only their name and length can be checked",
                trained.directory,
                name,
            )
            fingerprint = here.fingerprint
        wanted.append(FeatureSet(name, entry.kind, entry.dim, 0, fingerprint))
    data.store.check_same(wanted)


@dataclasses.dataclass(frozen=True)
class Scorer:
    """A head's pass over one split, whose features are in memory.

    Attributes:
        table: The split.
        predictor: Called with variables, it gives the scores of the table's rows.
    """

    table: FrameTable
    predictor: Predictor


def open_scorer(trained: TrainedHead, data: Data, split: str, budget: int) -> Scorer:
    """The table of ``split`` and the pass over it."""
    card = trained.card
    loader = Loader(
        data,
        trained.mesh,
        task=card.task,
        missing_audio=card.missing_audio,
        budget=budget,
        inputs=card.inputs,
    )
    table, feeder = loader.load(split, trained.head.spec, trained.features)
    predictor = Predictor(
        trained.head,
        table,
        feeder,
        trained.mesh,
        batch_size=card.evaluation_batch_size,
        windows=card.windows,
        quiet=data.programs is not None,
        programs=data.programs,
        states=None if data.states is None else data.states.setdefault(id(trained), {}),
    )
    return Scorer(table, predictor)


def row_scores(
    trained: TrainedHead, data: Data, split: str, budget: int
) -> tuple[FrameTable, Float[np.ndarray, "seeds rows outputs"]]:
    """The table of ``split`` and the scores of its rows by every seed."""
    scorer = open_scorer(trained, data, split, budget)
    return scorer.table, scorer.predictor(trained.variables)
