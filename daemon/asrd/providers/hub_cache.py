"""Where the Hugging Face cache holds a repository, read by the cache's layout.

huggingface_hub is left out on purpose: importing it takes longer than the whole daemon may take to
start, and a provider's `status` runs in the core.
"""

from pathlib import Path

from asrd.providers.downloads import hub_cache


def snapshot_folder(repository: str) -> Path:
    """The folder of the cached revision `main` of `repository` (`owner/name`).

    Where nothing of it is cached, the folder does not exist.
    """
    home = hub_cache() / f"models--{repository.replace('/', '--')}"
    try:
        revision = (home / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        revision = "main"
    return home / "snapshots" / revision
