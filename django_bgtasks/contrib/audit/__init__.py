"""What a project has of other task libraries, read from its code: `manage.py bgaudit`.

Sources are parsed, and their names resolved across files. Nothing is imported or run.
"""

from .findings import AuditFinding, FindingCode, FindingKind
from .report import AuditReport, audit_project

__all__ = ["AuditFinding", "AuditReport", "FindingCode", "FindingKind", "audit_project"]
