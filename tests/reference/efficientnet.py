"""timm's EfficientNets with random weights, and what they give."""

import sys

import numpy as np
import pytest
from PIL import Image

from avemo_jax.extractors import get_extractor
from reference.torch_libraries import import_timm


def random_network(spec, images, seed=0):
    """timm's network, random, with running statistics near those of ``images``."""
    torch = pytest.importorskip("torch", reason="needs the extra 'parity'")
    import_timm()
    from timm.models import efficientnet as timms

    torch.manual_seed(seed)
    if spec.variant == "tiny":
        network = timms._gen_efficientnet(
            "tf_efficientnet_b0",
            channel_multiplier=0.1,
            depth_multiplier=0.5,
            num_classes=spec.num_outputs,
            pad_type="same",
            bn_eps=1e-3,
        )
    else:
        make = getattr(timms, f"tf_efficientnet_{spec.variant}")
        network = make(num_classes=spec.num_outputs)
    network.eval()
    norms = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.BatchNorm2d)
    }
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.normal_(0, 0.3)
        for name, norm in norms.items():
            norm.weight.uniform_(0.4, 1.2)
            # Before a SiLU: mostly above zero, else the depth multiplies rounding.
            norm.bias.normal_(0 if name.endswith("bn3") else 0.7, 0.3)
        hooks = [n.register_forward_pre_hook(_near_its_input) for n in norms.values()]
        network(images)
        for hook in hooks:
            hook.remove()
    return network


def _near_its_input(norm, arguments):
    """Sets running statistics to those of the input, less and more at random."""
    torch = sys.modules["torch"]
    variance, mean = torch.var_mean(arguments[0], (0, 2, 3))
    moved = variance.sqrt() * torch.randn_like(mean) * 0.2
    norm.running_mean.copy_(mean + moved)
    norm.running_var.copy_(variance * torch.empty_like(mean).uniform_(0.7, 1.4))


def expected_of(network, images):
    """timm's embeddings and outputs in float64."""
    torch = pytest.importorskip("torch", reason="needs the extra 'parity'")
    network = network.double()
    with torch.inference_mode():
        maps = network.forward_features(images.double())
        features = network.forward_head(maps, pre_logits=True)
        return features.numpy(), network.get_classifier()(features).numpy()


def as_tensor(images):
    """What timm takes, by Pillow and numpy."""
    torch = pytest.importorskip("torch", reason="needs the extra 'parity'")
    takes = get_extractor("enet_b2_8_best").image
    sized = [
        np.asarray(Image.fromarray(i).resize((224, 224), Image.Resampling.BILINEAR))
        for i in images
    ]
    x = (np.stack(sized) / 255 - takes.mean) / takes.std
    return torch.from_numpy(x.astype(np.float32).transpose(0, 3, 1, 2).copy())
