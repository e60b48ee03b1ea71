"""Arguments and options that several verbs share, with their help texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from vlactl.errors import UsageError, VlactlError, did_you_mean

if TYPE_CHECKING:
    from vlactl.cli.sweeps import Launch
    from vlactl.registry import Registry, Spec

Words = Sequence[str] | None
S = TypeVar("S", bound="Spec")

Recipe = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe: a YAML file.", show_default=False)]
Sweep = Annotated[
    str,
    typer.Argument(
        metavar="[SWEEP]",
        help="A sweep's name (or its beginning), or the path of its recipe. Default: the newest sweep.",
        show_default=False,
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="AXIS=VALUE[,VALUE]",
        help="Only the cells with these values; may be repeated.",
        show_default=False,
    ),
]
Skip = Annotated[
    list[str] | None,
    typer.Option(
        "--skip",
        metavar="AXIS=VALUE[,VALUE]",
        help="All but the cells with these values; may be repeated.",
        show_default=False,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Override a field of the recipe, for example training.updates=200; may be repeated.",
        show_default=False,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", help="Only the first N trials.", min=1, show_default=False),
]
OfSweep = Annotated[
    str,
    typer.Option("--sweep", help="A sweep's name or its recipe. Default: the newest sweep.", show_default=False),
]
LauncherName = Annotated[
    str, typer.Option("--launcher", metavar="ray|local", help="Instead of the recipe's.", show_default=False)
]
Address = Annotated[
    str,
    typer.Option("--address", help="A running Ray cluster: host:port or auto. Default: its own.", show_default=False),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs", "-j", metavar="N", help="Stages at once. Default: as cores or GPUs allow.", min=1, show_default=False
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, however long it may take.")]
Detach = Annotated[bool, typer.Option("--detach", help="Go on in the background; this terminal may be closed.")]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="A field of what is named (vlactl show), for example embodiment=stubby; may be repeated.",
        show_default=False,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help='One JSON object per line; the last is {"type": "exit", "code": N}.')
]


def launch(recipe: Path, only: Words, skip: Words, limit: int | None, overrides: Words) -> Launch:
    """What the options of ``sweep`` and ``plan`` select."""
    from vlactl.cli.sweeps import Launch

    return Launch(
        recipe=str(recipe),
        only=tuple(only or ()),
        skip=tuple(skip or ()),
        limit=limit,
        overrides=tuple(overrides or ()),
    )


def execution(**given: Any) -> list[str]:
    """How this run differs from the recipe's ``execution``, as overrides; what is not given is left as it is."""
    return [f"execution.{name}={value}" for name, value in given.items() if value]


def parse_spec(registry: Registry[S], kind: str, settings: Sequence[str]) -> S:
    """The member ``kind`` with ``FIELD=VALUE`` settings (values are YAML, later ones win).

    Raises :class:`UsageError` that names every wrong field.
    """
    import yaml
    from pydantic import ValidationError

    from vlactl.recipe.plainly import shown, wanted

    spec = registry.get(kind)
    fields: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in spec.model_fields:
            raise UsageError(
                f"'{setting}' sets nothing of {registry.noun} '{kind}'",
                where="--set",
                expected="FIELD=VALUE, where FIELD is " + " | ".join(spec.model_fields),
                remedy=did_you_mean(name, spec.model_fields),
            )
        fields[name] = yaml.safe_load(value)
    try:
        return spec(**fields)
    except ValidationError as error:
        lines, remedies = [], []
        for item in error.errors(include_url=False):
            cause = item.get("ctx", {}).get("error")
            if isinstance(cause, VlactlError):
                lines.append(cause.what + (f" (expected {cause.expected})" if cause.expected else ""))
                remedies += [cause.remedy] if cause.remedy else []
                continue
            if isinstance(cause, Exception):
                lines.append(" ".join(str(cause).split()))
                continue
            place = ".".join(str(part) for part in item["loc"])
            expected = wanted(item["type"], item.get("ctx", {}), item["msg"])
            lines.append(f"{place}: {shown(item['input'])} is not allowed, expected {expected}")
        raise UsageError(
            "; ".join(lines),
            where=f"{registry.noun} '{kind}'",
            remedy="; ".join((*remedies, f"vlactl show {registry.family} {kind}")),
        ) from None
