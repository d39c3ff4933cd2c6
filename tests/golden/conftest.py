"""Show the values of failed comparisons in the part modules, too."""

import pytest

for part in ("average", "datasets", "labels", "metrics", "network", "training_data"):
    pytest.register_assert_rewrite(f"golden.cups_model_{part}")
for part in ("metrics", "motion", "semantics", "stereo_video", "targets"):
    pytest.register_assert_rewrite(f"golden.cups_pseudo_{part}")
