"""Volume rendering of fields: sample distances, compositing, the plain renderer and the fast one."""

from nolabel.models.rendering.contract import Field, FieldSample, Rays, Rendered, Views
from nolabel.models.rendering.fast import HiddenField, render_fast
from nolabel.models.rendering.occupancy import Occupancy
from nolabel.models.rendering.render import Jitter, RenderSettings, image_rays, query_in_chunks, render

__all__ = [
    "Field",
    "FieldSample",
    "HiddenField",
    "Jitter",
    "Occupancy",
    "Rays",
    "RenderSettings",
    "Rendered",
    "Views",
    "image_rays",
    "query_in_chunks",
    "render",
    "render_fast",
]
