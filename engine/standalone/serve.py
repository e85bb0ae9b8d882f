"""gunicorn, run as `python -P -m engine.standalone.serve`: Ferryman's packages come before the working directory.

gunicorn puts its directory before all others of Python's path, unless it is there already. A folder with a package
`api` or `engine` of its own would take the place of ours.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gunicorn.app.wsgiapp import run


def main() -> None:
    """Run gunicorn with the arguments of the command line."""
    # An editable installation is found after all of the path, so its root is named too.
    sys.path += [str(Path(__file__).parents[2]), os.getcwd()]
    run()


if __name__ == "__main__":
    main()
