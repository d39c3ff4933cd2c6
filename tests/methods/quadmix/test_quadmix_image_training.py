"""Trainings on images end to end: every method, kills, two processes, replays, another start."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import nolabel
from nolabel.cli import app
from nolabel.engine.run_folder import RunFolder
from nolabel.engine.segmentor_file import MODEL_FILE, TEACHER_FILE, load_model
from nolabel.errors import ConfigError
from nolabel.methods.quadmix import image_training
from nolabel.methods.quadmix.clip import Clip
from nolabel.methods.quadmix.draws import Plan
from nolabel.methods.quadmix.image_data import ImageData
from nolabel.methods.quadmix.image_iteration import ImageIteration
from nolabel.methods.quadmix.image_training import train_images
from nolabel.methods.quadmix.teacher import AverageTeacher
from nolabel.models.segmentation import build_segmentor
from nolabel.structures import SemanticMap
from tests.methods.quadmix.image_world import HRDA, METHODS, settings, write_world


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


def states(run: Path) -> dict[str, torch.Tensor]:
    """Everything in the newest checkpoint that is a tensor, by path."""

    def walk(value: object, path: str) -> dict[str, torch.Tensor]:
        if isinstance(value, torch.Tensor):
            return {path: value}
        items = value.items() if isinstance(value, dict) else []
        items = enumerate(value) if isinstance(value, list | tuple) else items
        return {k: v for key, item in items for k, v in walk(item, f"{path}/{key}").items()}

    return walk(RunFolder(run).load(), "")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(v, second[k]) for k, v in first.items())


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_reports(method: str, world: Path, tmp_path: Path) -> None:
    run = train_images(settings(world, method), tmp_path, device="cpu", progress=False)
    assert 0 <= run.metrics["miou"] <= 1
    assert run.model.is_file() and "Predictions" in run.report.read_text()
    assert (tmp_path / TEACHER_FILE).is_file() == (method != "source_only")
    names = {name for line in RunFolder(tmp_path).read_log() for name in line}
    assert ("train/masked/fused" in names) == (method in ("mic", "quadmix"))
    assert ("train/on_target/fused" in names) == (method == "quadmix")
    assert ("train/mixed/fused" in names) == (method != "source_only")
    assert train_images(settings(world, method), tmp_path, device="cpu", progress=False).already_finished


def test_a_killed_run_goes_on_bit_for_bit(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(world, "quadmix", network=HRDA)
    train_images(config, tmp_path / "whole", device="cpu", progress=False)
    done = image_training.ImageTraining.training_step

    def killed(self, batch, step):
        if step == 3:
            raise KeyboardInterrupt
        return done(self, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(image_training.ImageTraining, "training_step", killed)
        with pytest.raises(KeyboardInterrupt):
            train_images(config, tmp_path / "parts", device="cpu", progress=False)
    before = states(tmp_path / "parts")
    assert any("templates/source.frames" in name for name in before)
    train_images(config, tmp_path / "parts", device="cpu", progress=False)
    assert not same(before, states(tmp_path / "parts"))
    assert same(states(tmp_path / "whole"), states(tmp_path / "parts"))


def test_an_iteration_is_a_function_of_its_draws(world: Path) -> None:
    config = settings(world, "quadmix", network=HRDA)
    data = ImageData.open(config, progress=False)
    bank = data.patch_bank(config)
    assert bank is not None
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    options = {**config.network.options, "drop_path": 0.0, "dropout": 0.0}
    student, teacher = (build_segmentor(config.network.name, 19, **options).train() for _ in range(2))
    iteration = ImageIteration(config, student, num_classes=19, teacher=AverageTeacher(teacher, student, 0.9))
    images = torch.rand(2, 2, 3, 32, 32, generator=generator)
    source = Clip.of_images(images[0], torch.randint(0, 3, (2, 32, 32), generator=generator))
    target = iteration.label(images[1], torch.ones(2, 32, 32, dtype=torch.bool))
    templates = iteration.run(
        iteration.draw(generator, source, target, None), source, target, torch.Tensor.backward
    ).templates
    plan = bank.draw(generator, 2)
    assert plan != Plan()
    draws = iteration.draw(generator, source, target, templates, plan)
    gradients = []
    for _ in range(2):
        student.zero_grad()
        torch.manual_seed(len(gradients))  # nothing may depend on the global generator
        record = iteration.run(
            draws,
            source,
            target,
            torch.Tensor.backward,
            templates=templates,
            patches=bank.read(plan),
        )
        gradients.append({n: p.grad.clone() for n, p in student.named_parameters()})
    assert same(*gradients)
    assert {"on_source", "on_target", "masked"} <= record.samples.keys()
    parts = ("source", "on_source", "on_target", "masked")
    weights = (1, *config.composite_weights, 1)
    whole = sum(
        weight * sum(v for n, v in record.losses.items() if n in (f"{part}/fused", f"{part}/detail"))
        for part, weight in zip(parts, weights, strict=True)
    )
    torch.testing.assert_close(record.losses["loss"], whole)


def test_going_on_from_another_training(world: Path, tmp_path: Path) -> None:
    train_images(settings(world, "mic", "fit.steps=2"), tmp_path / "mic", device="cpu", progress=False)
    started = f"start={{checkpoint: {tmp_path / 'mic'}, step: 2}}"
    run = train_images(
        settings(world, "quadmix", started), tmp_path / "quadmix", device="cpu", progress=False
    )
    assert RunFolder(tmp_path / "quadmix").load()["step"] == 2
    assert load_model(run.model).facts["steps"] == 4
    file = f"start={{checkpoint: {tmp_path / 'mic' / MODEL_FILE}, step: 2}}"
    train_images(settings(world, "quadmix", file), tmp_path / "file", device="cpu", progress=False)
    with pytest.raises(ConfigError, match="leaves nothing"):
        late = started.replace("step: 2", "step: 4")
        train_images(settings(world, "quadmix", late), tmp_path / "late", device="cpu", progress=False)


@pytest.mark.parametrize(
    "overrides",
    [
        ["adaptation.class_mix=false", "adaptation.entropy_weight=0.01"],
        ["adaptation.class_mix=false", "adaptation.adversarial={weight: 0.1}"],
        ["adaptation.masked={images: both, teacher_rate: 0.9, mask: {block: 8}}"],
        ["adaptation.class_mix=false", "adaptation.masked={images: source, mask: {block: 8}}"],
    ],
)
def test_other_ways_to_adapt(overrides: list[str], world: Path, tmp_path: Path) -> None:
    config = settings(world, "dacs", "fit.steps=2", *overrides)
    train_images(config, tmp_path, device="cpu", progress=False)
    names = {name for line in RunFolder(tmp_path).read_log() for name in line}
    wanted = {"entropy": "entropy_weight", "discriminator": "adversarial", "masked/fused": "masked"}
    for name, setting in wanted.items():
        assert (f"train/{name}" in names) == any(f"adaptation.{setting}=" in o for o in overrides)


def test_feature_distance_needs_imagenet(world: Path, tmp_path: Path) -> None:
    config = settings(world, "mic", "feature_distance={}", network=HRDA)
    with pytest.raises(ConfigError, match="ImageNet"):
        train_images(config, tmp_path, device="cpu", progress=False)


def test_commands_and_loading(world: Path, tmp_path: Path) -> None:
    invoke = CliRunner().invoke
    run = tmp_path / "run"
    train_images(settings(world, "mic", "fit.steps=1"), run, device="cpu", progress=False)
    counted = invoke(app, ["quadmix", "prepare", "--source", str(world / "source")])
    assert counted.exit_code == 0 and "pixels in" in counted.output
    scored = invoke(
        app, ["quadmix", "evaluate", str(run), "--data", str(world / "target"), "--part", "teacher"]
    )
    assert scored.exit_code == 0, scored.output
    found = nolabel.load("quadmix", run, part="teacher", device="cpu")(torch.rand(3, 32, 48))
    assert isinstance(found, SemanticMap)
