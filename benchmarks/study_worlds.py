"""What studies over several seeds share: worlds of two styles, runs in processes of one thread, and the table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from nolabel.engine.run_folder import RunFolder
from nolabel.structures.files import write_bytes, write_json
from nolabel.world import Rig, WorldSettings, write_world

__all__ = ["Job", "Worlds", "run_jobs", "score_of", "score_table", "write_scores"]

HELD_OUT = 2_000_000
TARGET = 1_000_000

Job = tuple[Callable[..., None], tuple[Any, ...]]


@dataclass(frozen=True)
class Worlds:
    """The worlds of one seed: labelled ones in the style ``synthetic``, and ``real`` ones to adapt to and to score on.

    Attributes:
        folder: everything of this seed.
        seed: of the study; its worlds share no scene with each other, nor with those of other seeds.
        scenes: number of source, target and held-out scenes.
        layouts: of source and target.
        frames: of a scene, in source and target.
        size: height and width in pixels.
    """

    folder: Path
    seed: int
    scenes: tuple[int, int, int]
    layouts: tuple[str, str] = ("gta5", "cityscapes")
    frames: tuple[int, int] = (1, 1)
    size: tuple[int, int] = (256, 512)

    @property
    def source(self) -> Path:
        """Labelled synthetic frames."""
        return self.folder / "synthetic"

    @property
    def target(self) -> Path:
        """Real frames: ``train`` to adapt to, ``val`` to score on."""
        return self.folder / "real"

    def render(self, workers: int = 1) -> None:
        """Render what is missing; once all is there, later calls do not look again."""
        facts = json.loads(json.dumps({**asdict(self), "folder": None}))
        done = self.folder / "worlds.json"
        if done.exists() and json.loads(done.read_text()) == facts:
            return
        source, target = zip(self.layouts, self.frames, strict=True)
        parts = (
            (self.source, source, "synthetic", "train", 0),
            (self.target, target, "real", "train", TARGET),
            (self.target, target, "real", "val", HELD_OUT),
        )
        for count, (out, (layout, frames), style, split, offset) in zip(self.scenes, parts, strict=True):
            world = WorldSettings(
                layout=layout,
                style=style,
                scenes=count,
                frames=frames,
                seed=self.seed * 10_000 + offset,
                split=split,
                rig=Rig(size=self.size),
            )
            write_world(out, world, workers=workers, progress=True)
        write_json(done, facts)


def run_jobs(jobs: Sequence[Job], processes: int) -> None:
    """Call functions with their arguments, each with one thread.

    Args:
        jobs: module-level functions and arguments.
        processes: how many at a time; 1 calls them here, in order.
    """
    if processes == 1:
        for job in jobs:
            _alone(*job)
        return
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        for waiting in [pool.submit(_alone, *job) for job in jobs]:
            waiting.result()


def _alone(function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    function(*arguments)


def score_of(run: Path, name: str = "miou") -> float | None:
    """Return a score of a finished run, in [0, 1]; None if it is not finished."""
    result = RunFolder(run).result()
    return None if result is None else float(result["metrics"][name])


def score_table(scores: Mapping[str, Sequence[float]], measure: str = "mIoU") -> str:
    """Return scores by row (one value for each seed) as Markdown, in percent."""
    lines = [f"| network | {measure} | by seed | gain over the row before |", "|---|---|---|---|"]
    before: list[float] | None = None
    for row, values in scores.items():
        percent = [100 * value for value in values]
        spread = f" ± {stdev(percent):.1f}" if len(percent) > 1 else ""
        gain = "" if before is None else f"{mean(percent) - mean(before):+.1f}"
        seeds = ", ".join(f"{value:.1f}" for value in percent)
        lines.append(f"| {row} | {mean(percent):.1f}{spread} | {seeds} | {gain} |")
        before = percent
    return "\n".join(lines)


def write_scores(out: Path, by_seed: Iterable[Mapping[str, float]], measure: str = "miou") -> str:
    """Write ``results.json`` and ``table.md`` and return the table.

    Args:
        out: folder of the study.
        by_seed: for each seed the scores of its rows, in [0, 1].
        measure: which scores; the files of others than the mIoU are named after it.
    """
    scores: dict[str, list[float]] = {}
    for values in by_seed:
        for row, value in values.items():
            scores.setdefault(row, []).append(value)
    other = "" if measure == "miou" else f"_{measure}"
    write_json(out / f"results{other}.json", scores)
    text = score_table(scores, measure if other else "mIoU")
    write_bytes(out / f"table{other}.md", text.encode())
    return text
