import pytest

from tuneyard.trainer.base_identity import BaseIdentity

PLAIN = BaseIdentity(id="owner/name", revision="abc")


def test_a_base_is_told_with_what_is_known_of_it() -> None:
    assert str(BaseIdentity(id="models/mine")) == "models/mine"
    whole = BaseIdentity(id="owner/name", revision="abc", sha256="0123456789abcdef0123")
    assert str(whole) == "owner/name at revision abc (SHA-256 0123456789abcdef…)"


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (BaseIdentity(id="owner/name", revision="abc", sha256="1"), True),
        (BaseIdentity(id="owner/name", revision="def"), False),
        (BaseIdentity(id="models/copy", revision="abc"), False),
    ],
)
def test_without_a_hash_name_and_revision_decide(other: BaseIdentity, same: bool) -> None:
    assert PLAIN.has_weights_of(other) is other.has_weights_of(PLAIN) is same


def test_the_hash_decides_over_names() -> None:
    stored, fetched = BaseIdentity(id="models/copy", sha256="1"), BaseIdentity(id="owner/name", sha256="1")
    assert stored.has_weights_of(fetched)
    assert not stored.has_weights_of(BaseIdentity(id="models/copy", sha256="2"))
