import sys
from typing import Any

import pytest

from tuneyard.cli import __main__ as entry


def test_ctrl_c_while_the_command_line_is_loaded_ends_it_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Interrupted:
        def find_spec(self, name: str, *_: Any) -> None:
            if name == "tuneyard.cli.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "tuneyard.cli.main", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    with pytest.raises(SystemExit) as left:
        entry.main()
    assert left.value.code == 130
    assert capfd.readouterr() == ("", "")
