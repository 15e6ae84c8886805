import json

from .moved_settings import *

TASKS["default"]["ROUTES"] = json.loads(os.environ["ROUTES"])
