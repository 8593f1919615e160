from scripts.generate_cli_docs import TARGET, text


def test_the_page_about_the_command_line_is_current() -> None:
    assert TARGET.read_text() == text(), "python scripts/generate_cli_docs.py"
