"""Records have one encoding, and their hashes depend on what they hold and on nothing else."""

import math

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_examples import entry

from memctl.errors import DamagedStore, MemctlError, NonFinite, UnknownFormat, UsageError
from memctl.store.encoding import encode
from memctl.store.records import (
    AdapterRef,
    DeltaRef,
    Ledger,
    Snapshot,
    composition_hash,
    contradictions,
    decode_ledger,
    decode_snapshot,
    make_snapshot,
)

BASE = "ab" * 32
SHA = "0c" * 32


def delta(subject: str, object: str = SHA, scale: float = 1.0, facts: tuple[str, ...] = ()) -> DeltaRef:
    return DeltaRef(subject=subject, facts=facts, object=object, settings="s", scale=scale)


def snapshot(**changes: object) -> Snapshot:
    fields = {"parent": "", "time": "2025-01-02T03:04:05.678Z", "command": "c", "message": "m", "base": BASE}
    fields |= {"ledger": SHA, "deltas": (delta("Ann"),), "adapter": None, "weights": {"w": SHA}, "metrics": {"drift": 0.01}}
    return make_snapshot(**(fields | changes))  # type: ignore[arg-type]


deltas = st.lists(
    st.builds(delta, st.text(max_size=4), st.sampled_from([SHA, "1d" * 32]), st.sampled_from([1.0, 0.5, 0.1])),
    unique_by=lambda made: made.subject,
    max_size=5,
)


@given(deltas, st.randoms())
def test_composition_does_not_depend_on_the_order_of_telling(made: list[DeltaRef], chance) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(made)
    chance.shuffle(shuffled)
    assert composition_hash(BASE, shuffled) == composition_hash(BASE, made)


def test_composition_depends_on_base_objects_and_scales_alone() -> None:
    parts = [delta("Ann"), delta("Bob", "1d" * 32, 0.5)]
    reference = composition_hash(BASE, parts)
    assert composition_hash(BASE, [delta("Ann", facts=("f",)), parts[1]]) == reference
    assert composition_hash("cd" * 32, parts) != reference
    assert composition_hash(BASE, parts[:1]) != reference
    assert composition_hash(BASE, [parts[0], delta("Bob", "1d" * 32, 0.1)]) != reference
    assert composition_hash(BASE, [parts[0], delta("Bob", "1e" * 32, 0.5)]) != reference
    assert composition_hash(BASE, []) == composition_hash(BASE, ())
    one, other = (AdapterRef(facts=("f",), object=sha, settings="s") for sha in (SHA, "1d" * 32))
    assert len({reference, composition_hash(BASE, parts, one), composition_hash(BASE, parts, other)}) == 3
    assert composition_hash(BASE, parts, AdapterRef(facts=("g",), object=SHA, settings="t")) == composition_hash(
        BASE, parts, one
    )


@pytest.mark.parametrize("scale", [0.0, -0.5, 1.5])
def test_a_scale_outside_its_range_is_no_part_of_a_composition(scale: float) -> None:
    with pytest.raises(MemctlError, match="Ann"):
        composition_hash(BASE, [delta("Ann", scale=scale)])


def test_one_subject_has_one_delta() -> None:
    with pytest.raises(MemctlError, match="two deltas"):
        composition_hash(BASE, [delta("Ann"), delta("Ann", "1d" * 32)])


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_non_finite_numbers_are_refused_by_place(number: float) -> None:
    with pytest.raises(NonFinite, match="drift"):
        snapshot(metrics={"drift": number})
    with pytest.raises(NonFinite, match="Ann"):
        snapshot(deltas=(delta("Ann", scale=number),))
    told = msgspec.structs.replace(entry("Ann", "Oslo"), scale=number)
    with pytest.raises(NonFinite, match="scale"):
        encode(Ledger({told.id: told}))


def test_a_snapshot_survives_its_encoding_and_is_named_by_it() -> None:
    made = snapshot(metrics={"facts": 3})
    assert decode_snapshot(encode(made), made.id, "here") == made
    assert snapshot(message="other").id != made.id
    assert snapshot(metrics={"facts": 3}).id == made.id


def test_every_other_spelling_of_a_manifest_is_damage() -> None:
    made = snapshot()
    data = encode(made)
    for other in (data[:-1], data.replace(b"  ", b" "), data.replace(b"0.01", b"1e-2"), b"[]", b"", b"\xff"):
        with pytest.raises(DamagedStore, match="snapshots/x"):
            decode_snapshot(other, made.id, "snapshots/x")
    with pytest.raises(DamagedStore):
        decode_snapshot(data, "0" * 64, "snapshots/x")


def test_a_newer_format_asks_for_a_newer_memctl() -> None:
    fields = orjson.loads(encode(snapshot())) | {"format": 2, "novelty": True}
    with pytest.raises(UnknownFormat) as caught:
        decode_snapshot(orjson.dumps(fields), fields["id"], "here")
    assert "newer memctl" in caught.value.hint


def test_a_hash_that_leads_out_of_the_store_is_refused() -> None:
    with pytest.raises(MemctlError):
        snapshot(ledger="../../etc/passwd")
    with pytest.raises(MemctlError):
        snapshot(parent=SHA + "\n")


def test_ledger_finds_entries_by_prefix() -> None:
    entries = {told.id: told for told in (entry(f"Person {n}", "Oslo") for n in range(40))}
    ledger = Ledger(entries)
    first = min(entries)
    assert ledger.by_prefix(first) == entries[first]
    with pytest.raises(UsageError, match="begins with"):
        ledger.by_prefix("zz")
    with pytest.raises(UsageError, match="begins with"):
        ledger.by_prefix("")
    shared = next(id[0] for id in sorted(entries) if sum(other[0] == id[0] for other in entries) > 1)
    with pytest.raises(UsageError) as caught:
        ledger.by_prefix(shared)
    assert sum(id in caught.value.message for id in entries if id[0] == shared) > 1


def test_active_entries_are_sorted_and_only_active() -> None:
    gone = msgspec.structs.replace(entry("Ann", "Oslo"), state="forgotten")
    kept = [entry("Bob", "Lima"), entry("Cem", "Cork"), entry("Dee", "Perth")]
    ledger = Ledger({told.id: told for told in (gone, *kept)})
    assert [told.id for told in ledger.active()] == sorted(told.id for told in kept)
    assert decode_ledger(encode(ledger), "here") == ledger
    assert Ledger().active() == ()


def test_contradictions_between_ledger_and_deltas() -> None:
    told = entry("Ann", "Oslo")
    carried = delta("Ann", facts=(told.id,))
    assert contradictions(Ledger({told.id: told}), [carried]) == []
    assert "no delta carries" in contradictions(Ledger({told.id: told}), [])[0]
    dissolved = msgspec.structs.replace(told, stage=3, scale=0.0)
    assert "neither" in contradictions(Ledger({told.id: dissolved}), [])[0]
    learned = AdapterRef(facts=(told.id,), object=SHA, settings="s")
    assert contradictions(Ledger({told.id: dissolved}), [], learned) == []
    assert "no delta carries" in contradictions(Ledger({told.id: told}), [], learned)[0]
    forgotten = msgspec.structs.replace(told, state="forgotten")
    assert contradictions(Ledger({told.id: forgotten}), []) == []
    assert "forgotten fact" in contradictions(Ledger({told.id: forgotten}), [carried])[0]
    assert "adapter carries the forgotten" in contradictions(Ledger({told.id: forgotten}), [], learned)[0]
    superseded = msgspec.structs.replace(told, state="superseded")
    assert contradictions(Ledger({told.id: superseded}), [], learned) == []
    assert "does not know" in contradictions(Ledger(), [carried])[0]
    assert "does not know" in contradictions(Ledger(), [], learned)[0]
    assert "holds the fact" in contradictions(Ledger({"0" * 12: dissolved}), [], learned)[0]
