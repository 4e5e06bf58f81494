"""Training with missing sound: at random, frames lose the sound, or else the face."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from avemo_jax.batches.feeders import Batch
from avemo_jax.heads import HeadSpec
from avemo_jax.heads.modalities import columns_of, modalities_there
from avemo_jax.heads.spec import AUDIO, VISUAL

Losing = Callable[[Batch, PRNGKeyArray], Batch]
_DRAW = 0x5EED  # folded into a step's key, so that dropout draws other bits


def losing_modalities(config: ConfigDict, spec: HeadSpec) -> Losing | None:
    """``(batch, key) -> batch`` that does what ``config`` asks for; None: nothing.

    Raises:
        ValueError: If frames are to lose a modality and the head has only one.
    """
    rate, share = config.train.modality_dropout, config.train.modality_dropout_face
    if not rate:
        return None
    check_modality_dropout(config, spec.set_kinds)

    def losing(batch: Batch, key: PRNGKeyArray) -> Batch:
        key = jax.random.fold_in(key, _DRAW)
        lose = functools.partial(lose_modalities, rate=rate, face_share=share)
        return dataclasses.replace(batch, x=lose(spec, batch.x, key))

    return losing


def check_modality_dropout(config: ConfigDict, set_kinds: tuple[str, ...]) -> None:
    """Refuses to drop modalities of a head that has only one.

    Raises:
        ValueError: If ``config.train.modality_dropout`` is not 0 and there are not sets
            of both kinds.
    """
    if config.train.modality_dropout and set(set_kinds) != {VISUAL, AUDIO}:
        raise ValueError(
            f"config.train.modality_dropout is {config.train.modality_dropout} with "
            f"feature sets of kinds {', '.join(set_kinds) or 'unknown'}; expected sets "
            "of the face and of the sound, as a frame that loses one keeps the other; "
            "name both in config.data.features, or set it to 0"
        )


def lose_modalities(
    spec: HeadSpec,
    x: Float[Array, "*batch dim"],
    key: PRNGKeyArray,
    *,
    rate: float,
    face_share: float,
) -> Float[Array, "*batch dim"]:
    """``x`` in which frames, or whole windows, have lost the sound, or else the face.

    What is lost looks as what is missing: its columns are 0, and without sound the
    audio flag too. No frame loses both: one without sound keeps its face.

    Args:
        spec: The head; of a head over windows each window is drawn for as a whole.
        x: Inputs of the head, not standardised.
        key: PRNG key of the draw.
        rate: Probability in [0, 1) with which a frame, or window, is to lose something.
        face_share: Share in [0, 1] of those that are to lose the face and not the
            sound.
    """
    axes = x.shape[: 1 if spec.takes_windows else -1]
    drawn = jax.random.uniform(key, axes)
    face, either = drawn < rate * face_share, drawn < rate
    if spec.takes_windows:
        face, either = face[:, None], either[:, None]
    face_lost = (face & modalities_there(spec, x)[AUDIO])[..., None]
    sound_lost = (either & ~face)[..., None]
    sound = columns_of(spec, AUDIO)
    if spec.audio_flag:
        sound[-1] = True
    lost = (sound_lost & sound) | (face_lost & columns_of(spec, VISUAL))
    return jnp.where(lost, 0, x)
