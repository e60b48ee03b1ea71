"""The report as one JSON document, for programs; ``format`` counts up when a key changes its meaning."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlactl.report import Report

FORMAT = 1


def render(report: Report) -> str:
    return json.dumps(document(report), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def document(report: Report) -> dict[str, Any]:
    """Plain data; a row's cell is a mapping, its estimates ``{"mean", "low", "high"}``, its SRs ``sr1`` .. ``sr5``."""
    whole = asdict(report)
    for row in (*whole["rows"], *whole["references"]):
        row["cell"] = dict(row["cell"])
        row["rates"] = {f"sr{k + 1}": rate for k, rate in enumerate(row["rates"])}
        row["per_task"] = {task: [won, tried] for task, won, tried in row["per_task"]}
    for quoted in whole["published"]:
        for row in quoted["rows"]:
            row["cell"] = dict(row["cell"])
            row["ours"] = [{"row": name, "estimate": estimate} for name, estimate in row["ours"]]
    whole["protocol"] = {
        "digest": whole.pop("protocol_digest"),
        "line": report.protocol,
        "fields": dict(whole.pop("protocol_fields")),
    }
    return {"format": FORMAT, **whole, "created": report.created.isoformat(), "provenance": dict(report.provenance)}
