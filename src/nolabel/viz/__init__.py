"""Looking at things: colours, overlays, layouts, plots and HTML reports. Pictures are (H, W, 3) uint8."""

from nolabel.viz.animation import write_animation
from nolabel.viz.colours import (
    PrincipalColours,
    depth_colours,
    disparity_colours,
    error_colours,
    feature_colours,
    flow_colours,
    flow_wheel,
    id_colours,
    instance_colours,
    label_colours,
    panoptic_colours,
    principal_colours,
    scalar_colours,
    to_picture,
)
from nolabel.viz.layout import caption, contact_sheet, legend, resize, side_by_side
from nolabel.viz.overlays import (
    blend,
    contours,
    draw_boxes,
    instance_overlay,
    panoptic_overlay,
    semantic_overlay,
)
from nolabel.viz.plots import bar_plot, line_plot, matrix_plot
from nolabel.viz.report import Report, embed_image
from nolabel.viz.segmentation_scores import class_picture, confusion_picture, write_segmentation_scores
from nolabel.viz.video import VideoFile

__all__ = [
    "PrincipalColours",
    "Report",
    "VideoFile",
    "bar_plot",
    "blend",
    "caption",
    "class_picture",
    "confusion_picture",
    "contact_sheet",
    "contours",
    "depth_colours",
    "disparity_colours",
    "draw_boxes",
    "embed_image",
    "error_colours",
    "feature_colours",
    "flow_colours",
    "flow_wheel",
    "id_colours",
    "instance_colours",
    "instance_overlay",
    "label_colours",
    "legend",
    "line_plot",
    "matrix_plot",
    "panoptic_colours",
    "panoptic_overlay",
    "principal_colours",
    "resize",
    "scalar_colours",
    "semantic_overlay",
    "side_by_side",
    "to_picture",
    "write_animation",
    "write_segmentation_scores",
]
