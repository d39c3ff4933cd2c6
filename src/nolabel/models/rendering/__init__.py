"""Volume rendering of fields: sample distances, compositing, renderers."""

from nolabel.models.rendering.contract import Field, FieldSample, Rays, Rendered, Views

__all__ = ["Field", "FieldSample", "Rays", "Rendered", "Views"]
