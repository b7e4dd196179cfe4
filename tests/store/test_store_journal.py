"""What was journalled is there after any crash; what was lost is not passed over in silence."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_examples import BASE

from memctl.errors import DamagedStore, NonFinite, UsageError
from memctl.store.journal import Journal
from memctl.store.layout import Layout
from memctl.store.store import Store
from memctl.store.verify import verify


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Store.create(tmp_path / "store", BASE).journal
    for turn in range(3):
        journal.append({"turn": turn})
    return journal


def test_records_come_back_in_order(journal: Journal) -> None:
    journal.append({"text": 'line\nbreak "quoted" \u2028 caf\u00e9', "deep": [{"a": None}, 1.5]})
    assert journal.read()[0] == {"turn": 0}
    assert journal.read()[-1] == {"text": 'line\nbreak "quoted" \u2028 caf\u00e9', "deep": [{"a": None}, 1.5]}


def test_a_torn_last_line_never_happened(journal: Journal) -> None:
    with journal.path.open("ab") as file:
        file.write(b'{"chain":"00ff')
    assert [record["turn"] for record in journal.read()] == [0, 1, 2]
    report = verify(journal.path.parent.parent)
    assert report.findings == ()
    assert [note.kind for note in report.notes] == ["journal"]
    journal.append({"turn": 3})
    assert [record["turn"] for record in journal.read()] == [0, 1, 2, 3]


def test_a_whole_line_that_was_not_acknowledged_counts(journal: Journal) -> None:
    position = journal.position_path.read_bytes()
    journal.append({"turn": 3})
    journal.position_path.write_bytes(position)
    assert len(journal.read()) == 4
    journal.append({"turn": 4})
    assert [record["turn"] for record in journal.read()] == [0, 1, 2, 3, 4]


def test_an_acknowledged_line_that_is_gone_is_damage(journal: Journal) -> None:
    lines = journal.path.read_bytes().splitlines(keepends=True)
    for left in (lines[:-1], lines[1:], [lines[0], lines[2]], [lines[1], lines[0], lines[2]]):
        journal.path.write_bytes(b"".join(left))
        with pytest.raises(DamagedStore, match=r"journal/journal.ndjson"):
            journal.read()
        with pytest.raises(DamagedStore, match=r"journal/journal.ndjson"):
            journal.append({"turn": 3})


def test_a_shorter_journal_says_how_much_is_missing(journal: Journal) -> None:
    journal.path.write_bytes(journal.path.read_bytes()[:-5])
    with pytest.raises(DamagedStore, match="5 bytes are missing at its end"):
        journal.read()


def test_a_journal_of_another_store_is_damage(journal: Journal, tmp_path: Path) -> None:
    other = Store.create(tmp_path / "other", BASE).journal
    for turn in range(3, 6):
        other.append({"turn": turn})
    journal.path.write_bytes(other.path.read_bytes())
    with pytest.raises(DamagedStore, match="position"):
        journal.read()


def test_an_altered_line_is_named_by_its_number(journal: Journal) -> None:
    journal.path.write_bytes(journal.path.read_bytes().replace(b'"turn":1', b'"turn":7'))
    with pytest.raises(DamagedStore, match="line 2"):
        journal.read()


def test_no_nan_and_no_invalid_text(journal: Journal) -> None:
    with pytest.raises(NonFinite, match=r"surprise\[1\]"):
        journal.append({"surprise": [0.5, float("nan")]})
    with pytest.raises(UsageError):
        journal.append({"text": "\ud800"})
    assert len(journal.read()) == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(st.text(), JSON, max_size=4), max_size=4))
def test_any_json_object_survives(tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, object]]) -> None:
    journal = Journal(Layout(tmp_path_factory.mktemp("any")))
    journal.create()
    for record in records:
        journal.append(record)
    assert journal.read() == records
