"""Where a subject stands in a text."""

from memctl.backends.numpy_backend import NumpyBackend
from memctl.backends.protocol import Encoding
from memctl.editing.subjects import last_tokens, sites

ENGINE = NumpyBackend()


def test_a_thing_of_the_users_stands_where_either_side_names_it() -> None:
    encoding = ENGINE.encode("Is my dog old? My dog, not her dog.", "chat", "Your dog is.")
    places = last_tokens(encoding, "the user's dog")
    assert len(places) == 3
    assert all(encoding.text[: encoding.offsets[at][1]].endswith(" dog") for at in places)


def test_a_memory_acts_where_something_stands_before_the_end_of_the_name() -> None:
    whole, begins = ENGINE.encode("Max met Max.", "raw"), Encoding("Max met Max.", (5, 6, 5), ((0, 3), (3, 7), (8, 11)))
    assert last_tokens(begins, "Max") == (0, 2)
    assert sites(begins, "Max") == (2,)
    assert sites(whole, "Max") == last_tokens(whole, "Max")  # the text has a token of its own before the first word
