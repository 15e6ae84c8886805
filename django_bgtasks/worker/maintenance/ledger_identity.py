"""Maintenance task: the ledger goes in Redis by a name that is nobody else's."""

from __future__ import annotations

from ...ledger import identity, workers
from ...transport.connection import connection, uses_redis
from ...transport.messages import namespace_of
from ...transport.neighbours import strangers


class Identity:
    """Gives a copied database a new id, and one whose id another database uses too.

    A copy of a whole server cannot be told from its original by looking at it, but by its workers:
    they go by this ledger's name, and this ledger has never heard of them.
    """

    def __init__(self, backend: str, using: str) -> None:
        self.backend, self.using = backend, using
        self._strangers: set[str] = set()

    def run_once(self) -> None:
        """Look where the database is, and who else goes by its name."""
        before = namespace_of(self.backend, self.using)
        identity.look(self.using)
        if not uses_redis(self.backend):
            return
        if before == namespace_of(self.backend, self.using) and self._is_shared():
            row = identity.identity_of(self.using)
            # Another worker of this ledger may have been faster.
            if row.uuid == identity.ledger_id(self.using):
                identity.rename(row, "Workers of another database go by the same name", self.using)
            identity.reread(self.using)
        if before != namespace_of(self.backend, self.using):
            # A site that still uses the old name asks again once nobody is heard of there.
            connection(self.backend).delete(before.marker_key)

    def _is_shared(self) -> bool:
        """Whether the same strangers were there twice. Raises RedisError."""
        namespace, ids = namespace_of(self.backend, self.using), workers.ids(self.using)
        known = [worker.hex[-8:] for worker in ids]
        before = self._strangers
        self._strangers = strangers(namespace, known, connection(self.backend))
        return bool(before & self._strangers)
