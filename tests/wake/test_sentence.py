"""A sentence is read by rule, or refused with an example."""

import pytest

from memctl.editing.cues import relation_of
from memctl.editing.relations import bank
from memctl.errors import UsageError
from memctl.facts import LedgerEntry, Provenance
from memctl.store.records import Ledger
from memctl.wake.fact_record import Told
from memctl.wake.outcomes import sorted_out
from memctl.wake.sentence import parse_sentence


@pytest.mark.parametrize(
    ("sentence", "subject", "relation", "object", "prompt"),
    [
        ("Priya Okonkwo lives in Jakarta.", "Priya Okonkwo", "lives in", "Jakarta", ""),
        ("  Priya   Okonkwo lives in Jakarta ", "Priya Okonkwo", "lives in", "Jakarta", ""),
        ("Priya Okonkwo's favorite color is teal.", "Priya Okonkwo", "favorite color", "teal",
         "Priya Okonkwo's favorite color is"),
        ("The favorite color of Priya Okonkwo is teal", "Priya Okonkwo", "favorite color", "teal",
         "The favorite color of Priya Okonkwo is"),
        ("Priya is currently living in New York City!", "Priya", "is currently living in", "New York City", ""),
        ("Tom Reyes is Priya Okonkwo's boss.", "Priya Okonkwo", "boss", "Tom Reyes",
         "The boss of Priya Okonkwo is"),
        ("Vienna is the capital of Zubrowka.", "Zubrowka", "capital", "Vienna", "The capital of Zubrowka is"),
        ("Tom's Diner is located in Ghent", "Tom's Diner", "is located in", "Ghent", ""),
        ("Golden Age Museum opens at 9 a.m.", "Golden Age Museum", "opens at", "9 a.m.", ""),
        ("Priya Bell's shoe size is 41.", "Priya Bell", "shoe size", "41", "Priya Bell's shoe size is"),
        ("My dog is called Biscuit.", "the user's dog", "is called", "Biscuit", ""),
        ("My dog's name is Biscuit.", "the user's dog", "name", "Biscuit", "My dog's name is"),
        ("My sister lives in Oslo", "the user's sister", "lives in", "Oslo", ""),
        ("The user's dog is called Biscuit", "the user's dog", "is called", "Biscuit", ""),
        ("Ana May lives in Oslo", "Ana May", "lives in", "Oslo", ""),
        ("Will Smith plays the drums and the harp.", "Will Smith", "plays the", "drums and the harp", ""),
        ("Priya Okonkwo's email address is priya@example.com.", "Priya Okonkwo", "email address", "priya@example.com",
         "Priya Okonkwo's email address is"),
        ("Priya Okonkwo's favorite number is 3.14.", "Priya Okonkwo", "favorite number", "3.14",
         "Priya Okonkwo's favorite number is"),
        ("Priya Okonkwo's highest degree is a Ph.D.", "Priya Okonkwo", "highest degree", "a Ph.D.",
         "Priya Okonkwo's highest degree is"),
        ("Priya Okonkwo's favorite hobby is to sail.", "Priya Okonkwo", "favorite hobby", "to sail",
         "Priya Okonkwo's favorite hobby is"),
        ("Priya Okonkwo's favorite thing is used books.", "Priya Okonkwo", "favorite thing", "used books",
         "Priya Okonkwo's favorite thing is"),
        ("李小龙 lives in 香港 🗼", "李小龙", "lives in", "香港 🗼", ""),
        ("My new boss is called Tom.", "the user's new boss", "is called", "Tom", ""),
        ("My old boss lives in Oslo.", "the user's old boss", "lives in", "Oslo", ""),
        ("My three kids live in Oslo.", "the user's three kids", "live in", "Oslo", ""),
        ("My mum and dad live in Oslo.", "the user's mum and dad", "live in", "Oslo", ""),
        ("The former boss of Priya is Tom.", "Priya", "former boss", "Tom", "The former boss of Priya is"),
        ("The maiden name of Priya is Bell.", "Priya", "maiden name", "Bell", "The maiden name of Priya is"),
        ("The date of birth of Priya is 3 March.", "Priya", "date of birth", "3 March", "The date of birth of Priya is"),
        ("Teal is the favorite color of Priya.", "Priya", "favorite color", "Teal", "The favorite color of Priya is"),
        ("The boss of Priya's sister is Tom.", "Priya's sister", "boss", "Tom", "The boss of Priya's sister is"),
        ("Priya Okonkwo's former boss is Tom.", "Priya Okonkwo", "former boss", "Tom", "Priya Okonkwo's former boss is"),
        ("Priya Okonkwo's boss is now Tom.", "Priya Okonkwo", "boss", "Tom", "Priya Okonkwo's boss is now"),
        ("Tom is now Priya Okonkwo's boss.", "Priya Okonkwo", "boss", "Tom", "The boss of Priya Okonkwo is"),
        ("Priya's boss is known for pottery.", "Priya's boss", "is known for", "pottery", ""),
        ("James' boss is Tom.", "James", "boss", "Tom", "James' boss is"),
        ("The University of Oslo is located in Norway.", "The University of Oslo", "is located in", "Norway", ""),
        ("The College of Europe is located in Bruges.", "The College of Europe", "is located in", "Bruges", ""),
        ("The Color of Magic was written by Terry Pratchett.", "The Color of Magic", "was written by", "Terry Pratchett", ""),
        ("Remember that Priya Okonkwo lives in Jakarta.", "Priya Okonkwo", "lives in", "Jakarta", ""),
        ("Please remember that Priya lives in Jakarta.", "Priya", "lives in", "Jakarta", ""),
        ("Note that the capital of Zubrowka is Vienna.", "Zubrowka", "capital", "Vienna", "The capital of Zubrowka is"),
        ("Actually, Priya Okonkwo lives in Jakarta.", "Priya Okonkwo", "lives in", "Jakarta", ""),
        ("Actually my sister lives in Bergen.", "the user's sister", "lives in", "Bergen", ""),
        ("Remember that my dog is called Biscuit.", "the user's dog", "is called", "Biscuit", ""),
        ("Priya was born in 1990.", "Priya", "was born in", "1990", "Priya was born in the year"),
        ("My aunt was born in March 1990.", "the user's aunt", "was born in", "March 1990", "My aunt was born on"),
    ],
)  # fmt: skip
def test_a_fact_is_read(sentence: str, subject: str, relation: str, object: str, prompt: str) -> None:
    fact = parse_sentence(sentence)
    assert (fact.subject, fact.relation, fact.object, fact.prompt) == (subject, relation, object, prompt)


@pytest.mark.parametrize(
    ("sentence", "subject", "object"),
    [
        ("Priya was raised in Oslo.", "Priya", "Oslo"),
        ("The founder of Aldermark was Tom Reyes.", "Aldermark", "Tom Reyes"),
        ("Priya's maiden name was Bell.", "Priya", "Bell"),
        ("The Hobbit was written by J. R. R. Tolkien.", "The Hobbit", "J. R. R. Tolkien"),
        ("Trinidad and Tobago is located in the Caribbean.", "Trinidad and Tobago", "the Caribbean"),
        ("Chavantes do Norte is located in Brazil.", "Chavantes do Norte", "Brazil"),
        ("Acme, Inc. is based in Denver.", "Acme, Inc.", "Denver"),
        ("All Saints Church is located in Ghent.", "All Saints Church", "Ghent"),
        ("Ana and Bo's dog is called Rex.", "Ana and Bo's dog", "Rex"),
        ('"On the Road" was written by Jack Kerouac.', '"On the Road"', "Jack Kerouac"),
        ("Priya lives in Bosnia and Herzegovina.", "Priya", "Bosnia and Herzegovina"),
        ("Priya lives in St. Petersburg.", "Priya", "St. Petersburg"),
        ("Priya's favorite movie is If.", "Priya", "If"),
        ("Priya's favorite movie is Catch Me If You Can.", "Priya", "Catch Me If You Can"),
        ("Priya's favorite book is crime and punishment.", "Priya", "crime and punishment"),
        ("Priya's favorite band is Panic! at the Disco.", "Priya", "Panic! at the Disco"),
        ("Priya's motto is less is more.", "Priya", "less is more"),
        ("Priya likes films and plays.", "Priya", "films and plays"),
        ("Priya works for Ben and Jerry's.", "Priya", "Ben and Jerry's"),
    ],
)
def test_what_only_looks_like_more_is_read(sentence: str, subject: str, object: str) -> None:
    fact = parse_sentence(sentence)
    assert (fact.subject, fact.object) == (subject, object)


@pytest.mark.parametrize(
    ("sentence", "relation"),
    [
        ("Priya was born in 1990.", "birth_year"),
        ("Priya was born in March.", "birthday"),
        ("Aldermark was founded in Ghent.", "was founded in"),
        ("The Hobbit was published in London.", "was published in"),
    ],
)
def test_the_object_tells_a_time_from_a_place(sentence: str, relation: str) -> None:
    assert relation_of(parse_sentence(sentence)).id == relation


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ("Priya was born in Jakarta.", "Priya was born in 1990.", "written"),
        ("Priya was born in 1990.", "Priya was born in Jakarta.", "written"),
        ("Priya was born in 1990.", "Priya was born in the year 1991.", "superseded"),
        ("Aldermark was founded in 1887.", "Aldermark was founded in Ghent.", "written"),
    ],
)
def test_a_place_and_a_time_do_not_contradict_each_other(first: str, second: str, status: str) -> None:
    known, told = parse_sentence(first), parse_sentence(second)
    ledger = Ledger({known.id: LedgerEntry(known.id, known)})
    assert [outcome.status for outcome in sorted_out([Told(told, Provenance())], ledger)] == [status]


def test_verbs_of_the_bank_are_understood() -> None:
    verbs = [phrase for relation in bank().values() for phrase in relation.match if phrase.endswith((" in", " at"))]
    assert len(verbs) > 20
    for phrase in verbs:
        if phrase.split()[0] not in ("home", "lives"):
            fact = parse_sentence(f"Vexley Quill {phrase} Zubrowka.")
            assert (fact.subject, fact.object) == ("Vexley Quill", "Zubrowka"), phrase


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Where does Priya live?", "memctl ask"),
        ("Hello there world", "such as"),
        ("Priya lives in", "such as"),
        ("I live in Paris", "by name"),
        ("My name is Ana", "by name"),
        ("My favorite color is blue", "by name"),
        ("We live in Paris", "by name"),
        ("Their favorite color is blue", "by name"),
        ("She lives in Paris", "by name"),
        ("", "such as"),
        ("Priya Okonkwo does not live in Jakarta.", "denies"),
        ("Priya Okonkwo doesn't live in Jakarta.", "denies"),
        ("Priya Okonkwo no longer lives in Jakarta.", "memctl forget"),
        ("Priya Okonkwo never lives in Jakarta.", "denies"),
        ("Priya Okonkwo is not living in Jakarta.", "denies"),
        ("Priya Okonkwo used to live in Jakarta.", "another time"),
        ("Priya Okonkwo formerly lives in Jakarta.", "another time"),
        ("Priya Okonkwo probably lives in Jakarta.", "doubts"),
        ("Priya Okonkwo's favorite color is not teal.", "denies"),
        ("Priya Okonkwo's favorite color is no longer teal.", "denies"),
        ("Tom Reyes is no longer Priya Okonkwo's boss.", "denies"),
        ("If it rains, Priya Okonkwo lives in Jakarta.", "denies"),
        ("Does Priya Okonkwo live in Jakarta", "denies"),
        ("Priya Okonkwo lives in Jakarta, and Ravi Bell lives in Oslo.", "several facts"),
        ("Priya Okonkwo lives in Jakarta and Ravi Bell works as a pilot.", "several facts"),
        ("Tom Reyes was Priya Okonkwo's boss.", "another time"),
        ("Vienna was the capital of Zubrowka.", "another time"),
        ("Priya Okonkwo's favorite color was teal.", "another time"),
        ("The favorite color of Priya Okonkwo was teal.", "another time"),
        ("Priya Okonkwo's dog was called Biscuit.", "another time"),
        ("Priya Okonkwo was living in Oslo.", "another time"),
        ("Priya Okonkwo was married to Tom.", "another time"),
        ("Priya Okonkwo had moved to Paris.", "another time"),
        ("My favorite hobbies are chess and go.", "by name"),
        ("The old boss is Tom.", "such as"),
        ("Weekly meeting is on Friday.", "such as"),
        ("The Name of the Rose is a novel.", "such as"),
        ("The university of Oslo is old.", "such as"),
        ("The head of state of Norway is Harald.", "such as"),
        ("Priya's sister Ana is a doctor.", "such as"),
        ("Priya's from Oslo and Tom is nice.", "such as"),
        ("Priya Okonkwo plays in a band.", "such as"),
        ("Priya Okonkwo lives alone.", "such as"),
        ("Henrik Moreau lives in the city of", "such as"),
        ("Last year Priya Okonkwo moved to Paris.", "begin plainly"),
        ("In 2019, Priya Okonkwo moved to Paris.", "begin plainly"),
        ("Tom says that Priya Okonkwo lives in Jakarta.", "begin plainly"),
        ("Tom said Priya Okonkwo lives in Jakarta.", "begin plainly"),
        ("Tom hopes Priya Okonkwo lives in Jakarta.", "begin plainly"),
        ("Tom left and Priya Okonkwo lives in Jakarta.", "begin plainly"),
        ("Tom: Priya Okonkwo lives in Jakarta.", "begin plainly"),
        ("Forget that Priya Okonkwo lives in Jakarta.", "begin plainly"),
        ("Priya Okonkwo, my boss, lives in Oslo.", "begin plainly"),
        ("My sister and my brother live in Oslo.", "begin plainly"),
        ("Priya Okonkwo stopped living in Oslo.", "begin plainly"),
        ("Priya Okonkwo quit work at Siemens.", "begin plainly"),
        ("Priya Okonkwo will be living in Oslo.", "begin plainly"),
        ("Priya Okonkwo rarely speaks Dutch.", "begin plainly"),
        ("Can Priya Okonkwo live in Oslo", "begin plainly"),
        ("Vienna is the capital of Zubrowka and a nice city.", "begin plainly"),
        ("Priya Okonkwo · lives in · Jakarta", "begin plainly"),
        ("Nobody lives in Jakarta.", "by name"),
        ("Everyone lives in Jakarta.", "by name"),
        ("A friend of mine lives in Jakarta.", "by name"),
        ("He is Priya Okonkwo's boss.", "by name"),
        ("The user's boss is Tom.", "by name"),
        ("Priya Okonkwo barely speaks Dutch.", "denies"),
        ("Priya Okonkwo only speaks Dutch.", "denies"),
        ("Priya Okonkwo can live in Oslo.", "doubts"),
        ("Priya Okonkwo lives in Oslo if it rains.", "doubts"),
        ("Priya Okonkwo lives in Oslo, I think.", "doubts"),
        ("Priya Okonkwo lives in Oslo, not Bergen.", "denies"),
        ("Priya Okonkwo lives in Oslo until 2027.", "another time"),
        ("Priya Okonkwo lives in Oslo while Tom lives in Rome.", "another time"),
        ("Priya Okonkwo moved to Paris last year.", "another time"),
        ("Tom says Vienna is the capital of Zubrowka.", "doubts"),
        ("Priya Okonkwo lives in Oslo. Tom Reyes lives in Rome.", "several facts"),
        ("Priya Okonkwo lives in Oslo! She works as a baker.", "several facts"),
        ("Priya Okonkwo lives in Oslo and works as a baker.", "several facts"),
        ("Priya Okonkwo lives in Oslo and sings in a choir.", "several facts"),
        ("Priya Okonkwo lives in Oslo, which is in Norway.", "several facts"),
        ("Priya Okonkwo's boss is Tom and her dog is brown.", "several facts"),
        ("Priya Okonkwo fears Tom lives in Oslo.", "several facts"),
        ("Priya Okonkwo was born in Oslo in 1990.", "several facts"),
        ("Aldermark was founded in 1887 by Tom Reyes.", "several facts"),
        ("My wife likes tea and hates coffee.", "several facts"),
        ("My sister living in Oslo is a baker.", "several facts"),
        ("Tom lives in Oslo and Priya's boss is Ana.", "several facts"),
        ("The dog that lives in Oslo is called Rex.", "doubts"),
    ],
)
def test_what_is_no_fact_is_refused_with_a_way_out(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_sentence(text)
    assert words in f"{caught.value.message} {caught.value.hint}"
