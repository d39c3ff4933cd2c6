"""Every official weights file by name: what it is, where to get it, under which terms.

Nothing is downloaded: :func:`find_weights` looks into ``$NOLABEL_WEIGHTS`` and the cache folder, and says which
file is wanted and where it is offered if it is not there. Sizes and licences are stated where they are known;
``None`` means "see the source page".
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

from nolabel.errors import WeightsError

__all__ = ["REGISTRY", "WeightsEntry", "find_weights", "weights_folders"]


@dataclass(frozen=True)
class WeightsEntry:
    """One official file.

    Attributes:
        name: how the tool calls it.
        file: its official file name.
        source: address of the file, or of the page that offers it.
        layout: how its tensors are named.
        citation: the work to cite.
        licence: its terms, as far as known.
        megabytes: size in 10**6 bytes, if known.
        direct: True if ``source`` is the file itself.
    """

    name: str
    file: str
    source: str
    layout: str
    citation: str
    licence: str | None = None
    megabytes: float | None = None
    direct: bool = False


_CUPS = "Hahn et al., Scene-Centric Unsupervised Panoptic Segmentation, CVPR 2025, arXiv 2504.01955"
_UNMORE = "unMORE: Unsupervised Multi-Object Segmentation via Center-Boundary Reasoning, ICML 2025, arXiv 2506.01778"
_SCENEDINO = "Feed-Forward SceneDINO for Unsupervised Semantic Scene Completion, ICCV 2025, arXiv 2507.06230"
_UDASS = "Unified Domain Adaptive Semantic Segmentation, TPAMI 47(8), 2025, arXiv 2311.13254"
_COTRAINING = (
    "Co-Training for Unsupervised Domain Adaptation of Semantic Segmentation Models, Sensors 23(2) 621, 2023"
)
_DINO = "Caron et al., Emerging Properties in Self-Supervised Vision Transformers, ICCV 2021"
_DINOV2 = "Oquab et al., DINOv2: Learning Robust Visual Features without Supervision, TMLR 2024"
_RAFT = "Teed and Deng, RAFT: Recurrent All-Pairs Field Transforms for Optical Flow, ECCV 2020"
_CUTLER = "Wang et al., Cut and Learn for Unsupervised Object Detection and Instance Segmentation, CVPR 2023"
_SMURF = "Stone et al., SMURF: Self-Teaching Multi-Frame Unsupervised RAFT, CVPR 2021"
_DEPTHG = (
    "Sick et al., Unsupervised Semantic Segmentation Through Depth-Guided Feature Correlation, CVPR 2024"
)
_SEGFORMER = "Xie et al., SegFormer, NeurIPS 2021"
_MMSEG = "MMSegmentation: OpenMMLab Semantic Segmentation Toolbox and Benchmark, 2020"
_TPS = "Xing et al., Domain Adaptive Video Segmentation via Temporal Pseudo Supervision, ECCV 2022"

_PAGE = "https://github.com"
_FAIR = "https://dl.fbaipublicfiles.com"
_TORCHVISION = "https://download.pytorch.org/models"


def _dino(name: str, file: str, citation: str = _DINO, version: str = "dino") -> WeightsEntry:
    folder = file.removesuffix("_pretrain.pth") if version == "dinov2" else file.removesuffix(".pth")
    source = f"{_FAIR}/{version}/{folder}/{file}"
    return WeightsEntry(name, file, source, f"{version}_vit", citation, "Apache-2.0", direct=True)


def _page(
    name: str, file: str, page: str, layout: str, citation: str, licence: str | None = None
) -> WeightsEntry:
    return WeightsEntry(name, file, f"{_PAGE}/{page}", layout, citation, licence)


_ENTRIES = (
    # CUPS and what it starts from
    _page("cups", "cups.ckpt", "visinf/cups", "cups", _CUPS),
    _page("cups_depthg", "depthg.ckpt", "visinf/cups", "depthg", _DEPTHG),
    _page("cups_raft_smurf", "raft_smurf.pt", "visinf/cups", "raft_smurf", _SMURF),
    WeightsEntry(
        "dino_resnet50_d2",
        "dino_RN50_pretrain_d2_format.pkl",
        f"{_PAGE}/facebookresearch/CutLER",
        "detectron2_resnet50",
        _CUTLER,
        "CC BY-NC-SA (the weights)",
    ),
    # unMORE
    _page(
        "unmore_objectness", "objectness_net_model.ckpt", "vLAR-group/unMORE", "unmore_objectness", _UNMORE
    ),
    _page("unmore_existence", "classifier_model.ckpt", "vLAR-group/unMORE", "unmore_existence", _UNMORE),
    _page("unmore_detector", "unMORE_model.pth", "vLAR-group/unMORE", "cascade_mask_rcnn", _UNMORE),
    # SceneDINO
    *(
        WeightsEntry(
            f"scenedino_{name.replace('-', '_')}",
            f"seg-best-{name}/checkpoint.pt",
            "https://huggingface.co/jev-aleks/SceneDINO",
            "scenedino",
            _SCENEDINO,
        )
        for name in ("dino", "dino-orb-slam", "dinov2")
    ),
    # UDASS, images and video
    *(
        _page(f"udass_image_{s}_{n}", f"udass_image_{s}_{n}.pth", "ZHE-SAPI/UDASS", f"hrda_{b}", _UDASS)
        for s in ("gta", "syn")
        for n, b in (("trans", "mitb5"), ("cnn", "r101"))
    ),
    *(
        _page(
            f"udass_video_{s}_{n}",
            f"udass_{s}_model_video_{n}.pth",
            "ZHE-SAPI/UDASS",
            f"udass_video_{n}",
            _UDASS,
        )
        for s in ("syn", "viper")
        for n in ("cnn", "vit")
    ),
    *(
        _page(f"tps_{s}", f"tps_{s}2city_pretrained.pth", "xing0047/TPS", "udass_video_tps", _TPS)
        for s in ("viper", "syn")
    ),
    *(_page(f"mit_b{n}", f"mit_b{n}.pth", "NVlabs/SegFormer", f"mit_b{n}", _SEGFORMER) for n in range(6)),
    _page("resnet101_v1c", "resnet101_v1c.pth", "open-mmlab/mmcv", "resnet101_v1c", _MMSEG, "Apache-2.0"),
    _page("deeplab_imagenet", "DeepLab_resnet_pretrained_imagenet.pth", "valeoai/ADVENT", "resnet101", _TPS),
    # Co-Training
    _page(
        "cotraining",
        "model_final.pth",
        "JoseLGomez/Co-training_SemSeg_UDA",
        "deeplabv3plus_r101",
        _COTRAINING,
    ),
    _page("deeplab_r103", "R-103.pkl", "facebookresearch/detectron2", "detectron2_resnet101", _COTRAINING),
    # Backbones
    _dino("dino_vits16", "dino_deitsmall16_pretrain.pth"),
    _dino("dino_vits8", "dino_deitsmall8_300ep_pretrain.pth"),
    _dino("dino_vitb16", "dino_vitbase16_pretrain.pth"),
    _dino("dino_vitb8", "dino_vitbase8_pretrain.pth"),
    _dino("dinov2_vits14", "dinov2_vits14_pretrain.pth", _DINOV2, "dinov2"),
    _dino("dinov2_vitb14", "dinov2_vitb14_pretrain.pth", _DINOV2, "dinov2"),
    WeightsEntry(
        "raft_small",
        "raft_small_C_T_V2-01064c6d.pth",
        f"{_TORCHVISION}/raft_small_C_T_V2-01064c6d.pth",
        "torchvision_raft",
        _RAFT,
        "BSD-3-Clause (torchvision)",
        4.0,
        direct=True,
    ),
    WeightsEntry(
        "raft_large",
        "raft_large_C_T_SKHT_V2-ff5fadd5.pth",
        f"{_TORCHVISION}/raft_large_C_T_SKHT_V2-ff5fadd5.pth",
        "torchvision_raft",
        _RAFT,
        "BSD-3-Clause (torchvision)",
        21.1,
        direct=True,
    ),
)
REGISTRY: dict[str, WeightsEntry] = {entry.name: entry for entry in _ENTRIES}


def weights_folders() -> list[Path]:
    """Return where weights are looked for: the folders of ``$NOLABEL_WEIGHTS``, then the cache folder."""
    named = [Path(part) for part in os.environ.get("NOLABEL_WEIGHTS", "").split(os.pathsep) if part]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nolabel" / "weights"
    return [*named, cache]


def find_weights(name_or_path: str | Path) -> Path:
    """Return the file of a path or of a registry name (official or converted: ``NAME.safetensors``).

    Raises:
        WeightsError: no such file; the error names the file wanted and where to get it.
    """
    if Path(name_or_path).is_file():
        return Path(name_or_path)
    name = str(name_or_path)
    entry = REGISTRY.get(name)
    if entry is None:
        if isinstance(name_or_path, Path) or Path(name).suffix or os.sep in name:
            raise WeightsError(f"there is no weights file {name}")
        near = difflib.get_close_matches(name, REGISTRY, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known names: {', '.join(REGISTRY)}"
        raise WeightsError(f"there are no weights named {name!r}, nor a file of that name", hint=hint)
    folders = weights_folders()
    official = Path(entry.file)
    candidates = (f"{name}.safetensors", str(official.with_suffix(".safetensors")), entry.file)
    for folder in folders:
        for candidate in candidates:
            if (folder / candidate).is_file():
                return folder / candidate
    licence = f" (licence: {entry.licence})" if entry.licence else ""
    raise WeightsError(
        f"the weights {name!r} are not here: no {entry.file} in {', '.join(map(str, folders))}",
        hint=f"get {entry.file} from {entry.source}{licence}, and give its path or lay it in $NOLABEL_WEIGHTS",
    )
