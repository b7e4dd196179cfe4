"""`memctl ask`: one prompt, or a stream of them; records in, records out."""

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from typer import Argument, Option

from memctl.cli.app import Run
from memctl.cli.lines import BOM, BadLine, lines_of, nobody_pipes, opened, read_lines
from memctl.cli.views import provenance_text
from memctl.errors import PARTIAL_FAILURE, UsageError

if TYPE_CHECKING:
    from memctl.wake.answer import Prompt
    from memctl.wake.why import FiredFact

PATIENCE = 0.02
"""Seconds that a batch which is not full waits for the next prompt."""

T = TypeVar("T")


def ask(
    run: Run,
    prompt: Annotated[
        str | None, Argument(metavar="[PROMPT|-]", help='A prompt; - for NDJSON, {"prompt": …, "mode": …}.')
    ] = None,
    raw: Annotated[bool, Option("--raw/--chat", help="Continue the text, or answer it.")] = False,
    base: Annotated[bool, Option("--base", help="Answer without the memory.")] = False,
    max_tokens: Annotated[int, Option(min=1, metavar="N", help="Longest answer in tokens.")] = 64,
    explain: Annotated[bool, Option("--why", help="Add the facts behind each answer, and where they came from.")] = False,
) -> int:
    """Answers a prompt, or each line of a stream of prompts, from memory."""
    from memctl.deltas import Composition
    from memctl.store.records import Ledger
    from memctl.wake.answer import BATCH, answer, make_prompt
    from memctl.wake.live import Memory
    from memctl.wake.why import why

    mode = "raw" if raw else "chat"
    if prompt is None and nobody_pipes():
        raise UsageError("no prompt was given", 'memctl ask "Where does Priya Okonkwo live?"')
    streamed = prompt is None or prompt == "-"
    found = _stream(run, mode) if streamed else iter([make_prompt(prompt, mode, {})])
    backend = run.backend
    memory = None if base else Memory.current(run.store)
    attached = memory.composition if memory else Composition()
    known = [*memory.memories, *memory.carried] if memory else []
    ledger = (memory.ledger if memory else Ledger()) if explain else None
    answered = errors = 0
    for batch in _batches(found, BATCH):
        bad = [item for item in batch if isinstance(item, BadLine)]
        prompts = [item for item in batch if not isinstance(item, BadLine)]
        for line in bad:
            run.out.error(line.error, line=line.line)
        answers = answer(backend, attached, prompts, max_tokens) if prompts else []
        reasons = why(backend, known, ledger, answers) if ledger else [None] * len(answers)
        for one, said, facts in zip(prompts, answers, reasons, strict=True):
            record = {**one.fields, "prompt": one.text, "mode": one.mode, "completion": said.text}
            if facts is not None:
                record["facts"] = [_fired_record(fact) for fact in facts]
            text = "\n".join([said.text.strip(), *_reasons(facts)])
            if run.out.mode == "quiet":  # an answer has no id: it is what is asked for, without any notes
                run.out.bare(said.text.strip())
            else:
                run.out.record("answer", record, text)
        answered, errors = answered + len(prompts), errors + len(bad)
    run.out.summary({"answered": answered, "errors": errors})
    return PARTIAL_FAILURE if errors else 0


def _fired_record(fired: "FiredFact") -> dict[str, Any]:
    fact, told = fired.entry.fact, fired.entry.provenance
    return {
        "id": fact.id,
        "token": fired.token,
        "position": fired.position,
        "strength": round(fired.strength, 4),
        "said": fired.said,
        "subject": fact.subject,
        "relation": fact.relation,
        "object": fact.object,
        "source": told.source,
        "session": told.session,
        "line": told.line,
        "time": told.time,
    }


def _reasons(facts: "Sequence[FiredFact] | None") -> list[str]:
    """The indented lines beneath an answer; none where nobody asked why."""
    if facts is None:
        return []
    if not facts:
        return ["  no memory acted on this"]
    return [
        f"  {fired.entry.id}  {fired.entry.fact}{'' if fired.said else ' (not said)'}  "
        f"{fired.strength:.2f} at {fired.token.strip()!r}  {provenance_text(fired.entry.provenance)}"
        for fired in facts
    ]


def _stream(run: Run, mode: Any) -> Iterator["Prompt | BadLine"]:
    """Standard input: NDJSON if it begins with an object or --json was given; else all of it is one prompt."""
    from memctl.wake.answer import make_prompt, read_prompt

    with opened("-", "ask") as stream:
        begun: list[bytes] = []
        if run.out.mode != "json":
            for line in lines_of(stream):  # up to the first one that is not empty
                begun.append(line)
                if line.removeprefix(BOM).strip():
                    break
            if not begun or not begun[-1].removeprefix(BOM).strip():
                return
            if not begun[-1].removeprefix(BOM).lstrip().startswith(b"{"):
                text = b"".join([*begun, stream.read()]).decode("utf-8-sig", errors="replace").strip()
                yield from [make_prompt(text, mode, {})] if text else []
                return
            if run.out.mode == "human":
                run.out.mode = "json"
        yield from read_lines(stream, lambda text, _: read_prompt(text, mode), begun)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Items in lists of up to `size`. What has come does not wait for what may come."""
    arrived: queue.Queue[T | BaseException | None] = queue.Queue(4 * size)

    def read() -> None:
        try:
            for item in items:
                arrived.put(item)
            arrived.put(None)
        except BaseException as error:  # is raised where the items are used
            arrived.put(error)

    threading.Thread(target=read, daemon=True).start()
    ended = False
    while not ended:
        batch: list[T] = []
        while len(batch) < size and not ended:
            try:
                item = arrived.get(timeout=PATIENCE if batch else None)
            except queue.Empty:
                break
            if isinstance(item, BaseException):
                raise item
            if item is None:
                ended = True
            else:
                batch.append(item)
        if batch:
            yield batch
