"""`memctl verify`: is every byte of the memory what it should be?"""

from typing import Annotated

from typer import Option

from memctl.cli.app import Run
from memctl.cli.views import SHORT, plural
from memctl.errors import DamagedStore


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
        from memctl.wake.memory import verify_deep

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
    good = report.last_good[:SHORT]
    last = f"the last good snapshot is {good}: memctl rollback {good}" if good else "no snapshot is intact"
    run.out.summary(
        {
            "result": "damaged" if findings else "clean",
            "findings": len(findings),
            "repaired": len(report.repaired),
            "last_good": report.last_good,
            "snapshots": report.snapshots,
            "objects": report.objects,
            "deep": deep,
        },
        f"damaged: {plural(len(findings), 'finding')}; {last}" if findings else f"clean: {read}",
        "bold red" if findings else "green",
    )
    return DamagedStore.exit_code if findings else 0
