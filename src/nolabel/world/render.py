"""From a scene, an instant and an eye to an image with exact ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nolabel.errors import ConfigError
from nolabel.geometry import FisheyeCamera
from nolabel.structures import StereoCalibration
from nolabel.world.casting import PlacedParts, cast_camera
from nolabel.world.materials import PartLooks, is_grass
from nolabel.world.parts import Material
from nolabel.world.scenes import SKY, TERRAIN, Scene
from nolabel.world.shading import Light, develop, make_light, shade, sky, wet_mirror
from nolabel.world.styles import Style, get_style
from nolabel.world.surfaces import Surface, surface_at

Eye = Literal["left", "right"]
CUBE_SIDE = 0.5
"""Side of the views around a fisheye camera, as share of its image's longer side."""
_SUBPIXELS = ((-0.33, 0.17), (0.33, -0.17))  # with the centre: three levels of grey along either axis


@dataclass(frozen=True)
class Rig:
    """A rectified stereo camera.

    size: (H, W) px; baseline: metres; focal: focal length as a share of the image width (1.1 = 49 degrees across, as
    in Cityscapes); fps: frames per second.
    """

    size: tuple[int, int] = (256, 512)
    baseline: float = 0.5
    focal: float = 1.1
    fps: float = 10.0

    def __post_init__(self) -> None:
        if min(self.size) < 16 or self.baseline <= 0 or self.focal <= 0 or self.fps <= 0:
            raise ConfigError(
                f"impossible camera {self}", hint="size >= 16x16; baseline, focal and fps above 0"
            )

    def matrix(self) -> Tensor:
        """Intrinsics (3, 3) float64; pixel centres are integers."""
        height, width = self.size
        f = self.focal * width
        return torch.tensor(
            [[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1]], dtype=torch.float64
        )

    def calibration(self) -> StereoCalibration:
        """The same as the structure that samples carry."""
        height, width = self.size
        f = self.focal * width
        return StereoCalibration(f, f, (width - 1) / 2, (height - 1) / 2, self.baseline, self.fps)


@dataclass(frozen=True)
class WorldFrame:
    """One image and what is known exactly about each of its pixels.

    image (3, H, W) float32 RGB in [0, 1]; depth (H, W) float32 m along z, 0 = sky; disparity (H, W) float32 px, 0 = sky
    (left: x_right = x - d; right: x_left = x + d); semantic (H, W) int64 Cityscapes train ids; instance (H, W) int64,
    0 = none, the same numbers in both eyes and at all times; actor (H, W) int64, the rigid body, -1 = sky;
    part (H, W) int64, -1 = sky; camera_to_world (4, 4) float64; matrix (3, 3) float64; time in s.
    """

    image: Tensor
    depth: Tensor
    disparity: Tensor
    semantic: Tensor
    instance: Tensor
    actor: Tensor
    part: Tensor
    camera_to_world: Tensor
    matrix: Tensor
    time: float
    eye: Eye


def place_parts(scene: Scene, time: float, device: torch.device) -> PlacedParts:
    """All parts of the scene, where they are at `time` (s)."""

    def tensor(array: object) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float64)

    parts = scene.parts
    poses = tensor(scene.actor_poses(time))[torch.as_tensor(parts.actor)]
    scaled = tensor(parts.rotation) * tensor(parts.half).unsqueeze(1)  # columns are the half axes
    linear = poses[:, :3, :3] @ scaled
    centre = (poses[:, :3, :3] @ tensor(parts.centre).unsqueeze(2)).squeeze(2) + poses[:, :3, 3]
    inverse = torch.linalg.inv(linear)
    to_unit = torch.cat([inverse, -inverse @ centre.unsqueeze(2)], 2)
    return PlacedParts(
        torch.as_tensor(parts.shape).to(device),
        to_unit.to(device),
        torch.cat([linear, centre.unsqueeze(2)], 2).to(device),
        tensor(parts.params).float().to(device),
        tensor(parts.half).float().to(device),
        torch.as_tensor(parts.solid).to(device),
    )


def _looks(scene: Scene, device: torch.device) -> PartLooks:
    parts = scene.parts

    def tensor(array: object) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32).to(device)

    return PartLooks(
        torch.as_tensor(parts.material).to(device),
        tensor(parts.colour),
        tensor(parts.params),
        tensor(parts.seed),
        tensor(parts.half),
    )


def _cube(device: torch.device) -> list[Tensor]:
    """Rotations (3, 3) float64 of views ahead, to the right, left, down and up; columns are a view's axes."""
    axes = [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0, 0, 1], [0, 1, 0], [-1, 0, 0]],
        [[0, 0, -1], [0, 1, 0], [1, 0, 0]],
        [[1, 0, 0], [0, 0, 1], [0, -1, 0]],
        [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
    ]
    return list(torch.tensor(axes, dtype=torch.float64, device=device))


def camera_pose(scene: Scene, time: float, rig: Rig, eye: Eye) -> Tensor:
    """Camera-to-world (4, 4) float64 of one eye; the right one sits `baseline` along the left one's x axis."""
    pose = torch.from_numpy(scene.ego.camera_pose(time))
    if eye == "right":
        pose[:3, 3] += pose[:3, 0] * rig.baseline
    return pose


class Renderer:
    """Renders one scene in one style; both eyes of an instant share the placed parts.

    Args:
        scene: from `generate_scene`.
        style: a name in `STYLES` or a `Style`.
        rig: the camera.
        device: where to compute.
    """

    def __init__(
        self,
        scene: Scene,
        style: str | Style = "real",
        rig: Rig | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.scene, self.style, self.rig = scene, get_style(style), rig or Rig()
        self.device = torch.device(device)
        self._looks = _looks(scene, self.device)
        self._light: Light = make_light(scene.weather, self.style, self.device)
        parts = scene.parts
        self._labels = torch.as_tensor(parts.label).to(self.device)
        self._instances = torch.as_tensor(parts.instance).to(self.device)
        self._actors = torch.as_tensor(parts.actor).to(self.device)
        self._placed: tuple[float, PlacedParts] | None = None

    def placed(self, time: float) -> PlacedParts:
        """The parts at `time`; the last instant is remembered."""
        if self._placed is None or self._placed[0] != time:
            self._placed = (time, place_parts(self.scene, time, self.device))
        return self._placed[1]

    def frame(self, time: float, eye: Eye = "left") -> WorldFrame:
        """The image and the truth of one eye at `time` (s)."""
        pose = camera_pose(self.scene, time, self.rig, eye)
        return self.view(time, pose, self.rig.matrix(), self.rig.size, eye, noise=int(eye == "right"))

    def view(
        self,
        time: float,
        pose: Tensor,
        matrix: Tensor,
        size: tuple[int, int],
        eye: Eye = "left",
        noise: int = 0,
    ) -> WorldFrame:
        """The image and the truth of any pinhole camera at `time` (s).

        Args:
            time: s.
            pose: camera to world (4, 4).
            matrix: (3, 3) pixels.
            size: (H, W) pixels.
            eye: what the frame is called; decides the sign of its disparity.
            noise: cameras with different numbers have different sensor noise at one instant.
        """
        height, width = size
        pose, matrix = pose.to(self.device), matrix.to(self.device)
        radiance, part, depth, semantic = self._trace(time, pose, matrix, size)
        image = self._develop(radiance.T.reshape(3, height, width), time, noise)
        focal = float(matrix[0, 0])
        disparity = torch.where(part < 0, 0.0, focal * self.rig.baseline / depth.clamp(min=1e-3))

        def shaped(value: Tensor) -> Tensor:
            return value.view(height, width)

        return WorldFrame(
            image=image,
            depth=shaped(depth),
            disparity=shaped(disparity),
            semantic=shaped(semantic),
            instance=shaped(torch.where(part < 0, 0, self._instances[part.clamp(min=0)])),
            actor=shaped(torch.where(part < 0, -1, self._actors[part.clamp(min=0)])),
            part=shaped(part),
            camera_to_world=pose,
            matrix=matrix,
            time=time,
            eye=eye,
        )

    def fisheye(
        self, time: float, pose: Tensor, camera: FisheyeCamera, size: tuple[int, int], noise: int = 0
    ) -> Tensor:
        """The picture (3, H, W) of a fisheye camera, black outside of its image circle.

        Five views of a cube around the camera are rendered and looked up; what lies more than 45 degrees behind the
        camera is black, too.
        """
        height, width = size
        rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in size), indexing="ij")
        rays, seen = camera.unproject(torch.stack([columns, rows], dim=-1).view(-1, 2))
        rays, seen = rays.to(self.device), seen.to(self.device)
        side = round(CUBE_SIDE * max(size))
        centre = (side - 1) / 2
        matrix = torch.tensor(
            [[centre - 1, 0, centre], [0, centre - 1, centre], [0, 0, 1]],
            dtype=torch.float64,
            device=self.device,
        )
        radiance = torch.zeros(3, height * width, device=self.device)
        best = torch.stack([rays @ turn[:, 2] for turn in _cube(self.device)]).max(dim=0)
        for face, turn in enumerate(_cube(self.device)):
            mine = (seen & (best.indices == face) & (best.values > 0.57)).nonzero().squeeze(1)
            if not len(mine):
                continue
            face_pose = pose.to(self.device).clone()
            face_pose[:3, :3] = face_pose[:3, :3] @ turn
            traced = self._trace(time, face_pose, matrix, (side, side))[0].T.reshape(1, 3, side, side)
            local = rays[mine] @ turn
            grid = local[:, :2] / local[:, 2:] * (centre - 1) / centre
            looked_up = torch.nn.functional.grid_sample(
                traced, grid.float().view(1, 1, -1, 2), align_corners=True
            )
            radiance[:, mine] = looked_up[0, :, 0]
        image = self._develop(radiance.view(3, height, width), time, noise)
        return torch.where(seen.view(height, width), image, torch.zeros_like(image))

    def _trace(
        self, time: float, pose: Tensor, matrix: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Linear radiance (H*W, 3), part (-1 sky), depth (m, 0 sky) and class of the pixels."""
        height, width = size
        placed = self.placed(time)
        part, depth = (x[0] for x in cast_camera(placed, pose[:3, :3], pose[:3, 3], matrix, size))
        rows, columns = torch.arange(height, device=self.device), torch.arange(width, device=self.device)
        v, u = (x.reshape(-1).double() for x in torch.meshgrid(rows, columns, indexing="ij"))
        radiance, surface = self._radiance(placed, pose, matrix, u, v, part, depth)
        if self.style.antialias:
            radiance = self._antialias(placed, pose, matrix, size, part, radiance)
        semantic = torch.where(part < 0, SKY, self._labels[part.clamp(min=0)])
        met = (part >= 0).nonzero().squeeze(1)
        raised = self._looks.material[surface.part] == int(Material.PAVEMENT)
        semantic[met[raised & is_grass(surface.world, self.scene.layout)]] = TERRAIN
        if self._light.wet:
            radiance = wet_mirror(
                radiance.view(height, width, 3),
                pose,
                matrix,
                surface,
                met,
                self._looks,
                self.scene.layout,
                self._light.wet,
            )
        return radiance, part, depth, semantic

    def _develop(self, radiance: Tensor, time: float, noise: int) -> Tensor:
        seed = (self.scene.seed * 1_000_003 + round(time * 1000) * 2 + noise) % (1 << 62)
        return develop(radiance, self._light, self.style, torch.Generator().manual_seed(seed))

    def _radiance(
        self,
        placed: PlacedParts,
        pose: Tensor,
        matrix: Tensor,
        u: Tensor,
        v: Tensor,
        part: Tensor,
        depth: Tensor,
    ) -> tuple[Tensor, Surface]:
        """Linear radiance (n, 3) of the rays through (u, v), and the surface points of those that meet a part."""
        ray = torch.stack(
            [(u - matrix[0, 2]) / matrix[0, 0], (v - matrix[1, 2]) / matrix[1, 1], torch.ones_like(u)], 1
        )
        ray = ray @ pose[:3, :3].T
        view = torch.nn.functional.normalize(ray, dim=1).float()
        met = (part >= 0).nonzero().squeeze(1)
        radiance = torch.empty_like(view)
        empty = (part < 0).nonzero().squeeze(1)
        radiance[empty] = sky(view[empty], self._light, self.style)
        point = (pose[:3, 3] + ray[met] * depth[met].double().unsqueeze(1)).float()
        surface = surface_at(placed, part[met], point, view[met], depth[met], float(matrix[0, 0]))
        radiance[met] = shade(placed, self._looks, surface, self.scene.layout, self._light, self.style)
        return radiance, surface

    def _antialias(
        self,
        placed: PlacedParts,
        pose: Tensor,
        matrix: Tensor,
        size: tuple[int, int],
        part: Tensor,
        radiance: Tensor,
    ) -> Tensor:
        """Average more rays into the pixels where two parts meet; labels and depth stay those of the pixel centre."""
        height, width = size
        only = self._outlines(part.view(height, width)).view(-1)
        pixels = only.nonzero().squeeze(1)
        offsets = _SUBPIXELS[: self.style.antialias]
        parts, depths = cast_camera(placed, pose[:3, :3], pose[:3, 3], matrix, size, offsets, only)
        u = torch.cat([pixels % width + du for du, _ in offsets]).double()
        v = torch.cat([torch.div(pixels, width, rounding_mode="floor") + dv for _, dv in offsets]).double()
        more, _ = self._radiance(
            placed, pose, matrix, u, v, parts[:, pixels].reshape(-1), depths[:, pixels].reshape(-1)
        )
        total = radiance[pixels]
        for sample in more.view(len(offsets), -1, 3):
            total = total + sample
        radiance = radiance.clone()
        radiance[pixels] = total / (1 + len(offsets))
        return radiance

    def _outlines(self, part: Tensor) -> Tensor:
        """Pixels (H, W) bool with another part beside them; blobs of one crown do not count."""
        leaves = (part >= 0) & (self._looks.material[part.clamp(min=0)] == int(Material.LEAVES))
        actor = self._actors[part.clamp(min=0)]
        owner = torch.where(leaves, -2 - actor, part)
        edge = torch.zeros_like(part, dtype=torch.bool)
        across, down = owner[:, 1:] != owner[:, :-1], owner[1:] != owner[:-1]
        edge[:, 1:] |= across
        edge[:, :-1] |= across
        edge[1:] |= down
        edge[:-1] |= down
        return edge


def render(
    scene: Scene, time: float, style: str | Style = "real", size: tuple[int, int] = (256, 512), eye: Eye = "left",
    rig: Rig | None = None, device: str | torch.device = "cpu",
) -> WorldFrame:  # fmt: skip
    """Render one eye of `scene` at `time` (s); `rig` overrides `size`. See `Renderer` to render several frames."""
    return Renderer(scene, style, rig or Rig(size), device).frame(time, eye)
