import io

from rich.console import Console

from tuneyard.cli.findings import Shown, print_findings


def printed(findings: list[Shown], counts: dict[str, int] | None = None) -> list[str]:
    console = Console(width=200, file=io.StringIO())
    print_findings(console, findings, counts=counts or {})
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def broken(number: int, *, line: int = 0) -> Shown:
    return Shown("WARNING", "IMAGE_TRUNCATED", f"cat/{number}.png", line, "ends too early.", "Copy it again.")


def test_a_finding_alone_has_a_line_with_its_place_and_one_with_its_remedy() -> None:
    assert printed([broken(1, line=3)]) == [
        "WARNING cat/1.png:3: ends too early. IMAGE_TRUNCATED",
        "  → Copy it again.",
    ]


def test_findings_of_one_kind_share_a_heading_and_a_remedy() -> None:
    assert printed([broken(1), broken(2)]) == [
        "WARNING IMAGE_TRUNCATED, 2 times",
        "  cat/1.png: ends too early.",
        "  cat/2.png: ends too early.",
        "  → Copy it again.",
    ]


def test_of_very_many_findings_the_first_and_their_number_are_shown() -> None:
    lines = printed([broken(number) for number in range(50)], {"IMAGE_TRUNCATED": 3000})
    assert lines[0] == "WARNING IMAGE_TRUNCATED, 3000 times"
    assert lines[-2:] == ["  … and 2990 more; --json lists them", "  → Copy it again."]
    assert len(lines) == 13


def test_a_message_that_names_its_file_does_not_name_it_twice() -> None:
    shown = Shown("ERROR", "ARCHIVE_NESTED", "a.zip", 0, "'a.zip' is itself an archive.", "")
    assert printed([shown]) == ["ERROR 'a.zip' is itself an archive. ARCHIVE_NESTED"]
