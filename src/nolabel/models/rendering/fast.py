"""Rendering for less: the same picture as :func:`nolabel.models.rendering.render.render`.

Three things are saved. Where a field's features are a linear function of hidden vectors, as those of
``nolabel.models.scenedino.FoldedField`` are, the function is applied to a ray's sum of them instead of to every sample. Rays
can be followed from front to back, in slabs, until nothing can be seen any more (``stop_below``). And samples in space
that is known to be empty need not be looked at (``occupancy``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from nolabel.models.rendering.compositing import opacity, pass_through, stretches, weighted
from nolabel.models.rendering.contract import Field, FieldSample, Rays, Rendered
from nolabel.models.rendering.occupancy import Occupancy
from nolabel.models.rendering.render import Jitter, RenderSettings, points_at, sample_distances

__all__ = ["HiddenField", "render_fast"]

SLABS = 4  # into which the samples of a ray are parted where rays may end early


@runtime_checkable
class HiddenField(Protocol):
    """A field whose features are a linear function of hidden vectors."""

    def query(self, points: Tensor, *, features: bool = True, colour: bool = False) -> FieldSample:
        """As :meth:`nolabel.models.rendering.contract.Field.query`."""
        ...

    def hidden(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Density (N, P), hidden vectors (N, P, H), and bool (N, P): outside of the image."""
        ...

    def features_of(self, hidden: Tensor, mass: Tensor | None = None) -> Tensor:
        """Features (..., C) of sums (..., H) of hidden vectors whose weights add to ``mass`` (...)."""
        ...

    def look_up_colour(self, points: Tensor, outside: Tensor) -> tuple[Tensor, Tensor]:
        """Colours (N, P, V, 3), and bool (N, P, V): not seen there."""
        ...


@dataclass(frozen=True, eq=False)
class _Wanted:
    """What is to be rendered, and until when."""

    features: bool
    colour: bool
    hard_cap: bool
    stop_below: float
    occupancy: Occupancy | None


@dataclass(frozen=True, eq=False)
class _Slab:
    """Some consecutive samples (N, R, S) of all rays.

    ``ends``: the last one is the last of the ray.
    """

    distances: Tensor
    lengths: Tensor
    ends: bool


def render_fast(
    field: Field,
    rays: Rays,
    settings: RenderSettings | None = None,
    jitter: Jitter = None,
    *,
    features: bool = True,
    colour: bool = False,
    stop_below: float = 0.0,
    occupancy: Occupancy | None = None,
) -> Rendered:
    """Look along rays, as :func:`~nolabel.models.rendering.render.render` does.

    Args:
        field: what to look at; a :class:`HiddenField` saves most.
        rays: R rays of each of N scenes.
        settings: sampling; ``chunk`` bounds the points whose hidden vectors exist at once.
        jitter: see :data:`~nolabel.models.rendering.render.Jitter`.
        features: whether the features are wanted.
        colour: whether colours are wanted.
        stop_below: a ray ends where less than this share of what is behind can be seen; 0 follows all to the end, and the
            result is that of the plain renderer up to rounding. A depth is wrong by at most this share of ``far``;
            samples that were left out have opacity and weight 0 and count as invalid.
        occupancy: where the field need not be looked at, because there is nothing; such samples have opacity and weight 0.
    """
    settings = settings or RenderSettings()
    distances = sample_distances(field, rays, settings, jitter)
    wanted = _Wanted(features, colour, settings.hard_cap, stop_below, occupancy)
    step = max(1, settings.chunk // (len(distances) * distances.shape[-1]))
    parts: list[dict[str, Tensor]] = []
    for start in range(0, distances.shape[1], step):
        some = slice(start, start + step)
        bundle = Rays(*(x[:, some] for x in (rays.origins, rays.directions, rays.near, rays.far)))
        parts.append(_follow(field, bundle, distances[:, some], wanted))
    joined: dict[str, Any] = {
        name: parts[0][name] if len(parts) == 1 else torch.cat([part[name] for part in parts], dim=1)
        for name in parts[0]
    }
    if "hidden" in joined:
        assert isinstance(field, HiddenField)
        joined["features"] = field.features_of(joined.pop("hidden"), joined["weights"].sum(dim=-1))
    return Rendered(distances=distances, **joined)


def _follow(field: Field, rays: Rays, distances: Tensor, wanted: _Wanted) -> dict[str, Tensor]:
    """Follow a bundle of rays to the end, or until they see nothing more."""
    count = distances.shape[-1]
    slab = -(-count // SLABS) if wanted.stop_below > 0 else count
    lengths = stretches(distances)
    passing = torch.ones_like(distances[..., 0])
    sums: dict[str, Tensor] = {}
    samples: dict[str, list[Tensor]] = {}
    for start in range(0, count, slab):
        some = slice(start, start + slab)
        # Scenes keep their rays together: one goes on as long as any scene's ray of that number does.
        alive = None
        if start > 0:
            alive = _numbers((passing > wanted.stop_below).any(dim=0))
        part = _Slab(distances[..., some], lengths[..., some], start + slab >= count)
        seen = _look(field, rays, part, passing, alive, wanted)
        passing = seen.pop("passing")
        for name in ("depth", "hidden", "features", "colour"):
            if name in seen:
                sums[name] = sums[name] + seen[name] if name in sums else seen[name]
        for name in ("weights", "alphas", "invalid", "sample_colour"):
            if name in seen:
                samples.setdefault(name, []).append(seen[name])
    return sums | {name: torch.cat(values, dim=2) for name, values in samples.items()}


def _look(
    field: Field, rays: Rays, slab: _Slab, passing: Tensor, alive: Tensor | None, wanted: _Wanted
) -> dict[str, Tensor]:
    """Add up one slab of samples (N, R, S): what it adds to the picture, and ``passing`` (N, R) behind it.

    Args:
        field, wanted: as above.
        rays: R rays.
        slab: of their samples.
        passing: (N, R) share of light that comes through what lies before.
        alive: numbers of the rays that are followed; None for all.
    """
    shape, distances, lengths = slab.distances.shape, slab.distances, slab.lengths
    origins, directions, before = rays.origins, rays.directions, passing
    if alive is not None:
        origins, directions, before = origins[:, alive], directions[:, alive], passing[:, alive]
        distances, lengths = distances[:, alive], lengths[:, alive]
    points = points_at(origins, directions, distances)
    capped = slab.ends and wanted.hard_cap
    density, values = _ask(field, points, wanted, capped)
    alphas = opacity(density.to(lengths), lengths)
    if capped:
        alphas = torch.cat([alphas[..., :-1], torch.ones_like(alphas[..., -1:])], dim=-1)
    let = pass_through(alphas).cumprod(dim=-1) * before[..., None]
    weights = alphas * torch.cat([before[..., None], let[..., :-1]], dim=-1)
    found = {
        "passing": let[..., -1],
        "depth": weighted(weights, distances),
        "weights": weights,
        "alphas": alphas,
        **{name: weighted(weights, value) for name, value in values.items() if name != "invalid"},
    }
    if "invalid" in values:
        found["invalid"], found["sample_colour"] = values["invalid"], values["colour"]
    if alive is None:
        return found
    rest = {"passing": passing, "invalid": torch.ones((), dtype=torch.bool, device=passing.device)}
    return {
        name: rest.get(name, value.new_zeros(()))
        .expand(*shape[:2], *value.shape[2:])
        .index_copy(1, alive, value)
        for name, value in found.items()
    }


def _ask(field: Field, points: Tensor, wanted: _Wanted, capped: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Density (N, R, S) at points (N, R, S, 3), and by name what is summed along rays, (N, R, S, ...).

    ``capped``: the last samples are seen, be there matter or not.
    """
    flat, shape = points.flatten(1, 2), points.shape[:3]
    held = None
    if wanted.occupancy is not None:
        may_hold = wanted.occupancy.may_hold(points).any(dim=0)
        may_hold[:, -1] |= capped
        held = _numbers(may_hold.flatten())
        flat = flat[:, held]
    values: dict[str, Tensor | None] = {}
    if isinstance(field, HiddenField):
        density, hidden, outside = field.hidden(flat)
        if wanted.features:
            values["hidden"] = hidden
        if wanted.colour:
            values["colour"], values["invalid"] = field.look_up_colour(flat, outside)
    else:
        sample = field.query(flat, features=wanted.features, colour=wanted.colour)
        density = sample.density
        values = {"features": sample.features, "colour": sample.colour, "invalid": sample.invalid}
    kept = {"density": density, **{name: value for name, value in values.items() if value is not None}}
    if held is not None:
        everywhere = (points.shape[0], points.shape[1] * points.shape[2])
        kept = {name: _scattered(value, held, everywhere, name == "invalid") for name, value in kept.items()}
    kept = {name: value.reshape(*shape, *value.shape[2:]) for name, value in kept.items()}
    return kept.pop("density"), kept


def _numbers(chosen: Tensor) -> Tensor:
    """Where a mask (n,) is true; at least one place, since not every field can be asked nothing."""
    found = chosen.nonzero()[:, 0]
    return found if len(found) else found.new_zeros(1)


def _scattered(values: Tensor, places: Tensor, shape: tuple[int, int], rest: bool) -> Tensor:
    """Lay values (N, n, ...) at places (n,) of (N, P, ...) that is ``rest`` (0 or 1) elsewhere."""
    full = values.new_full((*shape, *values.shape[2:]), rest)
    return full.index_copy(1, places, values)
