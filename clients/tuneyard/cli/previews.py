"""Shows what a fine-tuning would train on."""

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from tuneyard.cli.formats import facts, plain
from tuneyard.datasets.words import counted
from tuneyard.v1.preview_pb2 import Preview, PreviewRow, PreviewText

_BAR = 30


def print_preview(console: Console, preview: Preview) -> None:
    """Prints the numbers, how long rows are, and the rows with what is learned from them."""
    console.print(facts(_facts(preview)))
    most = max((bucket.rows for bucket in preview.totals.histogram), default=0)
    for bucket in preview.totals.histogram:
        bound = f"≤ {bucket.up_to_tokens}" if bucket.up_to_tokens else "more"
        bar = "█" * -(-_BAR * bucket.rows // most)
        console.print(f"{bound:>10} tokens  {bar} {bucket.rows}", highlight=False)
    for notice in preview.notices:
        console.print(f"[yellow]warning:[/] {plain(notice.message)}")
    for row in preview.rows:
        console.print()
        console.print(f"[bold]{plain(row.path)}:{row.line}[/] {_about(row)}", highlight=False)
        if row.refusal:
            console.print(f"[bold red]refused by the chat template:[/] {plain(row.refusal)}")
        console.print(Text.assemble(*((part.text, _style(part)) for part in row.texts)), highlight=False)
    if preview.rows:
        console.print("\n[green]learned[/] [dim]only read[/] [red strike]cut off[/]")


def _facts(preview: Preview) -> Iterator[tuple[str, str]]:
    totals = preview.totals
    rows = f"{preview.row_count}"
    if totals.rows < preview.row_count:
        rows += f"; the numbers below are of {totals.rows} of them, drawn at random"
    yield "rows", rows
    share = 100 * totals.trained_tokens / totals.kept_tokens if totals.kept_tokens else 0.0
    yield "tokens", f"{totals.kept_tokens}, of which {totals.trained_tokens} are learned ({share:.0f} %)"
    yield "longest row", f"{counted(totals.longest_tokens, 'token')}; at most {preview.max_length} are used"
    if totals.cut_rows:
        yield "cut", f"{counted(totals.cut_rows, 'row')}, by {counted(totals.cut_tokens, 'token')} in all"
    if totals.masked_rows:
        yield "nothing learned", counted(totals.masked_rows, "row")
    if totals.refused_rows:
        yield "refused", counted(totals.refused_rows, "row")
    own = "the tokenizer's own" if preview.chat_template == "tokenizer" else preview.chat_template
    yield "chat template", f"{plain(own)}; an answer ends with {plain(preview.end_token) or 'no token'}"


def _about(row: PreviewRow) -> str:
    cut = f", {row.cut_tokens} cut off" if row.cut_tokens else ""
    shortened = "; only its beginning is shown" if row.is_shortened else ""
    return f"{counted(row.tokens, 'token')}, {row.trained_tokens} learned{cut}{shortened}"


def _style(part: PreviewText) -> str:
    if part.is_cut:
        return "red strike"
    if part.is_trained:
        return "green bold" if part.is_control else "green"
    return "dim"
