"""From what a person names (a recipe's path, a sweep, a trial) to the recipe, its plan and the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vlactl.cli.sweeps import Launch, SweepFolder, find
from vlactl.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from vlactl.events import SweepState
    from vlactl.plan import Plan
    from vlactl.recipe import Recipe, Trial
    from vlactl.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """A recipe with everything around it."""

    recipe: Recipe
    plan: Plan
    store: Store
    folder: SweepFolder
    launch: Launch

    def state(self) -> SweepState:
        """What the sweep's journal says."""
        from vlactl.events import fold, read

        return fold(read(self.folder.journal))

    def of_trials(self, trials: Sequence[Trial]) -> Loaded:
        """The same with these trials only."""
        from vlactl.plan import make_plan

        left_out = self.recipe.left_out + len(self.recipe.trials) - len(trials)
        recipe = replace(self.recipe, trials=tuple(trials), left_out=left_out)
        return replace(self, recipe=recipe, plan=make_plan(recipe))


def load_recipe(launch: Launch, *, execution: Sequence[str] = ()) -> Loaded:
    """The trials that ``launch`` means; ``execution`` are further overrides, for this run only.

    Raises :class:`~vlactl.errors.RecipeError` with every mistake of the file at once.
    """
    from vlactl.events import sweep_dir
    from vlactl.plan import make_plan
    from vlactl.recipe import load
    from vlactl.store import Store, home

    path = Path(launch.recipe)
    recipe = load(path, (*launch.overrides, *execution), only=launch.only, skip=launch.skip, limit=launch.limit)
    root = home(path)
    return Loaded(
        recipe=recipe,
        plan=make_plan(recipe),
        store=Store(root),
        folder=SweepFolder(sweep_dir(root, recipe.name, path)),
        launch=replace(launch, recipe=str(path.resolve())),
    )


def launch_of(which: str) -> Launch:
    """How the sweep called ``which`` (or of that recipe) was started last; a recipe never swept stands for itself."""
    from vlactl.store import home

    if which.endswith((".yaml", ".yml")) or (which and Path(which).is_file()):
        return Launch(recipe=which)
    return find(home(Path.cwd()), which).launch()


def load_named(
    which: str, *, only: Sequence[str] = (), skip: Sequence[str] = (), overrides: Sequence[str] = ()
) -> Loaded:
    """A recipe's path, or a sweep as it was started last; selections given now replace those of then."""
    launch = launch_of(which)
    return load_recipe(
        replace(
            launch,
            only=tuple(only) or launch.only,
            skip=tuple(skip) or launch.skip,
            overrides=(*launch.overrides, *overrides),
        )
    )


def find_trial(recipe: Recipe, wanted: str) -> Trial:
    """The trial with this slug, this beginning of an id, or this part of a slug; raises :class:`UsageError`."""
    exact = [trial for trial in recipe.trials if trial.slug == wanted]
    exact = exact or [trial for trial in recipe.trials if len(wanted) >= 4 and trial.id.startswith(wanted)]
    matching = exact or [trial for trial in recipe.trials if wanted in trial.slug]
    if len(matching) == 1:
        return matching[0]
    slugs = [trial.slug for trial in matching or recipe.trials]
    shown = "\n            ".join(slugs[:12]) + (f"\n            and {len(slugs) - 12} more" if len(slugs) > 12 else "")
    raise UsageError(
        f"'{wanted}' {'means several trials' if matching else 'is no trial of this recipe'}",
        where=recipe.path,
        expected=f"one of\n            {shown}",
        remedy=did_you_mean(wanted, slugs),
    )
