"""Speed of the extractors: ours against the reference networks, same work and machine.

EfficientNet-B2 and B0 at 224 px against timm in PyTorch (eager, channels last,
compiled) and onnxruntime; DINOv2 against timm; wav2vec 2.0, and WavLM base with its two
parts, on 20 s of sound against transformers; VGGish against PyTorch, and its log-mel
against numpy's. Each framework first shows its best batch size; then the best ones
alternate, and medians are reported. Weights are random. Needs the extras ``test`` and
``parity``.
"""

import argparse
import copy
import dataclasses
import functools
import importlib.util
import math
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import onnxruntime
import torch
from measuring import Matmul, add_options, alternating, report, seconds
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))
from reference import log_mel as numpy_log_mel
from reference import vggish as torch_vggish
from reference import wav2vec2 as torch_wav2vec2
from reference.torch_libraries import import_timm, import_transformers, state_of

from avemo_jax.convert.wav2vec2 import from_state
from avemo_jax.embed.wav2vec2_network import RowNetwork
from avemo_jax.embed.wav2vec2_sound import Moments, patches_of
from avemo_jax.extractors import dinov2, efficientnet, vggish, wav2vec2
from avemo_jax.extractors.wav2vec2_spec import SPECS
from avemo_jax.media import log_mel
from avemo_jax.runtime.compilation import compiler_options

BARS = {
    "efficientnet_b2: torch / ours": (">=", 1.2),
    "efficientnet_b2: onnxruntime / ours": (">=", 0.75),
    "efficientnet_b0: torch / ours": (">=", 1.2),
    "efficientnet_b0: onnxruntime / ours": (">=", 0.75),
    "dinov2_vits14: torch / ours": (">=", 1.0),
    "dinov2_vitb14: torch / ours": (">=", 1.0),
    "wav2vec2: transformers / ours": (">=", 1.3),
    "wavlm: transformers / ours": (">=", 1.0),
    "wavlm_front: transformers / ours": (">=", 1.2),
    "wavlm_transformer: transformers / ours": (">=", 1.0),
    "vggish: torch / ours": (">=", 1.0),
    "log-mel: numpy / ours": (">=", 3.0),
}
_SIZE_PX = 224
_SOUND_S = 20
_RATE_HZ = 16_000
_MEL_S = 60
_ROUND_S = 0.5  # at least, of each in a round
_WAVLM = SPECS["wavlm_base"]  # base+ is the same network


@dataclasses.dataclass(frozen=True)
class Entry:
    """One way to do the work.

    Attributes:
        framework: Name of the framework: "ours", "torch", ...
        way: How the framework does it: batch size, memory layout.
        run: Does the work once.
        items: Images, examples or tracks in one run.
    """

    framework: str
    way: str
    run: Callable[[], Any]
    items: int


def main() -> None:
    """Measures, prints, and with ``--check`` fails where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--networks",
        default="b2,b0,vits14,vitb14,wav2vec2,wavlm,wavlm_front,wavlm_transformer,"
        "vggish,log_mel",
    )
    parser.add_argument(
        "--batch-sizes", default="1,4,8,32", help="of images, ascending"
    )
    add_options(parser)
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    sizes = [int(size) for size in options.batch_sizes.split(",")]
    makers: dict[str, tuple[str, Callable[[], Iterator[Entry]]]] = {
        "b2": ("efficientnet_b2", functools.partial(efficientnets, "b2", sizes)),
        "b0": ("efficientnet_b0", functools.partial(efficientnets, "b0", sizes)),
        "vits14": ("dinov2_vits14", functools.partial(dinov2s, "vits14", sizes)),
        "vitb14": ("dinov2_vitb14", functools.partial(dinov2s, "vitb14", sizes)),
        "wav2vec2": ("wav2vec2", wav2vec2s),
        "wavlm": ("wavlm", wavlms),
        "wavlm_front": ("wavlm_front", wavlm_fronts),
        "wavlm_transformer": ("wavlm_transformer", wavlm_transformers),
        "vggish": ("vggish", functools.partial(vggishes, sizes)),
        "log_mel": ("log-mel", log_mels),
    }
    found: dict[str, Any] = {"threads": torch.get_num_threads()}
    bars = {}
    for key in options.networks.split(","):
        name, maker = makers[key]
        found |= compared(name, list(maker()), options.rounds)
        bars |= {k: v for k, v in BARS.items() if k.startswith(f"{name}:")}
    report(found, bars, options)


def compared(name: str, entries: list[Entry], rounds: int) -> dict[str, Any]:
    """Items per second of each framework's best way, and their ratios to ours."""
    print(name, flush=True)
    best: dict[str, tuple[float, Entry]] = {}
    for entry in entries:
        entry.run()
        rate = entry.items / min(seconds(entry.run) for _ in range(3))
        print(f"  {entry.framework}, {entry.way}: {rate:.3g} a second", flush=True)
        if entry.framework not in best or rate > best[entry.framework][0]:
            best[entry.framework] = (rate, entry)
    calls = {k: math.ceil(_ROUND_S * r / e.items) for k, (r, e) in best.items()}
    runs = {k: repeated(e.run, calls[k]) for k, (_, e) in best.items()}
    medians = alternating({**runs, "matmul": Matmul()}, rounds)
    rates = {k: e.items * calls[k] / medians[k] for k, (_, e) in best.items()}
    found: dict[str, Any] = {f"{name}: {k}, a second": r for k, r in rates.items()}
    found[f"{name}: best ways"] = {k: e.way for k, (_, e) in best.items()}
    for framework, rate in rates.items():
        if framework != "ours":
            found[f"{name}: {framework} / ours"] = rates["ours"] / rate
    if name in _FLOPS:
        share = _FLOPS[name] * rates["ours"] * medians["matmul"] / Matmul.flops
        found[f"{name}: share of the matmul rate"] = share
    return found


def repeated(run: Callable[[], Any], calls: int) -> Callable[[], None]:
    """A function that calls ``run`` so many times."""

    def many() -> None:
        for _ in range(calls):
            run()

    return many


_FLOPS: dict[str, float] = {}  # of one item, counted in the reference network


def counted(name: str, run: Callable[[], Any], items: int) -> None:
    """Stores how many operations one item takes in the reference network."""
    with FlopCounterMode(display=False) as counter:
        run()
    _FLOPS[name] = counter.get_total_flops() / items


def ours_of(apply: Callable[..., Any], params: Any, x: np.ndarray) -> Callable[[], Any]:
    """A call of our compiled network on arrays that are on the device already."""
    run = jax.jit(apply, compiler_options=compiler_options())
    params, x = jax.device_put(params), jax.device_put(x)
    return lambda: jax.block_until_ready(run(params, x))


def efficientnets(variant: str, sizes: list[int]) -> Iterator[Entry]:
    """Ways to run EfficientNet with 8 outputs on noise."""
    timm = import_timm()
    torch.manual_seed(0)
    net = timm.create_model(f"tf_efficientnet_{variant}", num_classes=8)
    net.train()(torch.randn(8, 3, _SIZE_PX, _SIZE_PX))  # BatchNorm's statistics
    net.eval()
    spec = efficientnet.EfficientNetSpec(variant, 8)
    params = efficientnet.prepare(spec, state_of(net))
    largest = max(sizes)
    images = torch.randn(largest, 3, _SIZE_PX, _SIZE_PX)
    counted(f"efficientnet_{variant}", lambda: net(images[:1]), 1)
    apply = functools.partial(efficientnet.apply, spec)
    for size in sizes:
        x = images[:size].permute(0, 2, 3, 1).contiguous().numpy()
        yield Entry("ours", f"batch {size}", ours_of(apply, params, x), size)
    yield from torch_images(net, images, sizes)
    with tempfile.TemporaryDirectory() as folder:
        session = onnx_session(net, images[:2], folder)
        for size in sizes:
            feed = {"images": images[:size].numpy()}
            run = functools.partial(session.run, None, feed)
            yield Entry("onnxruntime", f"batch {size}", run, size)


def torch_images(net: Any, images: torch.Tensor, sizes: list[int]) -> Iterator[Entry]:
    """PyTorch's ways: eager, channels last, and compiled where it has its compiler."""
    for size in sizes:
        batch = images[:size].contiguous()
        yield Entry("torch", f"batch {size}", functools.partial(net, batch), size)
    last = copy.deepcopy(net).to(memory_format=torch.channels_last)
    for size in sizes:
        batch = images[:size].contiguous(memory_format=torch.channels_last)
        run = functools.partial(last, batch)
        yield Entry("torch", f"batch {size}, channels last", run, size)
    if importlib.util.find_spec("torch._inductor"):
        compiled = torch.compile(last)
        for size in sizes[-2:]:  # each takes half a minute to compile
            batch = images[:size].contiguous(memory_format=torch.channels_last)
            run = functools.partial(compiled, batch)
            yield Entry("torch", f"batch {size}, compiled", run, size)


def onnx_session(net: Any, images: torch.Tensor, folder: str) -> Any:
    """The network in onnxruntime, on the CPU."""
    path = str(pathlib.Path(folder) / "net.onnx")
    torch.onnx.export(
        net,
        (images.contiguous(),),
        path,
        input_names=["images"],
        dynamic_axes={"images": {0: "batch"}},
        dynamo=False,
    )
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def dinov2s(variant: str, sizes: list[int]) -> Iterator[Entry]:
    """Ways to run a DINOv2 on batches of noise, with positions for 224 px."""
    torch.manual_seed(0)
    name = {"vits14": "vit_small", "vitb14": "vit_base"}[variant]
    net = import_timm().create_model(
        f"{name}_patch14_dinov2", img_size=_SIZE_PX, num_classes=0
    )
    net.eval()
    spec = dataclasses.replace(dinov2.SPECS[variant], grid=_SIZE_PX // 14)
    params = dinov2.prepare(spec, state_of(net), size_px=_SIZE_PX)
    images = torch.randn(max(sizes), 3, _SIZE_PX, _SIZE_PX)
    counted(f"dinov2_{variant}", lambda: net(images[:1]), 1)
    apply = functools.partial(dinov2.apply, spec)
    ours = images.permute(0, 2, 3, 1).numpy()
    for size in sizes:
        run = ours_of(apply, params, ours[:size])
        yield Entry("ours", f"batch {size}", run, size)
    for size in sizes:
        run = functools.partial(net, images[:size])
        yield Entry("torch", f"batch {size}", run, size)


def wav2vec2s() -> Iterator[Entry]:
    """Ways to run wav2vec 2.0 base, to its last layer, on one track of noise."""
    transformers = import_transformers()
    torch.manual_seed(0)
    sound = torch.randn(1, _SOUND_S * _RATE_HZ)
    for attention in ("sdpa", "eager"):
        config = transformers.Wav2Vec2Config(attn_implementation=attention)
        net = transformers.Wav2Vec2Model(config).eval()
        if attention == "sdpa":
            counted("wav2vec2", lambda net=net: net(sound), 1)
            tensors = from_state(
                state_of(net), wav2vec2.BASE, file=attention, wanted="wav2vec2_base"
            ).tensors
            params = wav2vec2.prepare(wav2vec2.BASE, tensors)
            apply = functools.partial(wav2vec2.apply, wav2vec2.BASE)
            yield Entry("ours", "20 s", ours_of(apply, params, sound.numpy()), 1)
        yield Entry("transformers", attention, functools.partial(net, sound), 1)


def wavlm() -> tuple[Any, Any, torch.Tensor]:
    """The reference, its weights by name and a track of noise, for WavLM base."""
    state = torch_wav2vec2.random_state(_WAVLM, 0)
    net = torch_wav2vec2.reference(_WAVLM, state)
    sound = torch.from_numpy(noise(_SOUND_S)[None])
    return net, state, sound


def noise(seconds_of: float) -> np.ndarray:
    """So many seconds of noise, float32."""
    rng = np.random.default_rng(0)
    return rng.standard_normal(round(seconds_of * _RATE_HZ), np.float32) / 4


def wavlms() -> Iterator[Entry]:
    """Ways to run WavLM base, to its last layer, on one track of noise."""
    net, state, sound = wavlm()
    counted("wavlm", lambda: net(sound), 1)
    params = wav2vec2.prepare(_WAVLM, state)
    apply = functools.partial(wav2vec2.apply, _WAVLM)
    yield Entry("ours", "20 s", ours_of(apply, params, sound.numpy()), 1)
    yield Entry("transformers", "20 s", functools.partial(net, sound), 1)


def wavlm_fronts() -> Iterator[Entry]:
    """Ways to run its convolutions, which are those of wav2vec 2.0 base.

    Ours includes GroupNorm's statistics, which come from the samples on the host.
    """
    net, state, sound = wavlm()
    counted("wavlm_front", lambda: net.feature_extractor(sound), 1)
    network = RowNetwork(_WAVLM, state, layers=("last",), dtype="float32")
    waveform = sound.numpy()

    def ours() -> np.ndarray:
        moments = Moments(1, _WAVLM.conv_kernels[0])
        moments.add(patches_of(waveform, _WAVLM))
        statistics = network.statistics(moments.mean, moments.covariance)
        return network.convolve(waveform, statistics)

    yield Entry("ours", "20 s", ours, 1)
    run = functools.partial(net.feature_extractor, sound)
    yield Entry("transformers", "20 s", run, 1)


def wavlm_transformers() -> Iterator[Entry]:
    """Ways to run its Transformer, from the convolutions' vectors to the last layer."""
    net, state, sound = wavlm()
    params = wav2vec2.prepare(_WAVLM, state)
    features = net.feature_extractor(sound).transpose(1, 2).contiguous()

    def theirs() -> Any:
        return net.encoder(net.feature_projection(features)[0])

    counted("wavlm_transformer", theirs, 1)
    apply = functools.partial(wav2vec2.transform, _WAVLM)
    yield Entry("ours", "20 s", ours_of(apply, params, features.numpy()), 1)
    yield Entry("transformers", "20 s", theirs, 1)


def vggishes(sizes: list[int]) -> Iterator[Entry]:
    """Ways to run VGGish's body on examples of noise."""
    torch.manual_seed(0)
    net = torch_vggish.Vggish().eval()
    spec = vggish.VggishSpec(output="raw")
    params = vggish.prepare(spec, state_of(net))
    examples = torch.randn(max(sizes), 96, 64)
    counted("vggish", lambda: net(examples[:1, None]), 1)
    apply = functools.partial(vggish.apply, spec)
    for size in sizes:
        run = ours_of(apply, params, examples[:size].numpy())
        yield Entry("ours", f"batch {size}", run, size)
    yield from torch_images(net, examples[:, None], sizes)


def log_mels() -> Iterator[Entry]:
    """Ways to run the front end on a minute of noise; items are seconds of sound."""
    rng = np.random.default_rng(0)
    sound = rng.standard_normal(_MEL_S * _RATE_HZ).astype(np.float32) / 4

    def ours() -> np.ndarray:
        return np.asarray(log_mel.log_mel(sound))

    in_numpy = functools.partial(numpy_log_mel.log_mel, sound)
    yield Entry("ours", f"{_MEL_S} s", ours, _MEL_S)
    yield Entry("numpy", f"{_MEL_S} s", in_numpy, _MEL_S)


if __name__ == "__main__":
    main()
