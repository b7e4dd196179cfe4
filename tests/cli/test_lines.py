"""Batch input: bytes of any kind become records and numbered errors, never an exception."""

import io

from hypothesis import given
from hypothesis import strategies as st

from memctl.cli.lines import MAX_LINE, BadLine, read_lines
from memctl.errors import UsageError


def upper(text: str, line: int) -> str:
    if "bad" in text:
        raise UsageError("bad line")
    return f"{line}:{text.upper()}"


def read(data: bytes) -> list[str | BadLine]:
    return list(read_lines(io.BytesIO(data), upper))


def test_lines_keep_their_numbers_over_gaps_crlf_and_a_bom() -> None:
    assert read(b"\xef\xbb\xbfone\r\n\r\n  \nfour") == ["1:ONE", "4:FOUR"]
    assert read(b"") == []


def test_a_bad_line_does_not_stop_the_next_one() -> None:
    first, error, third = read(b"a\nbad\nc\n")
    assert (first, third) == ("1:A", "3:C")
    assert isinstance(error, BadLine)
    assert error.line == 2


def test_a_line_that_is_no_utf8_or_endless_is_one_error() -> None:
    bad, good = read(b"\xff\xfe\nfine\n")
    assert isinstance(bad, BadLine)
    assert "UTF-8" in bad.error.message
    assert good == "2:FINE"
    bad, good = read(b"x" * (3 * MAX_LINE) + b"\nfine\n")
    assert isinstance(bad, BadLine)
    assert good == "2:FINE"
    assert read(b"x" * MAX_LINE + b"\n") == [f"1:{'X' * MAX_LINE}"]


@given(st.binary(max_size=200))
def test_any_bytes_give_records_or_errors_in_order(data: bytes) -> None:
    found = read(data)
    numbers = [item.line if isinstance(item, BadLine) else int(item.split(":")[0]) for item in found]
    assert numbers == sorted(set(numbers))
    assert len(found) <= data.count(b"\n") + 1
