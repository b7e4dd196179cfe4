"""Downloads from the Hugging Face Hub: the files a causal model consists of, and no others."""

import io
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from memctl.errors import ModelUnavailable
from memctl.models.cache import Progress

WANTED = [
    *("config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.*", "merges.txt", "chat_template*", "model*.safetensors", "model.safetensors.index.json"),
]

VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
"""Files of which a model has at least one."""

AGAIN = "try again: it goes on where it stopped; without network, name a local folder instead"


def download(name: str, folder: Path, progress: Progress) -> None:
    """Downloads the repository `owner/name` into `folder`; goes on where an earlier attempt stopped.

    Raises:
        ModelUnavailable: No such repository, no permission, no network, or no tokenizer in it.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    progress(f"downloading {name}", None)
    try:
        # of a hub that it does not reach the library takes what an earlier attempt has left for all there is
        info = HfApi().model_info(name)
        files = [file.rfilename for file in info.siblings or ()]
        # in subfolders lie variants
        wanted = [file for file in files if "/" not in file and any(fnmatch(file, pattern) for pattern in WANTED)]
        if set(VOCABULARIES).isdisjoint(wanted):
            raise ModelUnavailable(f"{name} has none of {', '.join(VOCABULARIES)}", "name a model with a tokenizer of its own")
        snapshot_download(
            name,
            revision=info.sha,
            local_dir=folder,
            allow_patterns=wanted,
            tqdm_class=_reporting_bar(f"downloading {name}", progress),
        )
    except GatedRepoError as error:
        raise ModelUnavailable(
            f"{name} asks for an agreement before it is given out", "accept it on its page, then: hf auth login"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelUnavailable(
            f"the hub has no model {name}, or it is private",
            "check the spelling; for a private one: hf auth login",
        ) from error
    except ModelUnavailable:
        raise
    except Exception as error:  # the hub's other errors, and those of the HTTP library that its release uses
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelUnavailable(
            f"{name} could not be downloaded: {reason[0]}",
            AGAIN,
        ) from error
    if missing := [file for file in wanted if not (folder / file).is_file()]:
        raise ModelUnavailable(f"{name} could not be downloaded: {missing[0]} is missing", AGAIN)


def _reporting_bar(step: str, progress: Progress) -> type[Any]:
    """The class the hub makes its progress bars of: draws nothing, and hands the share of the bytes on."""
    import tqdm  # not huggingface_hub's own bars: they are switched off together with transformers'

    plain: Any = tqdm.tqdm

    class Bar(plain):  # type: ignore[misc]  # tqdm has no types
        def __init__(self, *args: Any, name: str = "", **options: Any) -> None:
            super().__init__(*args, **(options | {"file": io.StringIO(), "disable": False}))

        def update(self, n: float | None = 1) -> Any:
            drawn = super().update(n)
            if self.unit == "B" and self.total:
                progress(step, min(self.n / self.total, 1.0))
            return drawn

    return Bar
