"""`python -m model_manager` is `model-manager`."""

from model_manager.cli import main

if __name__ == "__main__":
    main()
