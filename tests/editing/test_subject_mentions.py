"""Where a subject stands in a text."""

from memctl.backends.numpy_backend import NumpyBackend
from memctl.editing.subjects import last_tokens

ENGINE = NumpyBackend()


def test_a_thing_of_the_users_stands_where_either_side_names_it() -> None:
    encoding = ENGINE.encode("Is my dog old? My dog, not her dog.", "chat", "Your dog is.")
    places = last_tokens(encoding, "the user's dog")
    assert len(places) == 3
    assert all(encoding.text[: encoding.offsets[at][1]].endswith(" dog") for at in places)
