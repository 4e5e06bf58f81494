"""YuNet-n in PyTorch, with the names of the published state dict."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class Pair(nn.Module):
    """1x1, then 3x3 of each channel; BatchNorm and ReLU if ``norm``."""

    def __init__(self, inputs: int, outputs: int, *, norm: bool = True):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs)
        if norm:
            self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv2(self.conv1(x))
        return functional.relu(self.bn(x)) if hasattr(self, "bn") else x


class Head(nn.Module):
    """The first stage."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = Pair(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv2(functional.relu(self.bn1(self.conv1(x))))


class Stage(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1 = Pair(inputs, inputs)
        self.conv2 = Pair(inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv2(self.conv1(x))


class YuNet(nn.Module):
    """From BGR (batch, 3, height, width), 0 to 255, to four outputs at each place."""

    def __init__(self):
        super().__init__()
        stages = {"model0": Head(), "model1": Stage(16, 64)}
        stages |= {f"model{i}": Stage(64, 64) for i in range(2, 6)}
        self.backbone = nn.ModuleDict(stages)
        laterals = nn.ModuleList(Pair(64, 64) for _ in range(3))
        self.neck = nn.ModuleDict({"lateral_convs": laterals})
        heads = {
            "multi_level_share_convs": nn.ModuleList(
                nn.Sequential(Pair(64, 64)) for _ in range(3)
            )
        }
        for name, count in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            heads[f"multi_level_{name}"] = nn.ModuleList(
                Pair(64, count, norm=False) for _ in range(3)
            )
        self.bbox_head = nn.ModuleDict(heads)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        grids = []
        for number in range(6):
            x = self.backbone[f"model{number}"](x)
            if number > 2:
                grids.append(x)
            if number in (0, 2, 3, 4):
                x = functional.max_pool2d(x, 2)
        laterals = self.neck["lateral_convs"]
        for level in (2, 1, 0):
            grids[level] = laterals[level](grids[level])
            if level:
                larger = functional.interpolate(grids[level], scale_factor=2)
                grids[level - 1] = grids[level - 1] + larger
        shared = self.bbox_head["multi_level_share_convs"]
        grids = [layer(grid) for layer, grid in zip(shared, grids, strict=True)]
        found = {}
        for name in ("cls", "obj", "bbox", "kps"):
            layers = self.bbox_head[f"multi_level_{name}"]
            parts = [
                layer(grid).permute(0, 2, 3, 1).flatten(1, 2)
                for layer, grid in zip(layers, grids, strict=True)
            ]
            found[name] = torch.cat(parts, dim=1)
        found["cls"], found["obj"] = found["cls"].sigmoid(), found["obj"].sigmoid()
        return found


def expected_of(
    state: dict[str, np.ndarray], images: np.ndarray
) -> dict[str, np.ndarray]:
    """The outputs for RGB images (batch, height, width, 3), in float64."""
    network = YuNet().double().eval()
    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    found = network.load_state_dict(tensors, strict=False)
    lacking = [n for n in found.missing_keys if not n.endswith("num_batches_tracked")]
    assert not lacking
    assert not found.unexpected_keys
    bgr = np.ascontiguousarray(images[..., ::-1].transpose(0, 3, 1, 2), np.float64)
    with torch.no_grad():
        outputs = network(torch.from_numpy(bgr))
    return {name: output.numpy() for name, output in outputs.items()}
