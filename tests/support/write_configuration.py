"""Write what `CONFIGURATION.md` is to be: `python -m support.write_configuration > FILE`."""

import sys

from asrd.configuring.writing import document

if __name__ == "__main__":
    sys.stdout.write(document())
