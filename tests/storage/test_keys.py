import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneyard.storage import FolderStore, InvalidKey
from tuneyard.storage.keys import check_folder, check_key, check_prefix

printable = st.characters(exclude_categories=("C", "Z"), exclude_characters="/")
segments = st.text(printable, min_size=1, max_size=60).filter(lambda text: text not in (".", ".."))
valid_keys = st.lists(segments, min_size=1, max_size=4).map("/".join).filter(lambda key: key[0] != ".")


@given(valid_keys)
def test_every_key_of_printable_segments_is_valid(key: str) -> None:
    assert check_key(key) == key


@given(valid_keys, st.data())
def test_the_beginning_of_a_key_is_a_prefix(key: str, data: st.DataObject) -> None:
    end = data.draw(st.integers(0, len(key)))
    assert check_prefix(key[:end]) == key[:end]


@given(st.text(max_size=40))
def test_an_accepted_key_is_safe_as_a_path(text: str) -> None:
    try:
        key = check_key(text)
    except InvalidKey:
        return
    assert not key.startswith(("/", "."))
    assert not {"", ".", ".."} & set(key.split("/"))
    assert key.isprintable()


@given(valid_keys)
def test_a_valid_key_holds_an_object_in_a_folder(key: str) -> None:
    with tempfile.TemporaryDirectory() as root:
        store = FolderStore(root, public_url="http://localhost")
        store.put(key, b"x")
        assert [info.key for info in store.list("")] == [key]
        assert b"".join(store.read(key)) == b"x"


@pytest.mark.parametrize(
    "key",
    [
        "",
        " ",
        "/",
        "a/",
        "/a",
        "a//b",
        ".",
        "..",
        "a/.",
        "a/../b",
        ".hidden",
        "a\n",
        "a\x7f",
        "\ud800",
        "\u202e",
    ],
)
def test_an_invalid_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidKey):
        check_key(key)


def test_lengths_count_in_bytes() -> None:
    assert check_key("é" * 127)
    with pytest.raises(InvalidKey, match="255"):
        check_key("é" * 128)
    assert check_key("/".join(["x" * 199] * 5))
    with pytest.raises(InvalidKey, match="1000"):
        check_key("/".join(["x" * 200] * 5))


@pytest.mark.parametrize("prefix", ["jobs/1", "", "a//", "../"])
def test_a_folder_is_named_whole(prefix: str) -> None:
    with pytest.raises(InvalidKey):
        check_folder(prefix)
    assert check_folder("jobs/1/") == "jobs/1/"
