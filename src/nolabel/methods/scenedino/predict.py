"""From one image of any size and its camera to a scene: depth, features, classes and voxels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from nolabel.config import Config
from nolabel.data import to_image
from nolabel.data.resizing import resize_image, resize_labels, to_bytes
from nolabel.engine.predicting import memory_checked
from nolabel.errors import ConfigError
from nolabel.geometry import depth_from_distance, normalised_intrinsics, pixel_intrinsics, project_normalised
from nolabel.labels import CITYSCAPES_19, SSC_16, LabelClass, LabelSpace, pseudo_space, space_map
from nolabel.methods.scenedino.camera_of_image import camera_of_image
from nolabel.methods.scenedino.network_files import find_network, load_scenedino
from nolabel.methods.scenedino.network_scenes import NetworkScenes
from nolabel.methods.scenedino.scene_prediction import RenderedView, ScenePrediction, SurfaceVoxels
from nolabel.methods.scenedino.voxel_box import VoxelBox
from nolabel.models.rendering import Rays, RenderSettings, image_rays, query_in_chunks, render_fast
from nolabel.models.rendering.occupancy import grown
from nolabel.models.scenedino import FoldedField, PredictionMode, SceneDino
from nolabel.models.scenedino.folded_head import FoldedHead
from nolabel.models.scenedino.volume import MATTER, query_volume
from nolabel.structures import SemanticMap, VoxelScene
from nolabel.structures.pictures import Picture
from nolabel.structures.voxel_mesh import exposed_voxels
from nolabel.viz import PrincipalColours, feature_colours, principal_colours

__all__ = ["MATTER_2", "ScenePredictor", "SceneSettings", "load_predictor"]

RAYS_AT_ONCE = 16384
FITTED = 4  # every so many rows and columns of a picture are looked at for the colours of its features
MOST_STRETCHED = 1.5

MATTER_2 = LabelSpace(
    "matter_2", (LabelClass("empty", (0, 0, 0), False), LabelClass("matter", (150, 160, 175), False))
)
"""Voxels of networks without a semantic head."""


class SceneSettings(Config):
    """What is predicted, and how finely."""

    mode: PredictionMode = "stego_kmeans"
    """What classes come from: clusters or a linear probe, of STEGO's code or of the features."""
    features: Literal["compact", "expanded", "none"] = "compact"
    """Features of the view: as rendered, or as long as DINO's (12 times the memory), or none and no colours of them."""
    voxels: VoxelBox | None = VoxelBox()
    """The volume; null for none."""
    matter: float = Field(default=MATTER, gt=0)
    """Density from which a cell is occupied, 1 / metre."""
    grow: bool = True
    """A cell is also occupied where a neighbour is that dense, as SSCBench's evaluation has it."""
    size: tuple[int, int] | None = None
    """(height, width) the network looks at and renders; by default what it was made for."""
    samples: int = Field(default=32, ge=2)
    """Points on each ray."""
    chunk: int = Field(default=65536, ge=1)
    """Points looked at together: bounds the memory."""

    @pydantic.field_validator("size")
    @classmethod
    def _positive(cls, size: tuple[int, int] | None) -> tuple[int, int] | None:
        if size is not None and min(size) < 1:
            raise ValueError(f"{size} is no size")
        return size


def load_predictor(
    path: str | Path,
    settings: SceneSettings | None = None,
    *,
    image_size: tuple[int, int] | None = None,
    device: torch.device | str = "cpu",
) -> ScenePredictor:
    """Load a network for prediction.

    Args:
        path: run folder, network file, or official checkpoint; see
            :func:`nolabel.methods.scenedino.network_files.load_scenedino`.
        settings: of the prediction.
        image_size: what an official checkpoint without an artifact field was made for.
        device: where.
    """
    network = load_scenedino(path, image_size=image_size, device=device)
    return ScenePredictor(network, settings, source=find_network(path))


class ScenePredictor:
    """A network that predicts scenes from single images. The same image gives the same bits on the same machine.

    Args:
        network: trained.
        settings: of the prediction.
        source: the network's file.

    Raises:
        ConfigError: the network cannot look at pictures of the size asked for.
    """

    def __init__(
        self, network: SceneDino, settings: SceneSettings | None = None, *, source: Path | None = None
    ) -> None:
        self.network, self.settings, self.source = network.eval(), settings or SceneSettings(), source
        self.size = self.settings.size or network.config.image_size
        stride = network.config.vit.stride
        if any(side % stride for side in self.size):
            raise ConfigError(f"size={self.size} is no multiple of {stride} pixels, this transformer's cells")
        render = RenderSettings(samples=self.settings.samples, chunk=self.settings.chunk)
        self._scenes = NetworkScenes(network, self.settings.mode, render)
        head = network.semantic_head
        self._head = None if head is None else FoldedHead(network.expansion, head, self.settings.mode)
        self.named = head is not None and _has_names(network, self.settings.mode)

        self._voxel_labels = self._labels_of_voxels()

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    @property
    def space(self) -> LabelSpace:
        """What pixels' classes mean: Cityscapes' 19 where clusters were matched with them, else numbers."""
        head = self.network.semantic_head
        if head is None:
            return MATTER_2
        return CITYSCAPES_19 if self.named else pseudo_space(head.num_classes, ())

    @property
    def voxel_space(self) -> LabelSpace:
        """What cells' classes mean; 0 is empty."""
        if self._head is None:
            return MATTER_2
        if self.named:
            return SSC_16
        clusters = self.space
        return LabelSpace(f"{clusters.name}_voxels", (MATTER_2.classes[0], *clusters.classes))

    def predict(
        self, image: Any, intrinsics: Any = None, *, basis: PrincipalColours | None = None
    ) -> ScenePrediction:
        """Predict a scene.

        Args:
            image: path, PIL image, array or tensor, see :func:`nolabel.data.to_image`; any size. The network sees it at
                the size it was made for, and the camera follows.
            intrinsics: the camera, see :func:`nolabel.methods.scenedino.camera_of_image.camera_of_image`.
            basis: colours of the features; those of another prediction for the same colours.

        Raises:
            DataError: no image, no camera, or too little memory.
        """
        picture = to_image(image)
        size = (picture.shape[-2], picture.shape[-1])
        matrix, note = camera_of_image(intrinsics, size)
        if note is not None:
            warnings.warn(note, stacklevel=2)
        with memory_checked([picture]), torch.no_grad():
            return self._predict(picture, matrix, basis, self._notes(size, note))

    def fit_colours(self, views: Iterator[tuple[Tensor, Tensor]]) -> PrincipalColours | None:
        """Find colours of features that suit several images (3, H, W) with their matrices (3, 3); None of no images."""
        found = []
        with torch.no_grad():
            for image, matrix in views:
                field, _, inner = self._look(image, matrix)
                rays = self._rays(inner)
                coarse = Rays(
                    *(
                        part.unflatten(1, self.size)[:, ::FITTED, ::FITTED].flatten(1, 2)
                        for part in (rays.origins, rays.directions, rays.near, rays.far)
                    )
                )
                compact = torch.cat([seen for _, seen in self._render(field, coarse)])
                found.append(self.network.expansion(compact).float().cpu())
        return principal_colours(torch.cat(found).T[:, :, None]) if found else None

    def _notes(self, size: tuple[int, int], note: str | None) -> tuple[str, ...]:
        notes = [] if note is None else [note]
        stretched = size[1] / size[0] * self.size[0] / self.size[1]
        if max(stretched, 1 / stretched) > MOST_STRETCHED:
            notes.append(
                f"the image is {size[1]}x{size[0]} pixels and the network looks at {self.size[1]}x{self.size[0]}: crop it "
                "to that shape for better results"
            )
        if self._head is None:
            notes.append(
                "no semantic head was trained (stage 2, `nolabel scenedino distill`): there are no classes"
            )
        elif not self.named:
            notes.append(
                "clusters were never matched with classes: their numbers and colours have no meaning"
            )
        return tuple(notes)

    def _look(self, picture: Tensor, matrix: Tensor) -> tuple[FoldedField, Tensor, Tensor]:
        """The field, the image at the network's size on the CPU, and the camera of that."""
        small = resize_image(to_bytes(picture).cpu(), self.size).float() / 255
        normalised = normalised_intrinsics(matrix, picture.shape[-2], picture.shape[-1])
        inner = pixel_intrinsics(normalised, *self.size)
        field, _ = self._scenes.encode(small.to(self.device), inner.float().to(self.device))
        return field, small, inner

    def _rays(self, inner: Tensor) -> Rays:
        pose, matrix = torch.eye(4)[None, None], inner.float()[None, None]
        near, far = self.network.config.near, self.network.config.far
        height, width = self.size
        return image_rays(matrix.to(self.device), pose.to(self.device), height, width, near, far)

    def _render(self, field: FoldedField, rays: Rays) -> Iterator[tuple[Tensor, Tensor]]:
        """Distance (R,) and compact features (R, C) of bundles of rays."""
        for start in range(0, rays.near.shape[1], RAYS_AT_ONCE):
            some = slice(start, start + RAYS_AT_ONCE)
            bundle = Rays(*(part[:, some] for part in (rays.origins, rays.directions, rays.near, rays.far)))
            seen = render_fast(field, bundle, self._scenes.settings)
            assert seen.features is not None  # they are rendered unless one says otherwise
            yield seen.depth[0], seen.features[0]

    def _predict(
        self, picture: Tensor, matrix: Tensor, basis: PrincipalColours | None, notes: tuple[str, ...]
    ) -> ScenePrediction:
        field, small, inner = self._look(picture, matrix)
        wanted = self.settings.features
        distances, compacts = zip(*self._render(field, self._rays(inner)), strict=True)
        if wanted != "none" and basis is None:
            coarse = torch.cat(compacts).unflatten(0, self.size)[::FITTED, ::FITTED].flatten(0, 1)
            basis = principal_colours(self.network.expansion(coarse).cpu().T[:, :, None])
        painter = _Painter(self.network, basis if wanted != "none" else None)
        labels = confidence = classes = None
        if self._head is not None:
            named = [self._head.confident(compact) for compact in compacts]
            labels, confidence = (
                torch.cat(part).reshape(self.size).cpu() for part in zip(*named, strict=True)
            )
        depth = depth_from_distance(torch.cat(distances).reshape(self.size).float().cpu(), inner.float())
        view = RenderedView(small, inner, depth, labels, confidence, painter.picture(compacts, self.size))
        size = (picture.shape[-2], picture.shape[-1])
        if labels is not None and confidence is not None:
            classes = SemanticMap(resize_labels(labels, size), self.space, resized(confidence, size))
        voxels, density, surface = self._volume(field, small, inner, painter)
        box = self.settings.voxels or VoxelBox()
        return ScenePrediction(
            image=picture.cpu(),
            intrinsics=matrix,
            depth=resized(depth, size),
            view=view,
            camera_to_grid=box.camera_to_grid(),
            classes=classes,
            features=self._features(compacts),
            voxels=voxels,
            density=density,
            surface=surface,
            voxel_labels=self._voxel_labels,
            basis=painter.basis,
            notes=notes,
        )

    def _features(self, compacts: tuple[Tensor, ...]) -> Tensor | None:
        """(C, h, w), on the CPU."""
        wanted = self.settings.features
        if wanted == "none":
            return None
        long = wanted == "expanded"
        parts = [(self.network.expansion(part) if long else part).float().cpu() for part in compacts]
        return torch.cat(parts).T.unflatten(1, self.size).contiguous()

    def _volume(
        self, field: FoldedField, small: Tensor, inner: Tensor, painter: _Painter
    ) -> tuple[VoxelScene | None, Tensor | None, SurfaceVoxels | None]:
        box, settings = self.settings.voxels, self.settings
        if box is None:
            return None, None, None
        centres = box.centres()
        seen = box.seen(centres, inner, self.size)
        classify = self._head or _nothing
        density, classes = query_volume(
            field,
            centres.to(self.device),
            classify,
            needed=seen.to(self.device),
            matter=settings.matter,
            chunk=settings.chunk,
        )
        occupied = (grown(density) if settings.grow else density) >= settings.matter
        labels = torch.where(occupied.cpu(), self._voxel_labels[classes.cpu()], 0)
        labels = torch.where(seen, labels, 255)
        grid = box.grid()
        scene = VoxelScene(labels, torch.tensor(grid.origin), grid.voxel_size, self.voxel_space)
        cells = torch.from_numpy(exposed_voxels(scene.occupied.numpy())).nonzero()
        points = centres[tuple(cells.T)]
        surface = SurfaceVoxels(
            cells, _pixels_towards(points, small, inner), self._paint(field, points, painter)
        )
        return scene, density.float().cpu(), surface

    def _labels_of_voxels(self) -> Tensor:
        """(classes,) labels of the voxels' space for classes of pixels."""
        head = self.network.semantic_head
        if head is None:
            return torch.ones(1, dtype=torch.long)
        if not self.named:
            return torch.arange(head.num_classes) + 1
        return torch.from_numpy(space_map(CITYSCAPES_19, SSC_16).astype("int64"))[: head.num_classes]

    def _paint(self, field: FoldedField, points: Tensor, painter: _Painter) -> Picture | None:
        if painter.basis is None:
            return None
        found = query_in_chunks(field, points[None].to(self.device), self.settings.chunk).features
        assert found is not None  # they are looked up unless one says otherwise
        return painter.rows(found[0])


@dataclass(frozen=True, eq=False)
class _Painter:
    """Colours of features; without a basis there are none."""

    network: SceneDino
    basis: PrincipalColours | None

    def rows(self, compact: Tensor) -> Picture:
        """(P, 3) uint8 of compact features (P, C)."""
        parts = [
            feature_colours(self.network.expansion(part).float().T[:, :, None], self.basis)[:, 0]
            for part in compact.split(RAYS_AT_ONCE)
        ]
        return np.concatenate(parts)

    def picture(self, compacts: tuple[Tensor, ...], size: tuple[int, int]) -> Picture | None:
        """(h, w, 3) uint8."""
        if self.basis is None:
            return None
        return self.rows(torch.cat(compacts)).reshape(*size, 3)


def resized(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring a map (h, w) to (H, W), bilinear."""
    return F.interpolate(values[None, None], size, mode="bilinear", align_corners=False)[0, 0]


def _nothing(compact: Tensor) -> Tensor:
    return torch.zeros(compact.shape[:-1], dtype=torch.long, device=compact.device)


def _has_names(network: SceneDino, mode: PredictionMode) -> bool:
    """Whether classes are Cityscapes': probes learn them, clusters are matched with them after their training."""
    head = network.semantic_head
    if head is None or head.num_classes != CITYSCAPES_19.num_classes:
        return False
    if mode.endswith("linear"):
        return True
    classes = (head.code_clusters if mode.startswith("stego") else head.direct_clusters).classes.cpu()
    return not torch.equal(classes, torch.arange(len(classes)) % head.num_classes)


def _pixels_towards(points: Tensor, image: Tensor, matrix: Tensor) -> Picture:
    """Colours (N, 3) uint8 of an image (3, h, w) where points (N, 3) of the camera's frame are seen."""
    normalised = normalised_intrinsics(matrix, image.shape[-2], image.shape[-1]).float()
    places, _, _ = project_normalised(points, normalised)
    found = F.grid_sample(image[None], places[None, None], padding_mode="border", align_corners=False)
    return (found[0, :, 0].T * 255).round().clamp(0, 255).to(torch.uint8).numpy()
