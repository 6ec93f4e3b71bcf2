"""Hypothesis without its deadline: a busy machine is no fault of the code under test."""

from hypothesis import settings

settings.register_profile("wsnova", deadline=None)
settings.load_profile("wsnova")
