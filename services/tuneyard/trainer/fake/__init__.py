"""A family whose recipe is scripted by the base model's name, for tests of everything around a recipe.

It needs neither torch nor a dataset, and its numbers are bitwise the same however often the run is paused,
killed or short of memory.
"""
