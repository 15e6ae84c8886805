"""What an expression stands for: names are followed through imports, classes and calls."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Sequence

from . import django_types as of_django
from .classes import ClassLookup, known, model_instance, of_rows
from .libraries import (
    BINDS,
    CELERY,
    DECORATORS,
    HUEY,
    KNOWN,
    MOVED,
    TASK_CALLS,
    TASK_CLASS,
    TASK_SIGNATURES,
    library_of,
)
from .nodes import decorator_of, is_true, keyword, returns_of
from .project import Project
from .scopes import (
    Binding,
    DefinitionBinding,
    FunctionNode,
    ImportBinding,
    ParameterBinding,
    Scope,
    ValueBinding,
)
from .sources import SourceFile
from .values import (
    ClassRef,
    Foreign,
    FunctionRef,
    InstanceRef,
    LambdaRef,
    MethodRef,
    ModuleRef,
    PackageRef,
    ResultRef,
    RowsRef,
    SignatureRef,
    TaskRef,
    Value,
)

# What so many steps do not say is not known: code whose names depend on each other in circles.
MOST_STEPS = 2000
BUILTINS = frozenset(dir(builtins))
PARTIALS = frozenset({"functools.partial", "functools.partialmethod"})
IMPORTS = frozenset({
    "django.utils.module_loading.import_string", "importlib.import_module",
})  # fmt: skip
# Methods of a call for later that give it back, and of a task that give a result.
SAME_SIGNATURE = frozenset({"clone", "error", "on_error", "set", "then"})
GIVE_RESULT = frozenset({"AsyncResult", "apply", "get_result"})
COLLECTIONS = frozenset({"builtins.list", "builtins.sorted", "builtins.tuple"})
WITH_APP = frozenset({"on_after_configure", "on_after_finalize"})
HAS_INSTANCE = "instance"


class Resolver(ClassLookup):
    """Gives the value of an expression in its scope; None where the text does not say it.

    The order of statements is not followed: a name that is set twice is the first that is known.
    """

    def __init__(self, project: Project) -> None:
        super().__init__(project)
        self._values: dict[int, Value | None] = {}
        self._open: set[int] = set()
        self._bound: dict[int, Value] = {}
        self._cuts = self._steps = 0
        # By the id of a function: the parameter whose value it enqueues, and whether it locks
        # or enqueues.
        self.forwarded: dict[int, str] = {}
        self.locking: dict[int, bool] = {}
        self.enqueuing: dict[int, bool] = {}
        self._by_type: dict[type, Callable[..., Value | None]] = {
            ast.Name: self._name,
            ast.Attribute: self._attribute,
            ast.Call: self._call,
            ast.Subscript: self._item,
            ast.Lambda: lambda node, scope: LambdaRef(node),
            ast.Await: lambda node, scope: self.value(node.value, scope),
            ast.NamedExpr: lambda node, scope: self.value(node.value, scope),
            ast.BoolOp: lambda node, scope: self._first(node.values, scope),
            ast.IfExp: lambda node, scope: self._first([node.body, node.orelse], scope),
            ast.BinOp: self._operation,
            ast.ListComp: self._comprehension,
        }

    def value(self, node: ast.expr, scope: Scope) -> Value | None:
        """What the expression stands for."""
        key, find = id(node), self._by_type.get(type(node))
        if find is None or self._is_open(key):
            return None
        if key in self._values:
            return self._values[key]
        if not self._open:
            self._steps = 0
        self._steps += 1
        if self._steps > MOST_STEPS:
            self._cuts += 1
            return None
        cuts = self._cuts
        self._open.add(key)
        try:
            value = find(node, scope)
        finally:
            self._open.discard(key)
        # What is not known because a circle was cut may be known when asked from elsewhere.
        if value is not None or cuts == self._cuts or not self._open:
            self._values[key] = value
        return value

    def _is_open(self, key: int) -> bool:
        """Whether this is being looked up already, so that it would go on in a circle."""
        is_open = key in self._open
        self._cuts += is_open
        return is_open

    # Names

    def _name(self, node: ast.Name, scope: Scope) -> Value | None:
        bindings = scope.lookup(node.id)
        if bindings:
            return self.bound(bindings, scope.source)
        for star in scope.module.stars:
            module = self._imported(star.module, star.level, scope.source)
            if isinstance(module, ModuleRef):
                value = self.member(module.source, node.id)
                if value is not None:
                    return value
        return Foreign(f"builtins.{node.id}") if node.id in BUILTINS else None

    def bound(self, bindings: list[Binding], source: SourceFile) -> Value | None:
        key = id(bindings)
        if key in self._bound or self._is_open(key):
            # `rows = rows.filter()`: the name of itself says nothing.
            return self._bound.get(key)
        self._open.add(key)
        try:
            values = (self.binding(binding, source) for binding in bindings)
            value = next((value for value in values if value is not None), None)
        finally:
            self._open.discard(key)
        if value is not None:
            self._bound[key] = value
        return value

    def binding(self, binding: Binding, source: SourceFile) -> Value | None:
        """What a name stands for that is bound so in this file."""
        if isinstance(binding, ImportBinding):
            return self._import(binding, source)
        if isinstance(binding, DefinitionBinding):
            return self.definition(binding.node, binding.scope)
        if isinstance(binding, ValueBinding):
            return self._assigned(binding)
        if isinstance(binding, ParameterBinding):
            return self._parameter(binding)
        return Foreign("builtins.Exception()")

    def _import(self, binding: ImportBinding, source: SourceFile) -> Value | None:
        module = self._imported(binding.module, binding.level, source)
        if not binding.name or module is None:
            return module
        return self.attribute(module, binding.name)

    def _imported(self, name: str, level: int, source: SourceFile) -> Value | None:
        if level:
            parts = self.project.relative(source, level, name)
            if parts is None:
                return None
            return self._module(parts, source)
        names = tuple(name.split("."))
        own = self._module(names, source)
        if own is not None:
            return own
        is_own = self.project.find(names[:1], source) or self.project.has_directory(names[:1])
        return None if is_own else known(name)

    def _module(self, names: tuple[str, ...], source: SourceFile) -> Value | None:
        """The module or the directory of the project that has this name."""
        target = self.project.find(names, source)
        if target is not None:
            return ModuleRef(target)
        return PackageRef(names, source) if self.project.has_directory(names) else None

    def member(self, source: SourceFile, name: str) -> Value | None:
        """What a module of the project has under this name: a name in it, or a module below."""
        key = hash((id(source), name))
        if self._is_open(key):
            return None
        self._open.add(key)
        try:
            scope = self.project.scope(source)
            if name in scope.names:
                return self.bound(scope.names[name], source)
            below = self._module((*source.package, name), source) if source.is_package else None
            if below is not None:
                return below
            for star in scope.stars:
                module = self._imported(star.module, star.level, source)
                if isinstance(module, ModuleRef):
                    value = self.member(module.source, name)
                    if value is not None:
                        return value
            return None
        finally:
            self._open.discard(key)

    def by_path(self, names: Sequence[str], near: SourceFile) -> Value | None:
        """What a dotted path names, seen from a file: a module, or what is in it."""
        for length in range(len(names), 0, -1):
            module = self.project.find(tuple(names[:length]), near)
            if module is not None:
                value: Value | None = ModuleRef(module)
                for name in names[length:]:
                    value = None if value is None else self.attribute(value, name)
                return value
        return known(".".join(names)) if names[0] in KNOWN else None

    def _assigned(self, binding: ValueBinding) -> Value | None:
        node, place = binding.node, binding.place
        if binding.is_element:
            return None if place is not None else self.element(node, binding.scope)
        if place is None:
            return self.value(node, binding.scope)
        if isinstance(node, ast.Tuple | ast.List):
            plain = not any(isinstance(part, ast.Starred) for part in node.elts)
            if plain and place < len(node.elts):
                return self.value(node.elts[place], binding.scope)
        elif isinstance(node, ast.Call) and place == 0:
            method = self.value(node.func, binding.scope)
            if not isinstance(method, MethodRef) or method.name not in of_django.GIVE_PAIR:
                return None
            if isinstance(method.owner, RowsRef):
                return model_instance(method.owner.model)
        return None

    def element(self, node: ast.expr, scope: Scope) -> Value | None:
        """What a loop over this expression gives."""
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return self._first(node.elts, scope)
        value = self.value(node, scope)
        if isinstance(value, RowsRef) and not value.has_values:
            return model_instance(value.model)
        return None

    def _first(self, nodes: list[ast.expr], scope: Scope) -> Value | None:
        values = (self.value(node, scope) for node in nodes)
        return next((value for value in values if value is not None), None)

    # Definitions and parameters

    def definition(self, node: FunctionNode | ast.ClassDef, scope: Scope) -> Value:
        """The class, function or task that is defined so in this scope."""
        label = f"{self._prefix(scope)}.{node.name}"
        if isinstance(node, ast.ClassDef):
            return ClassRef(scope.source, node, label)
        owner = scope.node if isinstance(scope.node, ast.ClassDef) else None
        depth, around = 0, scope
        while around.parent is not None:
            depth += around.kind == "function"
            around = around.parent
        function = FunctionRef(scope.source, node, label, owner, depth)
        for decorator in node.decorator_list:
            library = DECORATORS.get(self.decorator_path(decorator, scope))
            if library is not None:
                return TaskRef(library, label, function)
        return function

    def _prefix(self, scope: Scope) -> str:
        names: list[str] = []
        around: Scope | None = scope
        while around is not None:
            if isinstance(around.node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                names.append(around.node.name)
            around = around.parent
        return ".".join([self.project.label(scope.source), *reversed(names)])

    def decorator_path(self, node: ast.expr, scope: Scope) -> str:
        """The path of a library's decorator, also behind a call or a function of the project."""
        candidates = [self.value(node, scope)]
        if isinstance(node, ast.Call):
            candidates.append(self.value(node.func, scope))
        for value in candidates:
            found = self.returned(value) if isinstance(value, FunctionRef) else value
            if isinstance(found, Foreign):
                path = found.path.removesuffix("()")
                if path in DECORATORS:
                    return path
        last = candidates[-1]
        return last.path if isinstance(last, Foreign) else ""

    def _parameter(self, binding: ParameterBinding) -> Value | None:
        function, argument = binding.function, binding.argument
        outer = binding.scope.parent
        if isinstance(function, ast.Lambda) or outer is None:
            return None
        if argument.annotation is not None:
            if argument not in (function.args.vararg, function.args.kwarg):
                return self.annotated(argument.annotation, outer)
            return None
        if binding.place == 0:
            first = self._first_parameter(function, outer)
            if first is not None:
                return first
        if argument.arg == HAS_INSTANCE:
            return self._sender(function, outer)
        return None

    def _first_parameter(self, function: FunctionNode, outer: Scope) -> Value | None:
        paths = [self.path(decorator_of(node), outer) for node in function.decorator_list]
        if isinstance(outer.node, ast.ClassDef):
            if "builtins.staticmethod" in paths:
                return None
            around = outer.parent
            cls = self.definition(outer.node, around) if around is not None else None
            if not isinstance(cls, ClassRef):
                return None
            return cls if "builtins.classmethod" in paths else InstanceRef(cls)
        for node in function.decorator_list:
            path = self.decorator_path(node, outer)
            if path in BINDS and isinstance(node, ast.Call) and is_true(keyword(node, "bind")):
                value = self.definition(function, outer)
                return value if isinstance(value, TaskRef) else None
            if path.startswith("celery.Celery().") and path.split(".")[2] in WITH_APP:
                return Foreign("celery.Celery()")
        return None

    def _sender(self, function: FunctionNode, outer: Scope) -> Value | None:
        for node in function.decorator_list:
            sender = keyword(node, "sender") if isinstance(node, ast.Call) else None
            if sender is not None:
                value = self.value(sender, outer)
                if isinstance(value, ClassRef) and self.is_model(value):
                    return InstanceRef(value)
        return None

    # Attributes

    def _attribute(self, node: ast.Attribute, scope: Scope) -> Value | None:
        owner = self.value(node.value, scope)
        return None if owner is None else self.attribute(owner, node.attr)

    def attribute(self, owner: Value, name: str) -> Value | None:
        """The attribute of this name."""
        value: Value | None = None
        if isinstance(owner, Foreign):
            is_manager = owner.path in of_django.MODELS and name in of_django.MANAGERS
            value = RowsRef(owner) if is_manager else known(f"{owner.path}.{name}")
        elif isinstance(owner, ModuleRef):
            value = self.member(owner.source, name)
        elif isinstance(owner, PackageRef):
            value = self._module((*owner.parts, name), owner.near)
        elif isinstance(owner, ClassRef):
            value = self.class_attribute(owner, name, is_instance=False)
        elif isinstance(owner, InstanceRef):
            value = self.class_attribute(owner.cls, name, True, owner.is_super)
        elif isinstance(owner, TaskRef) and owner.library == MOVED:
            value = Foreign(f"{MOVED}.task().{name}")
        elif isinstance(owner, TaskRef) and owner.library == CELERY and name == "app":
            value = Foreign("celery.Celery()")
        elif isinstance(owner, TaskRef | SignatureRef | ResultRef | RowsRef):
            value = MethodRef(owner, name)
        return value

    # Calls and operators

    def _call(self, node: ast.Call, scope: Scope) -> Value | None:
        called = self.value(node.func, scope)
        value: Value | None = None
        if isinstance(called, Foreign):
            value = self._foreign_call(called.path, node, scope)
        elif isinstance(called, ClassRef):
            is_task = self.has_base(called, TASK_CLASS)
            value = TaskRef(CELERY, called.label) if is_task else InstanceRef(called)
        elif isinstance(called, FunctionRef):
            value = self.returned(called)
        elif isinstance(called, MethodRef):
            value = self._method_call(called)
        elif isinstance(called, SignatureRef) or (
            isinstance(called, TaskRef) and called.library == HUEY
        ):
            value = ResultRef(called.library, called.label)
        return value

    def _foreign_call(self, path: str, node: ast.Call, scope: Scope) -> Value | None:
        if path == "builtins.super":
            return self.super_of(scope)
        first = node.args[0] if node.args else None
        argument = self.value(first, scope) if first is not None else None
        value: Value | None = known(f"{path}()")
        if first is None:
            return value
        if path.removesuffix("()") in DECORATORS and isinstance(argument, FunctionRef):
            value = TaskRef(DECORATORS[path.removesuffix("()")], argument.label, argument)
        elif path in PARTIALS:
            value = argument
        elif path in IMPORTS and isinstance(first, ast.Constant):
            value = self.by_path(str(first.value).split("."), scope.source)
        elif path == "builtins.getattr":
            name = node.args[1] if len(node.args) > 1 else None
            value = None
            if isinstance(name, ast.Constant) and argument is not None:
                value = self.attribute(argument, str(name.value))
        elif path == "celery.Celery().register_task":
            value = argument if isinstance(argument, TaskRef) else TaskRef(CELERY, "")
        elif path == "typing.cast":
            value = self.annotated(first, scope)
        elif path == "django.shortcuts.get_object_or_404":
            model = argument.model if isinstance(argument, RowsRef) else argument
            value = model_instance(model) if isinstance(model, ClassRef | Foreign) else None
        elif path in COLLECTIONS and isinstance(argument, RowsRef):
            value = RowsRef(argument.model, is_list=True, has_values=argument.has_values)
        return value

    def _method_call(self, method: MethodRef) -> Value | None:
        owner, name = method.owner, method.name
        value: Value | None = None
        if isinstance(owner, RowsRef):
            value = of_rows(owner, name)
        elif isinstance(owner, SignatureRef):
            value = owner if name in SAME_SIGNATURE else ResultRef(owner.library, owner.label)
        elif isinstance(owner, TaskRef):
            if name in TASK_CALLS.get(owner.library, ()) or name in GIVE_RESULT:
                value = ResultRef(owner.library, owner.label)
            elif name in TASK_SIGNATURES.get(owner.library, ()):
                value = SignatureRef(owner.library, owner.label)
            elif name == "using":
                value = owner
        return value

    def returned(self, function: FunctionRef) -> Value | None:
        """What a function of the project returns: by its annotation, or by its statements."""
        node = function.node
        scope = self.project.scope_within(node)
        if node.returns is not None and scope.parent is not None:
            return self.annotated(node.returns, scope.parent)
        if self._is_open(id(node)):
            return None
        self._open.add(id(node))
        try:
            return self._first(list(returns_of(node)), scope)
        finally:
            self._open.discard(id(node))

    def _item(self, node: ast.Subscript, scope: Scope) -> Value | None:
        owner = self.value(node.value, scope)
        if isinstance(owner, Foreign):
            return known(f"{owner.path}[]")
        if isinstance(owner, RowsRef):
            if isinstance(node.slice, ast.Slice):
                return owner
            return None if owner.has_values else model_instance(owner.model)
        return None

    def _operation(self, node: ast.BinOp, scope: Scope) -> Value | None:
        left, right = self.value(node.left, scope), self.value(node.right, scope)
        if isinstance(left, SignatureRef) or isinstance(right, SignatureRef):
            return left if isinstance(left, SignatureRef) else right
        dates = {"datetime.datetime()", "datetime.date()"}
        sides = [side for side in (left, right) if isinstance(side, Foreign)]
        if isinstance(node.op, ast.Sub) and [side.path in dates for side in sides] == [True, True]:
            return Foreign("datetime.timedelta()")
        for side in sides:
            if library_of(side.path) == MOVED:
                return side
        for side in sorted(sides, key=lambda side: side.path not in dates):
            if side.path in of_django.NO_JSON:
                return side
        return None

    def _comprehension(self, node: ast.ListComp, scope: Scope) -> Value | None:
        inside = scope.inner.get(id(node))
        value = self.value(node.elt, inside) if inside else None
        if isinstance(value, InstanceRef) and self.is_model(value.cls):
            return RowsRef(value.cls, is_list=True)
        return None
