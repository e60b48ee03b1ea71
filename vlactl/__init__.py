"""vlactl: one YAML recipe in, a comparative table of vision-language-action models out.

Two columns that touch in two places: orchestration (recipe -> plan -> store -> runner -> report) never imports torch;
science (worlds, episodes, policies, training, rollouts) never imports orchestration.  They meet in the menus (the
``__init__`` of each family of specs) and in :mod:`vlactl.stages`.
"""

__version__ = "0.1.0"
