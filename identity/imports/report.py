"""Pure: what became of an import, in words."""

from identity.imports.run import Report

_SHOWN_MAX = 15


def report(told: Report, *, is_dry: bool) -> str:
    """Return the report as text for a terminal."""
    counts = told.counts
    lines = [
        f"{'Would read' if is_dry else 'Read'} {counts.lines:,} lines"
        + ("; nothing was written." if is_dry else f"; operation {told.operation_id}."),
        "",
        f"  {counts.created:>12,}  created",
        f"  {counts.changed:>12,}  changed",
        f"  {counts.unchanged:>12,}  unchanged",
        f"  {counts.rejected:>12,}  rejected",
    ]
    if counts.faulty:
        lines.append(f"  {counts.faulty:>12,}  of the others lost some field")
    if counts.repeated:
        lines.append(f"  {counts.repeated:>12,}  named a customer once more; all were applied, in their order")
    lines += _section("Rejected for", counts.refusals) + _section("Fields", counts.verdicts)
    lines += _section("Remarks", counts.reasons)
    if told.rejects is not None:
        lines += ["", f"Lines that can be mended are in {told.rejects}: mend them and import that file."]
    return "\n".join(lines)


def _section(title: str, numbers: dict[str, int]) -> list[str]:
    if not numbers:
        return []
    ordered = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    lines = ["", title, *(f"  {number:>12,}  {name}" for name, number in ordered[:_SHOWN_MAX])]
    more = len(ordered) - _SHOWN_MAX
    return [*lines, f"  and {more} more"] if more > 0 else lines
