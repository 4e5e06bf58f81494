"""One pass over a video's pictures with libav."""

from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from jaxtyping import Float64, Int64

from avemo_jax.media.declared import MAX_FAULTS, REPEATED, FileEnd, undecodable
from avemo_jax.media.images import MAX_PIXELS

# Skips work that changes pixels only, not the number of pictures.
_TIMES_ONLY = {"skip_loop_filter": "all", "skip_idct": "all"}


class VideoError(ValueError):
    """A video that is missing, damaged, or of another form than expected."""


class NoPicturesError(VideoError):
    """A file that has no pictures; it may have sound."""


class Pass:
    """One pass over the pictures of an open file.

    Attributes:
        faults: Libav's error for each packet that could not be read or decoded.
        num_packets: Number of packets read whose pictures are to be shown.
        num_pictures: Number of pictures decoded.
        num_damaged: Number of pictures that libav marks as damaged.
        file_end: Where the packets of the file ended, of all tracks.
        aspects: All ratios of a pixel's width to its height that the codec stated.
    """

    def __init__(
        self,
        container: InputContainer,
        track: av.VideoStream,
        *,
        num_threads: int = 1,
        times_only: bool = False,
    ):
        """Sets the decoder up.

        Args:
            container: The open file, of which nothing was read yet.
            track: The container's track of pictures.
            num_threads: Threads of the decoder; 0: as many as cores, at most 16.
            times_only: Decode faster; the time stamps hold, pixels may be wrong.
        """
        self.faults: list[str] = []
        self.num_packets = self.num_pictures = self.num_damaged = 0
        self.file_end = FileEnd(container)
        self.aspects: set[Fraction] = set()
        self._container, self._track = container, track
        context = track.codec_context
        context.thread_type = "NONE" if num_threads == 1 else "FRAME"
        context.thread_count = num_threads
        options = dict(_TIMES_ONLY) if times_only else {}
        # Also pictures whose size only their own bytes state.
        context.options = options | {"max_pixels": str(MAX_PIXELS)}

    @property
    def is_whole(self) -> bool:
        """Whether all that was read so far could be decoded, as far as libav says."""
        return not (self.faults or self.num_damaged)

    def frames(self) -> Iterator[VideoFrame]:
        """The pictures that can be decoded, in the order in which they are shown.

        Raises:
            VideoError: If the file gives its bytes again and again, or far too many
                packets in a row are damaged.
        """
        context = self._track.codec_context
        try:
            context.open(strict=False)
        except av.error.FFmpegError as error:
            self.faults.append(str(error.strerror))
            return
        whole = 0  # number of faults at the last whole packet
        for packet in self._packets():
            try:
                decoded = context.decode(packet)
            except av.error.FFmpegError as error:
                # Damage: the next packets may be whole.
                self.faults.append(str(error.strerror))
                if len(self.faults) - whole >= MAX_FAULTS:
                    told = undecodable(self.faults[-1])
                    raise VideoError(f"{self._container.name}: {told}") from error
                continue
            whole = len(self.faults)
            for frame in decoded:
                self.num_pictures += 1
                self.num_damaged += frame.is_corrupt
                self.aspects.add(Fraction(context.sample_aspect_ratio or 1))
                yield frame

    def packet_stamps(self) -> Int64[np.ndarray, " frames"] | None:
        """Ascending time stamps of the packets that show a picture; nothing is decoded.

        Returns:
            None where packets do not tell: one has no stamp, or is damaged, or two have
            the same.
        """
        stamps: list[int] = []
        for packet in self._packets():
            if packet is None or packet.is_discard:
                continue
            if packet.pts is None or packet.is_corrupt:
                return None
            stamps.append(packet.pts)
        numbers = np.sort(np.array(stamps, np.int64))
        if self.faults or not len(numbers) or (np.diff(numbers) == 0).any():
            return None
        return numbers

    def _packets(self) -> Iterator[Packet | None]:
        """All packets of the track, then None, which empties the decoder."""
        packets = self._container.demux()
        while True:
            try:
                if (packet := next(packets, None)) is None:
                    break
            except av.error.FFmpegError as error:
                # After its own error the container has no more.
                self.faults.append(str(error.strerror))
                break
            self.file_end.see(packet)
            if self.file_end.is_repeated:
                raise VideoError(f"{self._container.name}: {REPEATED}")
            if packet.stream.index != self._track.index:
                continue
            # A packet without bytes would end the decoding: it is libav's own last, or
            # stands for a picture that the writer left out.
            if packet.size:
                self.num_packets += not packet.is_discard
                yield packet
        yield None


NO_STAMP = np.iinfo(np.int64).min  # libav's value for no time stamp


def stamps_of(
    frames: Iterator[VideoFrame], track: av.VideoStream, *, is_avi: bool
) -> Float64[np.ndarray, " frames"]:
    """Each picture's time stamp in seconds from the track's start; NaN: it has none.

    AVI keeps no times of showing, only the places of packets, in the order of decoding.
    Libav's stamps do not ascend where pictures are shown in another order; sorted, they
    are the pictures' times plus a constant delay, which is taken off.
    """
    given = (
        frame.dts if frame.pts is None and is_avi else frame.pts for frame in frames
    )
    # Eight bytes a picture, since there may be hundreds of thousands.
    numbers = np.fromiter((NO_STAMP if n is None else n for n in given), np.int64)
    return seconds_of(numbers, track, is_avi=is_avi)


def seconds_of(
    numbers: Int64[np.ndarray, " frames"], track: av.VideoStream, *, is_avi: bool
) -> Float64[np.ndarray, " frames"]:
    """The seconds of :func:`stamps_of`, from the numbers that the pictures have.

    Args:
        numbers: Time stamps in the track's base; :data:`NO_STAMP`: it has none.
        track: The track.
        is_avi: Whether its file is AVI.
    """
    known = numbers[numbers != NO_STAMP]
    base = track.time_base
    # Not stated it is None, and from PyAV 19 on a number that counts as False.
    if not len(known) or not base:
        return np.full(len(numbers), np.nan)
    zero = known[0] if track.start_time is None else track.start_time
    if is_avi:
        zero = known.min()
        if len(known) == len(numbers):
            numbers = np.sort(known)
    seconds = (numbers - zero) * base.numerator / base.denominator
    seconds[numbers == NO_STAMP] = np.nan
    return seconds
