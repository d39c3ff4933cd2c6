"""The packaged recipe of discovery."""

from nolabel.config import load_config
from nolabel.methods.unmore.reasoning.settings import ReasoningSettings
from nolabel.methods.unmore.selection import SelectionSettings


def test_published_recipe():
    published = load_config(ReasoningSettings, "unmore/discovery", section="discovery")
    assert published == ReasoningSettings(max_side=None, reference_compat=True)
    assert load_config(SelectionSettings, "unmore/discovery", section="selection") == SelectionSettings()
