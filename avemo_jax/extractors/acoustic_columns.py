"""The columns of acoustic features, by name and unit; needs neither NumPy nor librosa.

Descriptors are measured every 10 ms. A vector has the mean and the deviation of each
over its context, and what pauses there are in it.
"""

from avemo_jax.extractors.contract import Column

NUM_BANDS = 40  # of the mel spectrum
NUM_COEFFICIENTS = 13  # of the cepstrum


def _cepstral(ending: str, unit: str) -> tuple[Column, ...]:
    return tuple(
        Column(f"mfcc_{number:02d}{ending}", unit) for number in range(NUM_COEFFICIENTS)
    )


# One value every 10 ms, in the order in which avemo_jax.extractors.acoustic has them.
DESCRIPTORS = (
    *(Column(f"mel_{band:02d}", "dB") for band in range(NUM_BANDS)),
    *_cepstral("", "dB"),
    *_cepstral("_delta", "dB per 10 ms"),
    *_cepstral("_delta2", "dB per (10 ms)^2"),
    Column("level", "dB re full scale"),
    Column("zero_crossings", "1/s"),
    Column("centroid", "Hz"),
    Column("bandwidth", "Hz"),
    Column("rolloff", "Hz"),
    Column("flatness", "dB"),
    Column("voicing", "1"),
    Column("f0", "Hz"),
)
_PAUSES = (
    Column("voiced_share", "1"),
    Column("pause_share", "1"),
    Column("pause_count", "1"),
    Column("pause_length_mean", "s"),
    Column("pause_length_longest", "s"),
)
# One value in a vector.
COLUMNS = (
    *(
        Column(f"{one.name}_{statistic}", one.unit)
        for one in DESCRIPTORS
        for statistic in ("mean", "deviation")
    ),
    *_PAUSES,
)
