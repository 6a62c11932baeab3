"""Where the command `streamgauge` begins: before anything that a host application may not have installed."""

import importlib
import sys


def main() -> None:
    """Run the command line, or say what is to be installed for it: `import streamgauge` alone needs next to nothing."""
    try:
        run = importlib.import_module("streamgauge_cli.main").main
        run()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if not missing or missing.startswith("streamgauge"):
            raise
        print(
            f"streamgauge: this command needs the package {missing!r}, which is not installed: pip install 'streamgauge[all]'",
            file=sys.stderr,
        )
        sys.exit(1)
