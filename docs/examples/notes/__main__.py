"""`python -m notes` starts the application."""

import asyncio
import sys

from .main import main

sys.exit(asyncio.run(main()))
