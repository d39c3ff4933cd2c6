"""``python -m nolabel`` is the ``nolabel`` command."""

from nolabel.cli import main

main()
