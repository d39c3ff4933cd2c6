"""What a notebook needs: load a model, call it on anything that holds images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch
from torch import Tensor

from nolabel.errors import ConfigError, DataError, WeightsError
from nolabel.methods.cups.model_file import CupsModel, load_model
from nolabel.methods.cups.predict import predict_images
from nolabel.structures import PanopticMap
from nolabel.weights import find_weights

if TYPE_CHECKING:
    from nolabel.methods.cups.validate import ValidationResult

__all__ = ["Pipeline", "evaluate", "load", "to_image"]

SYSTEMS = ("cups",)
PLANNED = ("unmore", "quadmix", "scenedino", "cotrain")


def to_image(source: Any) -> Tensor:
    """Turn a path, PIL image, array or tensor into an image tensor.

    Args:
        source: a file; a PIL image of any mode; an array (H, W), (H, W, 3 or 4) or (3, H, W); a tensor (3, H, W).
            Integers are 8 bit, floats lie in [0, 1].

    Returns:
        (3, H, W) float32 RGB in [0, 1].

    Raises:
        DataError: the file cannot be read, or the shape or the values are not those of an image.
    """
    from nolabel.data import read_image

    if isinstance(source, str | Path):
        return torch.as_tensor(read_image(source))
    if hasattr(source, "convert"):
        source = np.asarray(source.convert("RGB"))
    image = torch.as_tensor(np.ascontiguousarray(source) if isinstance(source, np.ndarray) else source)
    if image.ndim == 2:
        image = image[None].expand(3, -1, -1)
    elif image.ndim == 3 and image.shape[0] != 3 and image.shape[-1] in (3, 4):
        image = image[..., :3].permute(2, 0, 1)
    if image.ndim != 3 or image.shape[0] != 3:
        raise DataError(
            f"an image of shape {tuple(image.shape)} was given.",
            hint="give a path, a PIL image, an array (H, W, 3) or a tensor (3, H, W)",
        )
    image = image.float() if image.is_floating_point() else image.float() / 255
    if not bool(torch.isfinite(image).all()) or float(image.min()) < -0.01 or float(image.max()) > 1.01:
        raise DataError(
            "the values of an image are not in [0, 1].",
            hint="divide 8-bit values by 255, or give them as integers",
        )
    return image.clamp(0, 1)


class Pipeline:
    """A loaded model: call it on an image, a list, a folder or a video.

    Args:
        model: network and the meaning of its clusters.

    Example:
        >>> model = nolabel.load("cups")
        >>> result = model("street.png")
        >>> result.save("out/")
    """

    def __init__(self, model: CupsModel) -> None:
        self.model = model

    @property
    def space(self) -> Any:
        """The label space of the results."""
        return self.model.output_space

    @overload
    def __call__(self, source: str | Path) -> PanopticMap | list[PanopticMap]: ...
    @overload
    def __call__(self, source: Any) -> Any: ...
    def __call__(self, source: Any) -> Any:
        """Predict.

        Args:
            source: an image (see :func:`to_image`) gives one result; a list of images, a folder or a video file gives
                a list of results, in order.
        """
        if isinstance(source, list | tuple):
            return [result for image in source for result in predict_images(self.model, [to_image(image)])]
        if isinstance(source, str | Path) and _holds_many(Path(source)):
            return [result for _, result in self.stream(source)]
        return predict_images(self.model, [to_image(source)])[0]

    def stream(self, source: str | Path) -> Iterator[tuple[str, PanopticMap]]:
        """Yield (name, result) for every image of a folder or frame of a video, one at a time."""
        from nolabel.data import open_images

        images = open_images(source)
        for index in range(len(images)):
            sample = images[index]
            yield sample["name"], predict_images(self.model, [torch.as_tensor(sample["image"])])[0]


def load(
    system: Literal["cups"] | str,
    weights: str | Path | None = None,
    *,
    device: str = "auto",
    part: Literal["student", "teacher"] = "student",
    confidence_threshold: float | None = None,
) -> Pipeline:
    """Load a model.

    Args:
        system: which of the systems, ``"cups"``.
        weights: run folder, converted file, official checkpoint, or the name of a registered one; ``None`` takes the
            small embedded network, which was trained on the procedural world without labels.
        device: ``"auto"`` takes an accelerator where there is one, else as torch names it.
        part: which network of a self-training checkpoint.
        confidence_threshold: score from which instances are kept; the model's own by default.

    Raises:
        ConfigError: no such system.
        WeightsError: weights that cannot be found, read or fitted.
    """
    if system in PLANNED:
        raise ConfigError(f"{system} is not built yet.", hint=f"available: {', '.join(SYSTEMS)}")
    if system not in SYSTEMS:
        raise ConfigError(f"there is no system {system!r}.", hint=f"available: {', '.join(SYSTEMS)}")
    path = embedded_weights(system) if weights is None else _located(weights)
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    return Pipeline(load_model(path, part=part, confidence_threshold=confidence_threshold, device=chosen))


def evaluate(
    predictor: Pipeline | str | Path,
    data: str | Path,
    *,
    recipe: str | Path | None = None,
    out: str | Path | None = None,
    visualize: int | None = 0,
    progress: bool = True,
    **settings: Any,
) -> ValidationResult:
    """Score a model, or a folder of predictions or pseudo-labels, on labelled images.

    Args:
        predictor: a loaded model, or the folder.
        data: the labelled data set in its official layout, or images/ and labels/.
        recipe: a published protocol (``"cups/validate/cityscapes"``) or a YAML file; the data set's own classes on
            whole images by default.
        out: folder for ``results.json``, ``report.html`` and overlays; nothing is written without it.
        visualize: write overlays of so many images (``None``: all).
        progress: show progress.
        settings: fields of :class:`~nolabel.methods.cups.validation_config.ValidationConfig`, nested ones as
            dictionaries: ``space="cityscapes_7", tta={"enabled": True}``.

    Returns:
        ``result.scores.pq`` and so on in 0..1; ``print(result.table())``.

    Example:
        >>> nolabel.evaluate(nolabel.load("cups"), "world/", space="cityscapes_19").scores.pq
    """
    from nolabel.config import load_config
    from nolabel.methods.cups.validate import validate
    from nolabel.methods.cups.validation_config import ValidationConfig

    return validate(
        predictor.model if isinstance(predictor, Pipeline) else predictor,
        data,
        load_config(ValidationConfig, recipe, **settings),
        out=None if out is None else Path(out),
        visualize=visualize,
        progress=progress,
    )


def embedded_weights(system: str) -> Path:
    """Return the file of the weights that the package carries for a system."""
    path = Path(str(resources.files("nolabel"))) / "weights" / "embedded" / f"{system}.safetensors"
    if not path.exists():
        raise WeightsError(
            f"no weights for {system} are embedded in this installation.", hint="give weights=..."
        )
    return path


def _located(weights: str | Path) -> Path:
    path = Path(weights)
    return path if path.exists() else find_weights(weights)


def _holds_many(path: Path) -> bool:
    from nolabel.data import find_layout

    return path.is_dir() or (path.is_file() and find_layout(path) == "video")


def predict_to_folder(
    pipeline: Pipeline, sources: Sequence[str | Path], out: Path, *, alpha: float = 0.6
) -> int:
    """Write the results and an overlay of every image of files, folders and videos; return how many there were."""
    from nolabel.data import open_images
    from nolabel.engine.progress import Progress
    from nolabel.structures.files import write_png

    count = 0
    for source in sources:
        images = open_images(source)
        with Progress(f"predict {Path(source).name}", len(images), unit="images") as progress:
            for index in range(len(images)):
                sample = images[index]
                result = predict_images(pipeline.model, [torch.as_tensor(sample["image"])])[0]
                result.save(out, sample["name"])
                write_png(out / f"{sample['name']}_overlay.png", result.overlay(sample["image"], alpha))
                count += 1
                progress.advance()
    return count
