"""What the audit can find, what to do about it, and where docs/moving.md says more."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

PAGE = "docs/moving.md"


class FindingKind(Enum):
    """The groups of findings, in the order in which they are printed."""

    DEFINITION = "definition"
    OPTION = "option"
    REFUSAL = "refusal"
    CALL = "call"
    ARGUMENT = "argument"
    FUNCTION = "function"
    BOUND = "bound"
    COMMIT = "commit"
    LOCK = "lock"
    SCHEDULE = "schedule"
    HOOK = "hook"
    RESULT = "result"
    SETTING = "setting"
    TEST = "test"


TITLES = {
    FindingKind.DEFINITION: "Definitions of tasks",
    FindingKind.OPTION: "Options that need a thought",
    FindingKind.REFUSAL: "What the moved import refuses",
    FindingKind.CALL: "Calls",
    FindingKind.ARGUMENT: "Arguments that are not JSON",
    FindingKind.FUNCTION: "Functions that are no tasks",
    FindingKind.BOUND: "What tasks do with themselves",
    FindingKind.COMMIT: "Commit wrappers",
    FindingKind.LOCK: "Locks by hand",
    FindingKind.SCHEDULE: "Schedules",
    FindingKind.HOOK: "Signals, hooks and base classes",
    FindingKind.RESULT: "Results and control",
    FindingKind.SETTING: "Settings",
    FindingKind.TEST: "Tests",
}


@dataclass(frozen=True, slots=True)
class FindingRule:
    """What one kind of finding means. section: the anchor in the page; advice: one sentence."""

    kind: FindingKind
    section: str
    advice: str


class FindingCode(Enum):
    """What was found. Its value is the code in the JSON."""

    TASK_FUNCTION = "task-function"
    TASK_CLASS = "task-class"
    TASK_DJANGO = "task-django"
    APP = "app"
    OPTION_RETRY = "option-retry"
    OPTION_TIME = "option-time"
    OPTION_RATE = "option-rate"
    OPTION_QUEUE = "option-queue"
    OPTION_RESULT = "option-result"
    OPTION_BASE = "option-base"
    OPTION_NAME = "option-name"
    OPTION_LINK = "option-link"
    OPTION_HEADERS = "option-headers"
    OPTION_OTHER = "option-other"
    OPTION_REFUSED = "option-refused"
    SCHEDULE_REFUSED = "schedule-refused"
    NO_EQUAL = "no-equal"
    CALL = "call"
    CALL_REFERENCE = "call-reference"
    CALL_INLINE = "call-inline"
    CALL_STEP = "call-step"
    CALL_CANVAS = "call-canvas"
    CALL_NAME = "call-name"
    CALL_FUNCTION = "call-function"
    CALL_WRAPPER = "call-wrapper"
    CALL_DJANGO = "call-django"
    ARGUMENT_MODEL = "argument-model"
    ARGUMENT_TYPE = "argument-type"
    ARGUMENT_QUERYSET = "argument-queryset"
    ARGUMENT_REQUEST = "argument-request"
    ARGUMENT_CALLABLE = "argument-callable"
    ARGUMENT_OBJECT = "argument-object"
    FUNCTION_PLAIN = "function-plain"
    FUNCTION_PATH = "function-path"
    FUNCTION_METHOD = "function-method"
    FUNCTION_NESTED = "function-nested"
    FUNCTION_LAMBDA = "function-lambda"
    FUNCTION_UNKNOWN = "function-unknown"
    BOUND_RETRY = "bound-retry"
    BOUND_REQUEST = "bound-request"
    BOUND_STATE = "bound-state"
    BOUND_OTHER = "bound-other"
    COMMIT_WRAPPER = "commit-wrapper"
    COMMIT_METHOD = "commit-method"
    LOCK_CACHE = "lock-cache"
    LOCK_REDIS = "lock-redis"
    LOCK_LIBRARY = "lock-library"
    LOCK_WRAPPER = "lock-wrapper"
    LOCK_ROW = "lock-row"
    SCHEDULE_SETTING = "schedule-setting"
    SCHEDULE_CODE = "schedule-code"
    SCHEDULE_TABLE = "schedule-table"
    SIGNAL = "signal"
    HOOK = "hook"
    BASE_CLASS = "base-class"
    MIDDLEWARE = "middleware"
    WORKER_CLASS = "worker-class"
    RESULT_READ = "result-read"
    RESULT_WAIT = "result-wait"
    RESULT_LOOKUP = "result-lookup"
    RESULT_REVOKE = "result-revoke"
    CONTROL = "control"
    SETTING = "setting"
    SETTING_ROUTES = "setting-routes"
    TEST_EAGER = "test-eager"
    TEST_MOCK = "test-mock"
    TEST_MOCK_PATH = "test-mock-path"

    @property
    def rule(self) -> FindingRule:
        """What it means."""
        return RULES[self]


_D, _O, _C = FindingKind.DEFINITION, FindingKind.OPTION, FindingKind.CALL
_A, _F, _B = FindingKind.ARGUMENT, FindingKind.FUNCTION, FindingKind.BOUND
_W, _L, _S = FindingKind.COMMIT, FindingKind.LOCK, FindingKind.SCHEDULE
_H, _R, _T = FindingKind.HOOK, FindingKind.RESULT, FindingKind.TEST
_X, _E = FindingKind.SETTING, FindingKind.REFUSAL
RULES = {
    FindingCode.TASK_FUNCTION: FindingRule(_D, "tasks", "Change the import, or write @task."),
    FindingCode.TASK_CLASS: FindingRule(
        _D, "class-based-tasks", "Works when moved, or becomes a function with @task."
    ),
    FindingCode.TASK_DJANGO: FindingRule(_D, "django-tasks", "Stays: change the backend in TASKS."),
    FindingCode.APP: FindingRule(_D, "the-app", "Works when moved; here it is not needed."),
    FindingCode.OPTION_RETRY: FindingRule(
        _O, "retries", "Works when moved, or becomes retry=Retry(…)."
    ),
    FindingCode.OPTION_TIME: FindingRule(
        _O, "time-limits-and-expiry", "Works when moved, or becomes timeout, expires or run_after."
    ),
    FindingCode.OPTION_RATE: FindingRule(
        _O, "locks-and-limits", "Works when moved, for all workers; or rate=Rate(…)."
    ),
    FindingCode.OPTION_QUEUE: FindingRule(
        _O, "queues-and-routes", "Works when moved, or becomes queue_name or priority."
    ),
    FindingCode.OPTION_RESULT: FindingRule(_O, "results", "Results are rows: read what changes."),
    FindingCode.OPTION_BASE: FindingRule(
        _O, "hooks-and-signals", "Works when moved, or becomes middleware."
    ),
    FindingCode.OPTION_NAME: FindingRule(
        _O, "tasks", "Works when moved; here a task has its path, and aliases."
    ),
    FindingCode.OPTION_LINK: FindingRule(
        _O, "workflows", "Works when moved, or becomes a chain or a callback."
    ),
    FindingCode.OPTION_HEADERS: FindingRule(
        _O, "headers", "Works when moved, or becomes a carried context."
    ),
    FindingCode.OPTION_OTHER: FindingRule(_O, "options", "Look it up: it may mean nothing here."),
    FindingCode.OPTION_REFUSED: FindingRule(
        _E, "options", "Refused when moved: write what stands for it."
    ),
    FindingCode.SCHEDULE_REFUSED: FindingRule(
        _E, "schedules", "Refused when moved: becomes a schedule with when=."
    ),
    FindingCode.NO_EQUAL: FindingRule(
        _E, "what-has-no-equal-here", "Is not there when moved: see what to write instead."
    ),
    FindingCode.CALL: FindingRule(
        _C, "calls", "Works with the moved import, or becomes enqueue()."
    ),
    FindingCode.CALL_REFERENCE: FindingRule(
        _C, "calls", "The method is given on: it works when moved."
    ),
    FindingCode.CALL_INLINE: FindingRule(_C, "calls", "Runs in place: call the function."),
    FindingCode.CALL_STEP: FindingRule(_C, "workflows", "Works when moved, or becomes step()."),
    FindingCode.CALL_CANVAS: FindingRule(
        _C, "workflows", "Works when moved, or becomes a workflow."
    ),
    FindingCode.CALL_NAME: FindingRule(_C, "calls-by-name", "Import the task and call it."),
    FindingCode.CALL_FUNCTION: FindingRule(
        _C, "calls-of-functions", "Works with the moved import."
    ),
    FindingCode.CALL_WRAPPER: FindingRule(
        _C, "calls-of-functions", "Enqueues through a function of yours."
    ),
    FindingCode.CALL_DJANGO: FindingRule(_C, "django-tasks", "Stays as it is."),
    FindingCode.ARGUMENT_MODEL: FindingRule(
        _A, "arguments", 'Pass its key, or say types="django".'
    ),
    FindingCode.ARGUMENT_TYPE: FindingRule(_A, "arguments", 'Needs types="django".'),
    FindingCode.ARGUMENT_QUERYSET: FindingRule(_A, "arguments", "Pass a list of keys."),
    FindingCode.ARGUMENT_REQUEST: FindingRule(_A, "arguments", "Pass what the task needs of it."),
    FindingCode.ARGUMENT_CALLABLE: FindingRule(
        _A, "arguments", "Pass a name, and look it up in the task."
    ),
    FindingCode.ARGUMENT_OBJECT: FindingRule(
        _A, "arguments", "Pass the values that it is made of."
    ),
    FindingCode.FUNCTION_PLAIN: FindingRule(
        _F, "calls-of-functions", "Works; with @task it has options."
    ),
    FindingCode.FUNCTION_PATH: FindingRule(
        _F, "calls-of-functions", "Works; an import is checked."
    ),
    FindingCode.FUNCTION_METHOD: FindingRule(
        _F, "calls-of-functions", "Works if its object can be stored; or a function of the module."
    ),
    FindingCode.FUNCTION_NESTED: FindingRule(
        _F, "calls-of-functions", "Move it to the top of the module."
    ),
    FindingCode.FUNCTION_LAMBDA: FindingRule(
        _F, "calls-of-functions", "Give it a name in the module."
    ),
    FindingCode.FUNCTION_UNKNOWN: FindingRule(_F, "calls-of-functions", "See what is called here."),
    FindingCode.BOUND_RETRY: FindingRule(_B, "retries", "Works when moved, or becomes RetryLater."),
    FindingCode.BOUND_REQUEST: FindingRule(
        _B, "bound-tasks", "Works when moved, or becomes the context of the job."
    ),
    FindingCode.BOUND_STATE: FindingRule(
        _B, "progress", "Works when moved, or becomes context.progress()."
    ),
    FindingCode.BOUND_OTHER: FindingRule(
        _B, "bound-tasks", "Look it up: most of these have no equal."
    ),
    FindingCode.COMMIT_WRAPPER: FindingRule(
        _W, "commit-wrappers", "Can be deleted: jobs commit with data."
    ),
    FindingCode.COMMIT_METHOD: FindingRule(
        _W, "commit-wrappers", "Works when moved; delay() does the same."
    ),
    FindingCode.LOCK_CACHE: FindingRule(
        _L, "locks-and-limits", "As a lock: a dedup key, limit or sequence."
    ),
    FindingCode.LOCK_REDIS: FindingRule(
        _L, "locks-and-limits", "Becomes a dedup key, limit or sequence."
    ),
    FindingCode.LOCK_LIBRARY: FindingRule(
        _L, "locks-and-limits", "Becomes a dedup key, limit or sequence."
    ),
    FindingCode.LOCK_WRAPPER: FindingRule(
        _L, "locks-and-limits", "A lock of yours: see what it is for."
    ),
    FindingCode.LOCK_ROW: FindingRule(
        _L, "locks-and-limits", "If the row is only a lock: a limit."
    ),
    FindingCode.SCHEDULE_SETTING: FindingRule(
        _S, "schedules", "Works when moved, or becomes schedule=Cron(…) or Every(…)."
    ),
    FindingCode.SCHEDULE_CODE: FindingRule(
        _S, "schedules", "Works when moved, or becomes a schedule of the task."
    ),
    FindingCode.SCHEDULE_TABLE: FindingRule(
        _S, "schedules", "Becomes set_schedule(); bgimport has the rows."
    ),
    FindingCode.SIGNAL: FindingRule(
        _H, "hooks-and-signals", "Those of a run work when moved; those of workers differ."
    ),
    FindingCode.HOOK: FindingRule(
        _H, "hooks-and-signals", "Works when moved, or becomes middleware or on_failure."
    ),
    FindingCode.BASE_CLASS: FindingRule(
        _H, "hooks-and-signals", "Works when moved, or becomes middleware."
    ),
    FindingCode.MIDDLEWARE: FindingRule(_H, "hooks-and-signals", "Becomes middleware."),
    FindingCode.WORKER_CLASS: FindingRule(
        _H, "hooks-and-signals", "Becomes a signal of the process."
    ),
    FindingCode.RESULT_READ: FindingRule(
        _R, "results", "Works when moved, or becomes get_result()."
    ),
    FindingCode.RESULT_WAIT: FindingRule(_R, "results", "Waits: do it in a test, not in a view."),
    FindingCode.RESULT_LOOKUP: FindingRule(
        _R, "results", "Works when moved, or becomes get_result()."
    ),
    FindingCode.RESULT_REVOKE: FindingRule(
        _R, "revoke", "Works when moved, or becomes cancel_job()."
    ),
    FindingCode.CONTROL: FindingRule(
        _R, "control", "Refused when moved: a command or a page here."
    ),
    FindingCode.SETTING: FindingRule(_X, "settings", "Look it up: most are not needed."),
    FindingCode.SETTING_ROUTES: FindingRule(
        _X, "queues-and-routes", "Read when moved, or becomes queue_name of the tasks."
    ),
    FindingCode.TEST_EAGER: FindingRule(_T, "tests", "Works when moved, or becomes run_jobs()."),
    FindingCode.TEST_MOCK: FindingRule(
        _T, "tests", "Works when moved, or becomes assert_enqueued()."
    ),
    FindingCode.TEST_MOCK_PATH: FindingRule(
        _T, "tests", "Patches the old package: patch the name in your own module."
    ),
}


@dataclass(frozen=True, slots=True, order=True)
class AuditFinding:
    """One place in a project.

    subject: what it is about, such as the path of a task; note: what of it, such as the option;
    is_certain: False where the text does not say what an object is; is_test: in a file of tests.
    """

    path: str
    line: int
    column: int
    name: str
    subject: str
    note: str
    is_certain: bool
    is_test: bool

    @property
    def code(self) -> FindingCode:
        """What was found."""
        return FindingCode(self.name)

    @property
    def rule(self) -> FindingRule:
        """What it means."""
        return self.code.rule

    @property
    def section(self) -> str:
        """The page and the anchor that say more."""
        return f"{PAGE}#{self.rule.section}"

    def as_dict(self) -> dict[str, Any]:
        """The finding for a program."""
        return {
            "kind": self.rule.kind.value,
            "code": self.name,
            "path": self.path,
            "line": self.line,
            "column": self.column,
            "subject": self.subject,
            "note": self.note,
            "certain": self.is_certain,
            "test": self.is_test,
            "doc": self.section,
        }
