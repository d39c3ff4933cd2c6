"""Learning semantics: from images and from stereo, resumed exactly, and what labelling makes of the result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from nolabel.config import load_config
from nolabel.engine import fit as loop
from nolabel.engine.feature_extractors import open_features
from nolabel.errors import ConfigError, WeightsError
from nolabel.methods.cups.depthg.config import DepthGConfig
from nolabel.methods.cups.depthg.model_file import SEMANTICS_FILE, load_semantics
from nolabel.methods.cups.depthg.run import train_on
from nolabel.methods.cups.depthg.train import SemanticTraining
from nolabel.methods.cups.pseudo_label_config import SemanticConfig
from nolabel.methods.cups.semantic_model import load_model
from nolabel.models.features import CodeNetwork, DescribedFeatures, DinoViT
from nolabel.recipes import recipe_names
from nolabel.weights import load_checkpoint, save_safetensors

COLOURS = ((200, 40, 40), (40, 180, 60), (40, 60, 200))


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of three horizontal bands of different colours, their depth and their labels."""
    root = tmp_path_factory.mktemp("streets")
    random = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        for number in range(count):
            first, second = sorted(random.choice(np.arange(16, 50), 2, replace=False))
            label = np.zeros((64, 96), np.uint8)
            label[first:second], label[second:] = 1, 2
            noise = random.normal(0, 8, (64, 96, 3))
            picture = np.clip(np.asarray(COLOURS)[label] + noise, 0, 255).astype(np.uint8)
            depth = np.asarray([250, 120, 40], np.uint8)[label]
            for folder, values in (("images", picture), ("labels", label), ("depth", depth)):
                (root / folder / split).mkdir(parents=True, exist_ok=True)
                Image.fromarray(values).save(root / folder / split / f"{split}{number}.png")
    return root


def settings(*overrides: str, **values) -> DepthGConfig:
    common = {
        "fit": {"steps": 8, "batch_size": 4, "seed": 3, "accelerator": "cpu", "checkpoint_every": 4},
        "crops": {"side": 32},
        "dim": 8,
        "clusters": 3,
        "samples": 4,
        "positives": 3,
        "centre_features": True,
        "intra": {"weight": 1.0, "shift": None},
        "inter": {"weight": 1.0, "shift": None},
        "negative": {"weight": 0.6, "shift": None},
    }
    return load_config(DepthGConfig, None, overrides, **{**common, **values})


def learn(streets: Path, out: Path, config: DepthGConfig, *, depth: bool = True, **options):
    return train_on(
        streets / "images/train",
        out,
        config,
        depth=streets / "depth/train" if depth else None,
        progress=False,
        **options,
    )


def test_bands_of_colour_are_found_and_scored_without_teaching_labels(streets: Path, tmp_path: Path) -> None:
    config = settings(
        "fit.steps=60", "fit.batch_size=8", "final_clusters=kmeans", "choose=miou", "fit.validate_every=30"
    )
    labels = {"labels": streets, "space": "cityscapes_7"}
    result = learn(streets, tmp_path / "run", config, **labels)
    assert result.metrics["miou"] > 0.7  # three of seven classes occur
    assert result.metrics["linear_accuracy"] > 0.5
    assert np.isfinite(list(result.metrics.values())).all()
    card = load_checkpoint(tmp_path / "run" / SEMANTICS_FILE).metadata
    assert card["backbone"] == "descriptors" and card["dim"] == 8 and card["clusters"] == 3
    assert card["metrics"]["miou"] == result.metrics["miou"]


def test_features_of_our_own_are_rebuilt_from_the_card(streets: Path, tmp_path: Path) -> None:
    config = settings("fit.steps=1", "backbone.name=embedded")
    learn(streets, tmp_path / "run", config)
    found = load_semantics(tmp_path / "run")
    assert isinstance(found.backbone, DescribedFeatures) and found.uses_geometry
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.backbone(image), open_features("embedded")(image))


def test_without_labels_and_depth_nothing_is_nan(
    streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings("choose=cluster_loss", "fit.validate_every=2", "places=farthest")
    result = train_on(streets / "images/train", tmp_path / "run", config)
    assert set(result.metrics) == {"cluster_loss", "clusters_used"}
    assert np.isfinite(list(result.metrics.values())).all()
    assert "without the depth term" in capsys.readouterr().err
    assert "depth" not in (tmp_path / "run/log.jsonl").read_text()


@pytest.mark.parametrize("stop", [3, 5])
def test_a_stopped_run_goes_on_exactly(
    streets: Path, tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(
        "choose=cluster_loss", "fit.validate_every=2", "fit.checkpoint_every=1", "places=farthest"
    )
    learn(streets, tmp_path / "whole", config)
    plain = SemanticTraining.training_step

    def stopping(self, batch, step):
        if step == stop:
            raise KeyboardInterrupt
        return plain(self, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(SemanticTraining, "training_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            learn(streets, tmp_path / "parts", config)
    assert not (tmp_path / "parts" / SEMANTICS_FILE).exists()
    with pytest.raises(WeightsError, match="has not finished"):
        load_semantics(tmp_path / "parts")
    result = learn(streets, tmp_path / "parts", config)
    assert result.resumed_from == stop
    whole, parts = ((tmp_path / name / SEMANTICS_FILE).read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def test_depth_teaches(streets: Path, tmp_path: Path) -> None:
    logs = []
    for name, depth in (("with", True), ("without", False)):
        learn(streets, tmp_path / name, settings(depth={"weight": 1.0, "shift": 0.0}), depth=depth)
        logs.append(load_checkpoint(tmp_path / name / SEMANTICS_FILE).state_dict["head.linear.weight"])
    assert not torch.equal(*logs)


def test_official_dino_weights_and_recomputed_features(streets: Path, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vit = DinoViT(width=64, heads=1, depth=2, patch=8)
    official = {f"backbone.{name}": value for name, value in vit.transformer.state_dict().items()}
    torch.save({"teacher": official, "state_dict": official}, tmp_path / "dino.pth")
    backbone = {"name": "dino", "weights": tmp_path / "dino.pth"}
    metrics = [
        learn(streets, tmp_path / cache, settings(f"crops.cache={cache}", backbone=backbone)).metrics
        for cache in ("disk", "recompute")
    ]
    assert metrics[0]["cluster_loss"] == pytest.approx(metrics[1]["cluster_loss"], abs=2e-3)
    network = load_semantics(tmp_path / "disk")
    assert isinstance(network.backbone, DinoViT)
    image = torch.rand(1, 3, 32, 48)
    torch.testing.assert_close(network.backbone(image), vit.eval()(image))


def test_half_precision_changes_features_a_little_and_the_file_not_in_kind(
    streets: Path, tmp_path: Path
) -> None:
    state = DinoViT(width=64, heads=1, depth=2, patch=8).transformer.state_dict()
    save_safetensors(tmp_path / "dino.safetensors", state, {})
    backbone = {"name": "dino", "weights": tmp_path / "dino.safetensors", "half_precision": True}
    learn(streets, tmp_path / "run", settings("fit.steps=2", backbone=backbone))
    codes = []
    image = torch.rand(1, 3, 64, 64)
    for half in (False, True):
        wanted = SemanticConfig(features="depthg", weights=tmp_path / "run", half_precision=half)
        model = load_model(wanted, tmp_path / "no clusters", "cpu")
        with torch.inference_mode():
            codes.append(model.extractor(image))
    assert codes[1].dtype == torch.float32
    assert 0 < (codes[0] - codes[1]).abs().max() < 0.05 * codes[0].abs().max()


def test_other_footage_is_not_mixed_into_a_run(streets: Path, tmp_path: Path) -> None:
    learn(streets, tmp_path / "run", settings())
    (tmp_path / "run/result.json").unlink()  # as if it had been stopped
    with pytest.raises(ConfigError, match="other footage"):
        learn(streets, tmp_path / "run", settings(), depth=False)


def test_scores_may_be_refined_by_the_crf(streets: Path, tmp_path: Path) -> None:
    config = settings("fit.steps=2", "crf=true")
    result = learn(streets, tmp_path / "run", config, labels=streets, space="cityscapes_7")
    assert 0 <= result.metrics["miou"] <= 1


def test_any_timm_vit_gives_a_network_that_labelling_takes(streets: Path, tmp_path: Path) -> None:
    name = "vit_tiny_patch16_224"
    state = timm.create_model(name, num_classes=0).state_dict()
    save_safetensors(tmp_path / "vit.safetensors", state, {})
    learn(
        streets,
        tmp_path / "run",
        settings("fit.steps=2", backbone={"name": name, "weights": tmp_path / "vit.safetensors"}),
    )
    model = load_model(
        SemanticConfig(features="depthg", weights=tmp_path / "run"), tmp_path / "no clusters", "cpu"
    )
    assert isinstance(model.extractor, CodeNetwork) and model.extractor.uses_windows
    assert model.num_classes == 3
    with torch.inference_mode():
        code = model.classifier.project(model.extractor(torch.rand(2, 3, 64, 96)))
        scores = model.classifier.log_probabilities(code)
    assert code.shape == (2, 8, 4, 6)
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(2, 4, 6))


def test_settings_that_cannot_work_are_refused(streets: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs labels"):
        learn(streets, tmp_path / "a", settings("choose=miou"))
    with pytest.raises(ConfigError, match="is what training makes"):
        learn(streets, tmp_path / "b", settings("backbone.name=depthg"))
    with pytest.raises(WeightsError, match="needs weights"):
        learn(streets, tmp_path / "c", settings("backbone.name=dino"))
    with pytest.raises(ConfigError, match="leaves no negatives"):
        learn(streets, tmp_path / "d", settings("fit.batch_size=1"))


def test_schedules() -> None:
    config = DepthGConfig(samples=11, samples_decay=0.9, samples_decay_every=1000)
    assert [config.samples_at(step) for step in (0, 999, 1000, 2000, 100_000)] == [9, 9, 8, 8, 2]
    assert DepthGConfig(samples=11).samples_at(5000) == 11
    assert [round(config.depth_factor(step), 4) for step in (0, 399, 400, 800)] == [1, 1, 0.8, 0.64]


def test_every_recipe_with_the_section_is_complete() -> None:
    found = 0
    for name in (n for n in recipe_names() if n.startswith("cups/")):
        try:
            config = load_config(DepthGConfig, name, section="semantics_training")
        except ConfigError as error:
            assert "has no section" in error.message
            continue
        found += 1
        assert loop.FitConfig.model_validate(config.fit.model_dump()) == config.fit
    assert found >= 5
