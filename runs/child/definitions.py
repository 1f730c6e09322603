"""Check that a module only defines things, so that its import has the same result at any time and in any process.

Reads the source, runs nothing. Doubtful code counts as code that runs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

_CALLS = frozenset((
    "Annotated", "ConfigDict", "Counter", "Decimal", "Enum", "Field", "Fraction", "Limits", "Literal",
    "MappingProxyType", "NamedTuple", "NewType", "OrderedDict", "ParamSpec", "Path", "PurePath", "Retry", "TypeVar",
    "TypedDict", "abs", "auto", "bool", "bytes", "chr", "dict", "enumerate", "field", "float", "frozenset",
    "getLogger", "int", "len", "list", "max", "min", "namedtuple", "ord", "range", "re.compile", "round", "set",
    "sorted", "str", "sum", "timedelta", "tuple", "type", "zip",
))  # fmt: skip
"""Functions and classes, by their last name or in full, whose results depend on nothing but their arguments."""
_DECORATORS = frozenset((
    "abstractmethod", "asynccontextmanager", "cache", "cached_property", "classmethod", "computed_field",
    "contextmanager", "dataclass", "field_serializer", "field_validator", "final", "lru_cache", "model_serializer",
    "model_validator", "overload", "override", "property", "setter", "staticmethod", "total_ordering", "unique",
    "wraps",
))  # fmt: skip
"""Decorators, by their last name, that only define."""
_HOOKS = frozenset(("__init_subclass__", "__set_name__", "__prepare__", "__class_getitem__", "__mro_entries__"))
"""Methods that run while other classes are defined."""
_PURE = (
    ast.Constant, ast.Name, ast.Attribute, ast.Subscript, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.BinOp,
    ast.UnaryOp, ast.BoolOp, ast.Compare, ast.JoinedStr, ast.FormattedValue, ast.IfExp, ast.Lambda, ast.Starred,
    ast.Slice, ast.ListComp, ast.SetComp, ast.DictComp,
)  # fmt: skip
"""Expressions without effects, if their parts have none."""


def code_in(modules: Iterable[ModuleType]) -> str:
    """Return the first place where one of the modules runs code, as the end of a sentence. Empty if none does."""
    for module in modules:
        file = getattr(module, "__file__", None)
        if file is None:  # a package without a file
            continue
        if not file.endswith(".py"):
            return f"ran compiled code ({Path(file).name})"
        if (line := _first_line(Path(file))) is not None:
            return f"ran code ({Path(file).name}, line {line})"
    return ""


def _first_line(file: Path) -> int | None:
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, ValueError, SyntaxError, RecursionError):
        return 1
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    checker = _Checker(own)
    return next((node.lineno for node in tree.body if not checker.defines(node)), None)


class _Checker:
    def __init__(self, own: set[str]) -> None:
        self._calls, self._decorators = _CALLS - own, _DECORATORS - own

    def defines(self, node: ast.stmt) -> bool:
        """Return whether a statement of a module or a class only defines things."""
        match node:
            case ast.Import() | ast.ImportFrom() | ast.Pass() | ast.Expr(value=ast.Constant()):
                result = True
            case ast.Assign(targets=targets, value=value):
                result = all(map(_is_name, targets)) and self._is_pure(value)
            case ast.AnnAssign(target=target, value=optional):
                result = _is_name(target) and (optional is None or self._is_pure(optional))
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                result = self._defines_function(node)
            case ast.ClassDef():
                result = self._defines_class(node)
            case ast.If(test=test, body=body, orelse=orelse):
                result = self._is_pure(test) and all(map(self.defines, [*body, *orelse]))
            case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=finalbody):
                inner = [each for handler in handlers for each in handler.body]
                result = all(map(self.defines, [*body, *inner, *orelse, *finalbody]))
            case _:
                result = type(node).__name__ == "TypeAlias"
        return result

    def _defines_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
        defaults = [*node.args.defaults, *(each for each in node.args.kw_defaults if each is not None)]
        annotations = [each.annotation for each in _arguments(node.args) if each.annotation is not None]
        parts = [*defaults, *annotations, *([node.returns] if node.returns else [])]
        return node.name not in _HOOKS and self._decorate(node.decorator_list) and all(map(self._is_pure, parts))

    def _defines_class(self, node: ast.ClassDef) -> bool:
        parts = [*node.bases, *(each.value for each in node.keywords)]
        has_metaclass = any(each.arg == "metaclass" and _name(each.value) != "ABCMeta" for each in node.keywords)
        is_simple = not has_metaclass and self._decorate(node.decorator_list) and all(map(self._is_pure, parts))
        return is_simple and all(map(self.defines, node.body))

    def _decorate(self, decorators: list[ast.expr]) -> bool:
        for each in decorators:
            call = each.func if isinstance(each, ast.Call) else each
            arguments = [*each.args, *(one.value for one in each.keywords)] if isinstance(each, ast.Call) else []
            if _name(call) not in self._decorators or not all(map(self._is_pure, arguments)):
                return False
        return True

    def _is_pure(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Lambda):
            return all(map(self._is_pure, node.args.defaults))
        if isinstance(node, ast.Call):
            is_safe = _name(node.func) in self._calls or ast.unparse(node.func) in self._calls
            return is_safe and all(map(self._is_pure, [*node.args, *(each.value for each in node.keywords)]))
        return isinstance(node, _PURE) and all(map(self._is_pure, _expressions(node)))


def _expressions(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions directly below a node, through nodes that are none, such as comprehensions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            yield child
        else:
            yield from _expressions(child)


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    others = [each for each in (arguments.vararg, arguments.kwarg) if each is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *others]


def _is_name(target: ast.expr) -> bool:
    if isinstance(target, ast.Tuple):
        return all(map(_is_name, target.elts))
    return isinstance(target, ast.Name)


def _name(node: ast.expr) -> str:
    """Return the last name of `a.b.c`."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
