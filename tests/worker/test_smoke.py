from tests.app.tasks import add
from tests.waiting import wait_until
import time
def test_smoke(bgworker):
    r = add.enqueue(1, 2)
    t=time.monotonic()
    w = bgworker("--processes", 2)
    w.wait_for("outcome=succeeded")
    print("started", time.monotonic()-t)
    t=time.monotonic()
    assert w.stop() == 0
    print("stopped", time.monotonic()-t)
    print(w.output)
