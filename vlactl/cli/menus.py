"""``list``, ``show`` and ``schema``: what a recipe may say, read from the menus, and what the paper printed."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Collection, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlactl.cli import options
from vlactl.cli.facts import Facts, brief, facts_of, heads
from vlactl.cli.fields import fields
from vlactl.cli.names import NAMES
from vlactl.cli.screen import emit, is_terminal, paint, say, say_table
from vlactl.errors import UnknownName

if TYPE_CHECKING:
    from pydantic import BaseModel

    from vlactl.published import PublishedTable

FAMILIES = {
    "backbones": ("vlactl.backbones", "BACKBONES", "pretrained vision-language models"),
    "formulations": ("vlactl.formulations", "FORMULATIONS", "how actions are asked of a backbone"),
    "strategies": ("vlactl.strategies", "STRATEGIES", "which data are used in which phase"),
    "benchmarks": ("vlactl.benchmarks", "BENCHMARKS", "what a policy is tested in"),
    "formats": ("vlactl.formats", "SOURCES", "where demonstrations come from"),
    "training": ("vlactl.training", "TrainingSettings", "the training loop's settings"),
    "execution": ("vlactl.recipe", "Execution", "how a sweep runs; never part of a result's identity"),
}
"""kind -> module, its registry (or its one model), what it is."""
PUBLISHED = "published"
ABOUT = {**{kind: about for kind, (*_, about) in FAMILIES.items()}, PUBLISHED: "tables of the paper, as printed"}

Kind = Annotated[str, typer.Argument(metavar="KIND", help=" | ".join(ABOUT), show_default=False)]


def members(kind: str, known: Collection[str] = tuple(ABOUT)) -> dict[str, type[BaseModel]]:
    """name -> model, in the order of the menu; raises :class:`UnknownName`, which suggests one of ``known``."""
    if kind not in FAMILIES:
        raise UnknownName("kind", kind, known)
    module, attribute, _ = FAMILIES[kind]
    menu = getattr(import_module(module), attribute)
    return {kind: menu} if isinstance(menu, type) else {name: menu.get(name) for name in menu}


def list_(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="[KIND]",
            help=" | ".join((*ABOUT, *NAMES)) + ". Default: the kinds themselves.",
            show_default=False,
        ),
    ] = "",
    json: options.Json = False,
) -> None:
    """List what a recipe can name.

    \b
    vlactl list                  the kinds
    vlactl list backbones        every backbone: its weights, its pictures, one line about it
    vlactl list published        the paper's tables that a report can show beside ours
    vlactl list shifts           what a tabletop benchmark can change
    """
    more: Sequence[str] = ()
    if kind == PUBLISHED:
        more = ("PAPER", "PLACE")
        rows = [(table.id, (f"{table.paper} {'/'.join(table.versions)}", table.place), table.title)
                for table in published_tables()]
    elif kind in NAMES:
        rows = [(name, (), about) for name, about in NAMES[kind][0]().items()]
    elif kind:
        more = heads(kind)
        found = members(kind, (*ABOUT, *NAMES))
        rows = [(name, brief(kind, model), first_sentence(model)) for name, model in found.items()]
    else:
        rows = [(name, (), about) for name, about in {**ABOUT, **{k: text for k, (_, text) in NAMES.items()}}.items()]
    if json:
        for name, between, about in rows:
            told = {head.lower().replace(" ", "_"): text for head, text in zip(more, between, strict=True)}
            emit({"type": "member" if kind else "kind", "name": name, "about": about, **told})
    else:
        say_table([(name, *between, about) for name, between, about in rows], ("NAME", *more, "WHAT IT IS"))


def show(
    kind: Kind,
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="One member. Default: all of them.", show_default=False)
    ] = "",
    json: options.Json = False,
) -> None:
    """Show what a member is and the fields that a recipe may set: type, default and meaning.

    Of a backbone also its weights, pictures and subtrees, and which formulations it allows; of a strategy the phases
    that it makes. Fields marked 'execution' change speed or memory, never a result, and are no part of a digest.

    \b
    vlactl show backbones paligemma
    vlactl show formulations policy-head-continuous
    vlactl show published formulations
    vlactl show training
    """
    if kind == PUBLISHED:
        show_published(name, as_json=json)
        return
    found = members(kind)
    if name and name not in found:
        raise UnknownName(kind.removesuffix("s"), name, found)
    for each, model in found.items():
        if name not in ("", each):
            continue
        facts = facts_of(kind, model)
        if json:
            told = [{"label": label, "text": text} for label, text in facts]
            emit({"type": "spec", "family": kind, "name": each, "about": about(model), "facts": told,
                  "fields": fields(model)})
        elif is_terminal():
            paint(drawn_page(each, model, facts))
        else:
            say(page(each, model, facts))


def published_tables() -> list[PublishedTable]:
    from vlactl.published import names, table

    return [table(name) for name in names()]


def show_published(name: str, *, as_json: bool) -> None:
    """A published table as a report shows it, without cells of ours; all of them where none is named."""
    from dataclasses import asdict

    from vlactl.published import names, table
    from vlactl.report import quoted

    for found in [table(name)] if name else [table(each) for each in names()]:
        block = quoted.quote(found, (), ())
        if as_json:
            emit({"type": "published", **asdict(found), "mark": found.mark()})
            continue
        say(quoted.title(block))
        say_table(quoted.lines(block, "avg_len"), [head for head, _ in quoted.heads(block, "avg_len")])
        say("\n".join(quoted.remarks(block)) + "\n")


def schema() -> None:
    """Print the JSON Schema of a recipe, for editors and other tools.

    \b
    vlactl schema > recipe.schema.json
    # yaml-language-server: $schema=recipe.schema.json     (first line of the recipe)
    """
    import json

    from vlactl.recipe import json_schema

    say(json.dumps(json_schema(), indent=2, ensure_ascii=False))


def about(model: type[BaseModel]) -> str:
    return inspect.cleandoc(model.__doc__ or "").replace("``", "")


def first_sentence(model: type[BaseModel]) -> str:
    text = " ".join(about(model).split("\n\n")[0].split())
    return re.split(r"(?<=[.;:]) ", text, maxsplit=1)[0].rstrip(".;:")


def page(name: str, model: type[BaseModel], facts: Facts) -> str:
    """The help text of one member."""
    lines = [name, textwrap.indent(about(model), "  "), ""]
    width = max((len(label) for label, _ in facts), default=0)
    lines += [f"  {label:<{width}}  {text}" for label, text in facts] + ([""] if facts else [])
    for field in fields(model):
        mark = "  (execution)" if field["execution"] else ""
        lines.append(f"  {field['name']}: {field['type']} = {field['default']}{mark}")
        if field["about"]:
            lines += textwrap.wrap(field["about"], 110, initial_indent="      ", subsequent_indent="      ")
    if not model.model_fields:
        lines.append("  (no fields)")
    return "\n".join(lines) + "\n"


def drawn_page(name: str, model: type[BaseModel], facts: Facts) -> Any:
    """The same for a terminal: what it is, its facts, its fields as a table."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    told = Table.grid(padding=(0, 2))
    told.add_column(style="dim", no_wrap=True)
    told.add_column(overflow="fold")
    for label, text in facts:
        told.add_row(Text(label), Text(text))
    listed = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title, style in (("FIELD", "cyan"), ("TYPE", ""), ("DEFAULT", "green"), ("MEANING", "")):
        listed.add_column(title, style=style, overflow="fold", no_wrap=title == "FIELD")
    for field in fields(model):
        meaning = field["about"] + (" (execution)" if field["execution"] else "")
        listed.add_row(*(Text(text) for text in (field["name"], field["type"], field["default"], meaning)))
    parts = [Text(name, style="bold"), Text(about(model)), Text("")]
    parts += [told, Text("")] if facts else []  # type: ignore[list-item]
    return Group(*parts, listed, Text(""))
