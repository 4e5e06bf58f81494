"""Labels of a video of the demo corpus, and what a camera and a microphone pick up.

Expressions are drawn at random; valence and arousal follow from them, with a random
drift; action units follow from both. From these come the channels that a camera and a
microphone pick up, with the subject's own manner and with noise. `feature_maps.py`
turns channels into features.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from avemo_jax.packing.demo.parameters import (
    LOOK_GROUP,
    LOOK_SIDE,
    UNIT_RATES,
    VOICES,
    Channel,
    Parameters,
)
from avemo_jax.tasks import ACTION_UNITS, EXPRESSIONS

_NUM_EXPR, _NUM_AU = len(EXPRESSIONS), len(ACTION_UNITS)
_AU12, _AU25, _AU26 = (ACTION_UNITS.index(unit) for unit in (12, 25, 26))


@dataclasses.dataclass(frozen=True)
class Signals:
    """One subject-video before any sensor.

    Attributes:
        expr: Expression of each frame, 0-7.
        au: Action units, 0 or 1.
        va: Valence and arousal in [-1, 1].
        face: What a camera picks up, in the order of `Parameters.face`.
        voice: What a microphone picks up, in the order of `Parameters.voice`.
    """

    expr: Int[np.ndarray, " frames"]
    au: Int[np.ndarray, "frames units"]
    va: Float[np.ndarray, "frames 2"]
    face: Float[np.ndarray, "frames face"]
    voice: Float[np.ndarray, "frames voice"]


def stream(p: Parameters, *place: int) -> np.random.Generator:
    """The random stream of one purpose: the same numbers whatever else was drawn.

    Args:
        p: Parameters of the corpus, whose seed is used.
        *place: Numbers that name the purpose, such as that of a video.
    """
    return np.random.Generator(
        np.random.Philox(np.random.SeedSequence([p.seed, *place]))
    )


def make_signals(
    p: Parameters,
    num_frames: int,
    rng: np.random.Generator,
    subject: np.random.Generator,
) -> Signals:
    """Labels and channels of one subject-video.

    Args:
        p: Parameters of the corpus.
        num_frames: At least 1.
        rng: The video's random stream.
        subject: The subject's random stream, from its beginning: what is drawn from it
            is the same in all recordings of the subject.
    """
    expr, episode = _expressions(p, num_frames, rng)
    shown = _blur(np.eye(_NUM_EXPR)[expr], p.blend_half_width)
    manner = 0.1 * subject.standard_normal(2)
    va = _valence_arousal(p, shown, manner, rng)
    speaking = _speaking(p, num_frames, rng)
    au, muscles = _action_units(p, shown, va[:, 1], speaking, rng)
    muscles = muscles * np.exp(0.25 * subject.standard_normal(_NUM_AU))
    looks = _appearance(p, shown, episode, rng)
    moving = np.array(p.moving)[expr] > 0
    period = rng.uniform(*p.moving_period)
    rhythm = _circle(np.where(moving, 2 * np.pi / period, 0.0), episode, rng)
    slow, fast = 1 / p.tempo_period[0], 1 / p.tempo_period[1]
    level = np.clip((va[:, 1] + 0.3) / 1.1, 0, 1)
    tempo = _circle(2 * np.pi * (slow + (fast - slow) * level), None, rng)
    pose = np.zeros((num_frames, 4))
    face = np.hstack([looks, rhythm, tempo, va, muscles, pose])
    loud = np.where(speaking, 1.0, p.silent_gain)[:, None]
    arousal = va[:, 1:]
    said = np.hstack([shown @ VOICES, arousal, arousal * np.abs(arousal), va[:, :1]])
    mouth = np.hstack([speaking[:, None], muscles[:, [_AU12, _AU25, _AU26]]])
    voice = np.hstack([said * loud, mouth, np.zeros((num_frames, 2))])
    return Signals(
        expr=expr,
        au=au,
        va=va,
        face=_picked_up(p.face, face, rng, subject),
        voice=_picked_up(p.voice, voice, rng, subject),
    )


def expression_looks(p: Parameters) -> Float[np.ndarray, "expressions 6"]:
    """How each expression looks, in the channel "appearance"."""
    axes = np.linalg.qr(stream(p, 7).standard_normal((6, 6)))[0]
    size = np.where(
        np.array(LOOK_GROUP) == 0, 0.5, 1.0
    )  # Neutral and Other show little
    side = p.pair_gap * np.array(LOOK_SIDE, dtype=float)
    return 1.3 * (size[:, None] * axes[list(LOOK_GROUP)] + side[:, None] * axes[5])


def correlated(
    rng: np.random.Generator, num_frames: int, tau_frames: Float[np.ndarray, " size"]
) -> Float[np.ndarray, "frames size"]:
    """Noise of variance 1 whose correlation falls to 1/e in ``tau_frames``."""
    keep = np.exp(-1 / tau_frames)
    steps = np.sqrt(1 - keep**2) * rng.standard_normal((num_frames, len(tau_frames)))
    state = rng.standard_normal(len(tau_frames))
    for step in steps:  # in place: each step becomes the state
        step += keep * state
        state = step
    return steps


def _blur(
    x: Float[np.ndarray, "frames size"], half_width: int
) -> Float[np.ndarray, "frames size"]:
    """Mean over the frames around each; the first and last are repeated at the ends."""
    padded = np.pad(x, ((half_width + 1, half_width), (0, 0)), mode="edge")
    total = np.cumsum(padded, axis=0)
    width = 2 * half_width + 1
    return (total[width:] - total[:-width]) / width


def _expressions(
    p: Parameters, num_frames: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, " frames"], Int[np.ndarray, " frames"]]:
    """The expression of each frame, and the number of the episode it belongs to."""
    visits = np.array(p.shares) / np.array(p.dwell_mean)
    least, most = p.dwell_range
    expr = np.empty(num_frames, np.int64)
    episode = np.empty(num_frames, np.int64)
    start, count, current = 0, 0, -1
    while start < num_frames:
        chance = np.where(np.arange(_NUM_EXPR) == current, 0.0, visits)
        current = int(rng.choice(_NUM_EXPR, p=chance / chance.sum()))
        dwell = least + rng.exponential(p.dwell_mean[current] - least)
        end = start + min(int(dwell), most)
        expr[start:end], episode[start:end] = current, count
        start, count = end, count + 1
    return expr, episode


def _valence_arousal(
    p: Parameters,
    shown: Float[np.ndarray, "frames expressions"],
    manner: Float[np.ndarray, "2"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "frames 2"]:
    """Smooth values in [-1, 1] around those of the expression, to three decimals."""
    centre = shown @ np.array([p.valence, p.arousal]).T
    drift = correlated(rng, len(shown), np.full(2, p.drift_tau)) * np.array(p.drift)
    course = _blur(centre + drift + manner + 0.05, p.drift_half_width)
    return np.round(np.tanh(1.1 * course), 3)


def _speaking(
    p: Parameters, num_frames: int, rng: np.random.Generator
) -> Bool[np.ndarray, " frames"]:
    """Which frames have speech: runs of speech and silence of random length."""
    switch = rng.random(num_frames)
    result = np.empty(num_frames, bool)
    state = bool(rng.random() < 0.66)
    for frame, chance in enumerate(switch):
        if chance < 1 / p.speech_mean[int(state)]:
            state = not state
        result[frame] = state
    return result


def _action_units(
    p: Parameters,
    shown: Float[np.ndarray, "frames expressions"],
    arousal: Float[np.ndarray, " frames"],
    speaking: Bool[np.ndarray, " frames"],
    rng: np.random.Generator,
) -> tuple[Int[np.ndarray, "frames units"], Float[np.ndarray, "frames units"]]:
    """Labels, and how tight each muscle is (0 to 1): fast to tighten, slow to relax.

    A unit's label ends where the muscle begins to relax, so a half-tight muscle is
    labelled while it tightens and not while it relaxes.
    """
    rate = (shown @ UNIT_RATES) * (1 + 0.5 * (arousal[:, None] - 0.2))
    rate[:, _AU25] *= np.where(speaking, 1.2, 0.5)
    rate[:, _AU26] *= np.where(speaking, 1.5, 0.5)
    odds = (clipped := np.clip(rate, 0.01, 0.93)) / (1 - clipped)
    frames_on = p.unit_mean * np.maximum(1.0, 0.5 * odds)
    stop, start = 1 / frames_on, odds / frames_on
    chance = rng.random(rate.shape)
    on = rng.random(_NUM_AU) < clipped[0]
    muscle, age = on.astype(float), np.zeros(_NUM_AU)
    labels, muscles = np.empty(rate.shape, np.int8), np.empty(rate.shape)
    for frame in range(len(rate)):
        ends = (chance[frame] < stop[frame]) & (age >= p.unit_least)
        begins = (chance[frame] < start[frame]) & (age >= 3)
        now = np.where(on, ~ends, begins)
        age = np.where(now == on, age + 1, 0)
        on = now
        muscle = muscle + np.where(on, p.unit_rise, p.unit_fall) * (on - muscle)
        labels[frame], muscles[frame] = on, muscle
    return labels, muscles


def _appearance(
    p: Parameters,
    shown: Float[np.ndarray, "frames expressions"],
    episode: Int[np.ndarray, " frames"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "frames 6"]:
    """The looks of the expressions, of varying strength and different each time."""
    mean, deviation, tau = p.strength
    wave = correlated(rng, len(shown), np.array([tau]))
    strength = np.clip(mean + deviation * wave, *p.strength_range)
    own = p.episode * rng.standard_normal((int(episode[-1]) + 1, 6))
    return (shown @ expression_looks(p)) * strength + own[episode]


def _circle(
    speed: Float[np.ndarray, " frames"],
    episode: Int[np.ndarray, " frames"] | None,
    rng: np.random.Generator,
) -> Float[np.ndarray, "frames 2"]:
    """A point on the unit circle that turns by ``speed`` radians a frame.

    A single frame does not tell the speed: every point is as likely at any speed. With
    ``episode`` given, the point starts anywhere on the circle in each episode.
    """
    angle = np.cumsum(speed + 0.02 * rng.standard_normal(len(speed)))
    turns = 2 * np.pi * rng.random(1 if episode is None else int(episode[-1]) + 1)
    angle += turns[0] if episode is None else turns[episode]
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _picked_up(
    channels: tuple[Channel, ...],
    signal: Float[np.ndarray, "frames size"],
    rng: np.random.Generator,
    subject: np.random.Generator,
) -> Float[np.ndarray, "frames size"]:
    """The signal with gains, the subject's offsets and both kinds of noise."""

    def each(field: str) -> Float[np.ndarray, " size"]:
        sizes = [c.size for c in channels]
        return np.repeat([float(getattr(c, field)) for c in channels], sizes)

    offset = each("subject") * subject.standard_normal(signal.shape[1])
    slow = each("slow") * correlated(rng, len(signal), each("tau_frames"))
    white = each("white") * rng.standard_normal(signal.shape)
    return signal * each("gain") + offset + slow + white
