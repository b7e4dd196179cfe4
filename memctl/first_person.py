"""What is the user's: one canonical subject, however it is said.

The user says "my dog", the model answers "your dog", the ledger says "the user's dog". The user in person ("I live in …") is no
subject of an edit: "I" is in every other sentence, and comes before anybody knows what is said of it.
"""

import re

_OWNER = "the user's "
_OWNED = re.compile(r"(?:my|My(?= [^A-Z]|.* [^A-Z]\S*$)|(?:[Tt]he )?[Uu]ser['’]s) (?P<thing>\S.*)")
"""What begins and ends with a capital, as "My Chemical Romance" and "My Dinner with Andre", is a name."""


def canonical_subject(subject: str) -> str:
    """`the user's dog` for all ways to say it; any other subject as it is."""
    owned = _OWNED.fullmatch(subject)
    return f"{_OWNER}{owned['thing']}" if owned else subject


def said_by_user(subject: str, form: str = "{s}") -> str:
    """A form with what the user calls the subject for `{s}`: `my dog`, and `My dog` where a sentence begins with it."""
    return _said(subject, "my", form)


def said_by_model(subject: str, form: str = "{s}") -> str:
    """A form with what the model calls the subject for `{s}`: `your dog`, and `Your dog` where a sentence begins with it."""
    return _said(subject, "your", form)


def mentions_of(subject: str) -> tuple[str, ...]:
    """All texts that mention a canonical subject; a name has one."""
    if not is_owned(subject):
        return (subject,)
    owners = ("my", "My", "your", "Your", "the user's", "The user's")
    return tuple(f"{owner} {thing_of(subject)}" for owner in owners)


def is_owned(subject: str) -> bool:
    """Whether a canonical subject is something of the user's."""
    return subject.startswith(_OWNER)


def thing_of(subject: str) -> str:
    """What it is of the user's: `dog`."""
    return subject.removeprefix(_OWNER)


def _said(subject: str, owner: str, form: str) -> str:
    if is_owned(subject):
        begin = owner.capitalize() if form != "{s}" and form.startswith("{s}") else owner
        form = form.replace("{s}", f"{begin} {thing_of(subject)}", 1)
        return form.replace("{s}", f"{owner} {thing_of(subject)}")
    return form.replace("{s}", subject)
