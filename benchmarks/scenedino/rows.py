"""All rows: the network on 192 x 640, a whole rendered image, classes of its pixels, the volume of SSCBench."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.cups.row import Bench, Row, Work
from nolabel.geometry import VoxelGrid, pixel_intrinsics
from nolabel.models.features.vit_maps import VitMaps
from nolabel.models.rendering import RenderSettings, Views, image_rays, query_in_chunks, render, render_fast
from nolabel.models.scenedino import HeadConfig, SceneDino, SceneDinoConfig
from nolabel.models.scenedino.field import Cameras, FoldedField, SceneField
from nolabel.models.scenedino.folded_head import FoldedHead
from nolabel.models.scenedino.volume import query_volume

HEIGHT, WIDTH, MAP = 192, 640, (384, 1280)
KITTI_360 = ((0.7849, 0.0, -0.0312), (0.0, 2.9391, 0.2701), (0.0, 0.0, 1.0))  # image from -1 to 1
GRID = VoxelGrid((0.0, -25.6, -2.0), 0.2, (256, 256, 32))
PART = (64, 64, 32)  # what the original was timed on
OCCUPIED = 0.01  # share of points with matter: a few per cent of the voxels once it has grown


def view(device: str) -> Views:
    """One image with KITTI-360's camera."""
    torch.manual_seed(0)
    matrix = pixel_intrinsics(torch.tensor(KITTI_360), HEIGHT, WIDTH).expand(1, 1, 3, 3)
    images = torch.rand(1, 1, 3, HEIGHT, WIDTH)
    return Views(images.to(device), matrix.to(device), torch.eye(4, device=device).expand(1, 1, 4, 4))


def network(device: str) -> SceneDino:
    """The released sizes, without target."""
    torch.manual_seed(0)
    return SceneDino(SceneDinoConfig(target=None, head=HeadConfig())).eval().to(device)


def field(made: SceneDino, folded: bool, device: str) -> SceneField:
    """A field over a random map, whose density is matter at few places."""
    kind, decoder = (FoldedField if folded else SceneField), made.point_decoder
    channels = len(decoder.map_matrix) if folded else decoder.map_channels
    features = torch.randn(1, channels, *MAP, device=device)
    found = kind(features, Cameras.of(view(device)), made.code, decoder)
    with torch.no_grad():
        points = centres(device)[::8, ::8, ::4].reshape(1, -1, 3)
        density = found.query(points, features=False).density[0]
        # softplus^-1, to move the quantile to the threshold of matter
        logits = (density.double().exp() - 1).clamp(min=1e-9).log()
        threshold = torch.tensor(0.2).expm1().log()
        decoder.last.bias[0] += float(threshold - logits.quantile(1 - OCCUPIED))
    return found


def centres(device: str, shape: tuple[int, int, int] = GRID.shape) -> torch.Tensor:
    """Voxel centres, in a camera frame that looks along the grid's first axis."""
    grid = VoxelGrid(GRID.origin, GRID.voxel_size, shape).centres(device=device)
    return torch.stack([-grid[..., 1], -grid[..., 2], grid[..., 0]], dim=-1)


def prepare_encoding(bench: Bench, folded: bool) -> Work:
    """Image to map."""
    made, seen = network(bench.device), view(bench.device)

    def work() -> object:
        with torch.no_grad():
            return made.encode(seen, folded=folded)

    return work


def prepare_target(bench: Bench) -> Work:
    """Target features of one image."""
    vit, seen = VitMaps().eval().to(bench.device), view(bench.device)

    def work() -> object:
        with torch.no_grad():
            return vit(seen.images[:, 0])

    return work


def prepare_image(bench: Bench, fast: bool) -> Work:
    """Depth and compact features of all pixels."""
    made, seen = network(bench.device), view(bench.device)
    looked_at = field(made, fast, bench.device)
    rays = image_rays(seen.intrinsics, seen.poses, HEIGHT, WIDTH)

    def work() -> object:
        with torch.no_grad():
            if fast:
                return render_fast(looked_at, rays, RenderSettings())
            return render(looked_at, rays, RenderSettings())

    return work


def prepare_classes(bench: Bench, folded: bool) -> Work:
    """Classes of all pixels, in chunks."""
    made = network(bench.device)
    compact = torch.randn(HEIGHT * WIDTH, 64, device=bench.device)
    classify = FoldedHead(made.expansion, made.semantic_head) if folded else made.classify

    def work() -> object:
        with torch.no_grad():
            return torch.cat([classify(part) for part in compact.split(16384)])

    return work


def prepare_volume(bench: Bench, in_view: bool) -> Work:
    """Density and classes of SSCBench's voxels."""
    made, seen = network(bench.device), view(bench.device)
    looked_at, points = field(made, True, bench.device), centres(bench.device)
    classify = FoldedHead(made.expansion, made.semantic_head)
    needed = None
    if in_view:
        outside = Cameras.of(seen)[:, 0].project(points.reshape(1, -1, 3))[2]
        needed = ~outside.reshape(points.shape[:3])
    return lambda: query_volume(looked_at, points, classify, needed=needed)


def prepare_volume_plain(bench: Bench) -> Work:
    """A sixteenth of the volume, with classes everywhere."""
    made = network(bench.device)
    looked_at, points = field(made, False, bench.device), centres(bench.device, PART).reshape(1, -1, 3)

    def work() -> object:
        with torch.no_grad():
            sample = query_in_chunks(looked_at, points, 65536)
            return torch.cat([made.classify(part) for part in sample.features[0].split(16384)])

    return work


def occupied(result: Any) -> str:
    """Say how much of the volume is matter."""
    density, _ = result
    return f"{100 * float((density >= 0.2).float().mean()):.1f} % dense"


# Seconds of the original: shared/original_timings.md of the project (two-core machine, one thread, good to 30 %).
ROWS = {
    row.name: row
    for row in (
        Row("encode", "ViT-B/8 + DPT on 192x640, folded", lambda b: prepare_encoding(b, True), 30.0),
        Row("encode-plain", "the same, layer by layer", lambda b: prepare_encoding(b, False), 30.0),
        Row("target", "target ViT-B/8 on 192x640", prepare_target, 8.0),
        Row("image", "render 192x640, 32 samples a ray", lambda b: prepare_image(b, True), 36.6),
        Row("image-plain", "the same, every sample decoded", lambda b: prepare_image(b, False), 36.6),
        Row("classes", "classes of 192x640 pixels, folded", lambda b: prepare_classes(b, True), 10.5),
        Row("classes-plain", "the same, expanded first", lambda b: prepare_classes(b, False), 10.5),
        Row(
            "volume",
            "SSC query, 256x256x32 voxels",
            lambda b: prepare_volume(b, False),
            230.0,
            extrapolated=True,
            note=occupied,
        ),
        Row(
            "volume-view",
            "SSC query, voxels in view alone",
            lambda b: prepare_volume(b, True),
            230.0,
            extrapolated=True,
            note=occupied,
        ),
        Row("volume-plain", "SSC query, 64x64x32 voxels, plain", prepare_volume_plain, 14.3),
    )
}
