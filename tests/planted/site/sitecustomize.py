"""Plants a bug in every Python process that has this folder on its path, before anything of the product is imported."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent.parent))

from tests.planted.plants import plant_from_environment

plant_from_environment()
