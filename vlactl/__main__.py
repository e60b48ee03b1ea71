"""``python -m vlactl`` is the ``vlactl`` command."""

from vlactl.cli import main

if __name__ == "__main__":
    main()
