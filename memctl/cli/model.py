"""`memctl model`: the base models."""

from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer import Argument

from memctl.cli.app import Run, add, add_callback
from memctl.cli.views import SHORT
from memctl.progress import plural

group = typer.Typer(name="model", help="Lists, fetches and inspects base models.")

Name = Annotated[str | None, Argument(help="Bundled name, owner/name, folder or GGUF file.", metavar="NAME")]


def list_models(run: Run) -> None:
    """Lists the bundled model and everything in the cache."""
    from memctl.models.source import available

    models = available()
    run.out.table(
        "model",
        ("name", "kind", "fetched", "size", "fingerprint"),
        (
            (
                {
                    "id": found.name,
                    "name": found.name,
                    "kind": found.kind,
                    "fetched": found.fetched,
                    "size": found.size,
                    "fingerprint": found.fingerprint,
                },
                (
                    found.name,
                    found.kind,
                    "yes" if found.fetched else "no",
                    f"{found.size / 1e6:,.0f} MB" if found.fetched else "",
                    found.fingerprint[:SHORT],
                ),
            )
            for found in models
        ),
    )
    run.out.summary({"models": len(models)}, plural(len(models), "model"))


def pull(run: Run, name: Name = None) -> None:
    """Fetches a model into the cache, ready to be used."""
    from memctl.models.source import fetch, find

    source = find(name or run.effective.settings.model)
    folder = fetch(source, _progress(run))
    run.out.record("model", {"id": source.name, "name": source.name, "folder": str(folder)}, str(folder))
    run.out.summary({"result": "done"})


def info(run: Run, name: Name = None) -> None:
    """Shows a model's shape and fingerprint."""
    from memctl.models.fingerprint import fingerprint
    from memctl.models.source import fetch, find
    from memctl.models.structure import shape_from_config

    source = find(name or run.effective.settings.model)
    folder = fetch(source, _progress(run))
    shape = shape_from_config(folder)
    record: dict[str, Any] = {
        "id": source.name,
        "name": source.name,
        "kind": source.kind,
        "folder": str(folder),
        "family": shape.family,
        "layers": shape.layers,
        "hidden": shape.hidden,
        "intermediate": shape.intermediate,
        "vocabulary": shape.vocab,
        "fingerprint": fingerprint(folder),
    }
    text = "\n".join(f"{key:<13} {value}" for key, value in record.items() if key != "id")
    run.out.record("model", record, text)
    run.out.summary({"result": "done"})


def _progress(run: Run) -> Callable[[str, float | None], None]:
    """Shares from 0 to 1 as steps of a hundred; None is a step of unknown length."""
    return lambda step, share: run.out.progress(step, round(100 * (share or 0)), 0 if share is None else 100)


add_callback(group)
add(group, list_models, name="list")
add(group, pull)
add(group, info)
