"""`memctl verify`: is every byte of the memory what it should be?"""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

from typer import Option

from memctl.cli.app import Run
from memctl.cli.views import SHORT
from memctl.errors import DamagedStore
from memctl.progress import plural

if TYPE_CHECKING:
    from memctl.store.check import Finding, VerifyReport


def verify(
    run: Run,
    deep: Annotated[bool, Option("--deep", help="Compose the weights too and compare their hashes.")] = False,
    repair: Annotated[bool, Option("--repair", help="Rebuild what can be rebuilt.")] = False,
) -> int:
    """Checks every manifest, object and hash; exit 12 where something is damaged."""
    from memctl.store.verify import verify as check

    report = check(run.store_path, repair=repair)
    findings = list(report.findings)
    if deep and not findings:
        from memctl.wake.verify_deep import verify_deep

        findings += verify_deep(run.store, run.backend)
    for path in report.repaired:
        run.out.record("repaired", {"path": path}, f"repaired {path}", "green")
    for note in report.notes:
        record = {"path": note.path, "kind": note.kind, "message": note.message}
        run.out.record("note", record, f"note: {note.path}: {note.message}")
    for finding in findings:
        record = {"path": finding.path, "kind": finding.kind, "message": finding.message}
        run.out.record("finding", record, f"{finding.path}: {finding.message}", "red")
    read = f"{plural(report.snapshots, 'snapshot')}, {plural(report.objects, 'object')}"
    run.out.summary(
        {
            "result": "damaged" if findings else "clean",
            "findings": len(findings),
            "repaired": len(report.repaired),
            "last_good": report.last_good,
            "snapshots": report.snapshots,
            "objects": report.objects,
            "deep": deep and not report.findings,
        },
        f"damaged: {plural(len(findings), 'finding')}; {_advice(run, report, findings)}" if findings else f"clean: {read}",
        "bold red" if findings else "green",
    )
    return DamagedStore.exit_code if findings else 0


def _advice(run: Run, report: "VerifyReport", findings: "Sequence[Finding]") -> str:
    """What to do about damage."""
    if all(finding.repairable for finding in findings):
        return "memctl verify --repair mends it"
    if any(finding.kind == "config" and not finding.repairable for finding in findings):
        return "restore memctl.toml: that of a new store (memctl --store DIR init) is the same but for its [settings]"
    if not report.last_good:
        return "no snapshot is intact"
    good = report.last_good[:SHORT]
    with suppress(DamagedStore):
        if run.store.layout.read_head() == report.last_good and run.store.head():
            return f"the current snapshot, {good}, is intact"
    return f"the last good snapshot is {good}: memctl rollback {good}"
