"""Settings of the whole suite: no test may fail for being slow on a busy machine."""

from hypothesis import settings

settings.register_profile("nolabel", deadline=None)
settings.load_profile("nolabel")
