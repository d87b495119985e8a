"""``python -m ftcls``, the same as the command ``ftcls``."""
from ftcls.cli import main

main()
