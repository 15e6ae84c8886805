import io
import json

import redis
from django.conf import settings
from django.core.management import call_command
from django.test import TestCase

from . import tasks


def bgimport(source, *options):
    out = io.StringIO()
    call_command("bgimport", "--from", source, *options, stdout=out)
    return out.getvalue()


def read(source, *options):
    [found] = json.loads(bgimport(source, "--json", *options))
    return found


class Case(TestCase):
    def setUp(self):
        self.redis = redis.Redis.from_url(settings.REDIS_URL)
        self.redis.flushdb()
        tasks.done.clear()
