"""`python -m model_manager.gpu run -- script.py`: a program on the one card."""

from __future__ import annotations

import sys

from model_manager.gpu._run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
