"""Scores of QuadMix and of what it stands on, over several seeds: from a synthetic world to a real one.

    PYTHONPATH=src python benchmarks/quadmix_study.py --kind image --out study --seeds 0 1 2

For each seed two worlds are rendered: labelled frames of the style ``synthetic`` and frames of the style ``real``, whose
labels nothing is trained with. One network is trained on the synthetic frames for the first steps; every row goes on from
it, in its own way but for equally many steps; the last learns from the real labels then and shows what could be had. All
are scored on held-out real scenes. Every part is resumable: the same command goes on where it was stopped. ``--rows``
chooses rows by name, ``--ablations`` adds those with one direction of the mixing left out. The table gives mean and
standard deviation of the mIoU over the seeds, in percent, and the gain over the row before.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from study_worlds import Worlds, run_jobs, score_of, write_scores

from nolabel.data.domain_images import DataPart, open_validation
from nolabel.engine.network_scoring import NetworkScorer
from nolabel.engine.segmentor_file import MODEL_FILE, TEACHER_FILE, load_model
from nolabel.methods.quadmix.image_data import image_settings
from nolabel.methods.quadmix.image_training import train_images
from nolabel.methods.quadmix.mixing_config import DIRECTIONS
from nolabel.methods.quadmix.settings import ImageConfig
from nolabel.methods.quadmix.video_opening import load_video_settings
from nolabel.methods.quadmix.video_training import train_video
from nolabel.structures.files import write_json


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        name: in the table, and of its folder.
        settings: what it changes against the recipe.
        start: the row whose network it goes on from.
        teacher: the row whose network teaches it at first (video).
        supervised: it learns from the labels of the target instead of the source.
        shown: it is in the table.
    """

    name: str
    settings: tuple[str, ...] = ()
    start: str | None = None
    teacher: str | None = None
    supervised: bool = False
    shown: bool = True


@dataclass(frozen=True)
class Run:
    """A training of one seed.

    Attributes:
        worlds: the data.
        row: which training.
        settings: changes to the recipe in all rows.
        start: folder of the training it goes on from.
        out: its folder.
    """

    worlds: Worlds
    row: Row
    settings: tuple[str, ...]
    start: Path | None
    out: Path


@dataclass(frozen=True)
class Kind:
    """A table.

    Attributes:
        layouts, frames, size: of the worlds.
        scenes: number of source, target and held-out scenes.
        rows: trainings, those that others go on from before them.
        ablations: more of them.
        train: trains a row, or goes on, and leaves a run folder with its scores in its result.
        measures: names of these scores; the table of the first is ``table.md``, others have their names.
        score: reads such a score from a run folder; None if the run is not finished.
    """

    layouts: tuple[str, str]
    frames: tuple[int, int]
    size: tuple[int, int]
    scenes: tuple[int, int, int]
    rows: tuple[Row, ...]
    ablations: tuple[Row, ...]
    train: Callable[[Run], None]
    measures: tuple[str, ...] = ("miou",)
    score: Callable[[Path, str], float | None] = score_of


def folder_of(worlds: Worlds, row: str) -> Path:
    """Return the folder of a row."""
    return worlds.folder / row.replace(" ", "_").replace("->", "_to_")


# --- images --------------------------------------------------------------------------------------------------

START = "source start"
START_STEPS = 1500
SOURCE = ("adaptation=null", "mixing=null")


def without(direction: str) -> Row:
    """Return QuadMix without one direction."""
    left = [name for name in DIRECTIONS if name != direction]
    short = "->".join(part[0].upper() for part in direction.split("_to_"))
    return Row(f"QuadMix without {short}", (f"mixing.directions=[{','.join(left)}]",), START)


def train_image_row(run: Run) -> None:
    """Train a row of the table of images."""
    row, worlds = run.row, run.worlds
    settings = [*run.settings, *row.settings]
    if run.start is not None:
        settings.append(f"start.step={START_STEPS}")
    config = image_settings(
        "quadmix/tiny_image",
        settings,
        source=[worlds.source],
        target=[worlds.target],
        validation=worlds.target,
        checkpoint=run.start,
        seed=worlds.seed + (500 if row.name == START else 0),  # those that go on draw other samples
    )
    if row.supervised:
        real = DataPart(root=worlds.target, dataset="cityscapes", split="train")
        config = config.model_copy(update={"source": (real,)})
    train_images(config, run.out, device="cpu", progress=False)
    _score_teacher(run.out, config)


TEACHER = "teacher_miou"


def _score_teacher(out: Path, config: ImageConfig) -> None:
    """Score the teacher as well: its normalisations have seen nothing but target images."""
    network, scores = out / TEACHER_FILE, out / "teacher.json"
    if network.exists() and not scores.exists():
        model = load_model(network)
        write_json(scores, NetworkScorer(open_validation(config.validation, config.space))(model))


def image_score(run: Path, measure: str) -> float | None:
    """Return a score of a run; what has no teacher counts with its only network."""
    scores = run / "teacher.json"
    if measure == TEACHER and scores.exists():
        return float(json.loads(scores.read_text())["miou"])
    return score_of(run)


IMAGE = Kind(
    layouts=("gta5", "cityscapes"),
    frames=(1, 1),
    size=(256, 512),
    scenes=(120, 120, 30),
    rows=(
        Row(START, (*SOURCE, f"fit.steps={START_STEPS}"), shown=False),
        Row("source only", SOURCE, START),
        Row("DACS", ("adaptation.masked=null", "mixing=null"), START),
        Row("MIC", ("mixing=null",), START),
        Row("QuadMix", (), START),
        Row("target supervised", SOURCE, START, supervised=True),
    ),
    ablations=tuple(without(direction) for direction in DIRECTIONS),
    train=train_image_row,
    measures=("miou", TEACHER),
    score=image_score,
)


# --- video ---------------------------------------------------------------------------------------------------

VIDEO_RECIPE = "quadmix/tiny_video"
NO_TARGET = ("temporal=null", "mixing=null", "class_vectors=null", "match_colours=false")


def train_video_row(run: Run) -> None:
    """Train a row of the table of video; flow is estimated once for all rows of a seed."""
    row, worlds = run.row, run.worlds
    whole = load_video_settings(VIDEO_RECIPE, run.settings)
    assert whole.temporal is not None
    begin, end = whole.temporal.start, whole.fit.steps
    flow = worlds.folder / ("flow_of_target" if row.supervised else "flow")
    settings = [*run.settings, *row.settings, f"flow.cache={flow}"]
    if row.name == START:
        settings += [f"fit.steps={begin}", f"optimizer.decay_steps={end}"]
    elif run.start is not None:
        # The recipe from the step on in which it turns to the target, its learning rate where it then stands.
        rate = whole.optimizer.learning_rate * (1 - begin / end) ** whole.optimizer.power
        settings += [
            f"fit.steps={end - begin}",
            f"optimizer.learning_rate={rate}",
            "optimizer.warmup_steps=0",
        ]
        settings.append(f"network.weights={run.start / MODEL_FILE}")
        if "temporal=null" not in row.settings:
            settings.append("temporal.start=0")
        if "mixing=null" not in row.settings:
            settings.append("mixing.start=1")
        if row.teacher is not None:
            weights = folder_of(worlds, row.teacher) / MODEL_FILE
            settings.append(f"temporal.teacher={{name: {whole.network.name}, weights: {weights}}}")
            settings.append("temporal.frozen_steps=null")
    config = load_video_settings(
        VIDEO_RECIPE,
        settings,
        source=[worlds.source],
        target=[worlds.target],
        validation=worlds.target,
        seed=worlds.seed + (500 if row.name == START else 0),
    )
    if row.supervised:
        real = DataPart(root=worlds.target, dataset="cityscapes_seq", split="train")
        config = config.model_copy(update={"source": (real,)})
    train_video(config, run.out, device="cpu", progress=False)


VIDEO = Kind(
    layouts=("viper", "cityscapes_seq"),
    frames=(2, 3),
    size=(96, 192),
    scenes=(40, 40, 24),
    rows=(
        Row(START, NO_TARGET, shown=False),
        Row("source only", NO_TARGET, START),
        Row("TPS", ("mixing=null", "class_vectors=null"), START),
        Row("QuadMix", (), START),
        Row("target supervised", NO_TARGET, START, supervised=True),
    ),
    ablations=(
        *(without(direction) for direction in DIRECTIONS),
        Row("QuadMix without class vectors", ("class_vectors=null",), START),
        Row("class vectors without mixing", ("mixing=null",), START),
        Row("QuadMix taught by TPS", (), START, teacher="TPS"),
    ),
    train=train_video_row,
    measures=("miou", "consistency"),
)

KINDS = {"image": IMAGE, "video": VIDEO}


# --- all tables ----------------------------------------------------------------------------------------------


def chosen_rows(kind: Kind, names: Sequence[str] | None, ablations: bool) -> list[Row]:
    """Return the rows to train: those named with what they go on from, or all."""
    rows = [*kind.rows, *(kind.ablations if ablations or names else ())]
    if names is None:
        return rows
    known = {row.name: row for row in rows}
    wanted = {name: known[name] for name in names}
    for row in reversed(rows):  # what others need stands before them
        if row.name in wanted:
            wanted |= {name: known[name] for name in (row.start, row.teacher) if name is not None}
    return [row for row in rows if row.name in wanted]


def waves(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the rows that need no other, then those that need these, then the rest."""
    start = [row for row in rows if row.start is None]
    taught = [row for row in rows if row.teacher is not None]
    return [start, [row for row in rows if row not in start and row not in taught], taught]


def run_of(worlds: Worlds, row: Row, settings: tuple[str, ...]) -> Run:
    """Return a training of a seed."""
    start = None if row.start is None else folder_of(worlds, row.start)
    return Run(worlds, row, settings, start, folder_of(worlds, row.name))


def main() -> None:
    """Run all parts that are not done yet, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kind", choices=sorted(KINDS), default="image")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", help="names of rows; all by default")
    parser.add_argument("--ablations", action="store_true", help="also without each direction")
    parser.add_argument("--scenes", type=int, nargs=3, help="source, target, held-out")
    parser.add_argument("--processes", type=int, default=1, help="trainings at a time, of one thread each")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="changes to the recipe")
    arguments = parser.parse_args()
    kind = KINDS[arguments.kind]
    rows = chosen_rows(kind, arguments.rows, arguments.ablations)
    scenes = tuple(arguments.scenes or kind.scenes)
    seeds = [
        Worlds(arguments.out / f"seed_{seed}", seed, scenes, kind.layouts, kind.frames, kind.size)
        for seed in arguments.seeds
    ]
    for worlds in seeds:
        worlds.render(arguments.processes)
    settings = tuple(arguments.settings)
    for wave in waves(rows):
        jobs = [(kind.train, (run_of(worlds, row, settings),)) for worlds in seeds for row in wave]
        run_jobs(jobs, arguments.processes)
    shown = [row.name for row in rows if row.shown]
    for measure in kind.measures:
        by_seed = [{name: kind.score(folder_of(worlds, name), measure) for name in shown} for worlds in seeds]
        print(write_scores(arguments.out, by_seed, measure))
    print(f"results: {arguments.out / 'results.json'}; one page for each training: seed_*/*/report.html")


if __name__ == "__main__":
    main()
