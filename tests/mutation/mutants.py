"""Small faults to plant in a source file, found in its syntax tree: what a test suite worth its name must notice."""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
NAMES = {
    "min": "max",
    "max": "min",
    "amin": "amax",
    "amax": "amin",
    "any": "all",
    "all": "any",
    "zeros": "ones",
    "ones": "zeros",
    "zeros_like": "ones_like",
    "ones_like": "zeros_like",
    "sum": "mean",
    "exp": "log",
    "expm1": "exp",
}
"""Functions and methods, each called in place of the other."""
REMOVED = ("clamp", "clamp_", "clamp_min", "clamp_min_", "clamp_max", "clamp_max_", "abs", "masked_fill", "keep")
"""Methods whose call is replaced by what it is called on."""

MEMORY_ONLY = (
    "_DRAWS_AT_ONCE",
    "CHUNK_ELEMENTS",
    "ROW_ELEMENTS",
    "HEAD_ELEMENTS",
    "SET_ELEMENTS",
    "TAIL_ELEMENTS",
    "_SLOTS",
    "BLOCK",
    "_SORTED",
    "_SAMPLE",
)
"""Constants that say how much is done at once: results are the same with any."""
NO_EFFECT_KEYWORDS = ("strict", "copy", "stable")
"""Arguments that change nothing where the code is right, or nothing but speed."""


@dataclass(frozen=True)
class Mutant:
    """One fault: `source[start:end]` (bytes) becomes `text`."""

    path: str
    line: int
    start: int
    end: int
    original: str
    text: str

    @property
    def name(self) -> str:
        """Where it is and what it does, on one line."""
        before, after = (" ".join(part.split()) for part in (self.original, self.text))
        return f"{self.path}:{self.line}: {_short(before)} → {_short(after)}"

    def planted_in(self, source: bytes) -> bytes:
        """The file with the fault."""
        return source[: self.start] + self.text.encode() + source[self.end :]


def mutants(path: str, source: bytes) -> list[Mutant]:
    """All faults of a file, in order; documentation, annotations, messages and decorators are left alone."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def mutant(node: ast.stmt | ast.expr, text: str) -> Mutant:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        return Mutant(path, node.lineno, start, end, source[start:end].decode(), text)

    found = [mutant(node, text) for node, text in _faults(ast.parse(source))]
    return sorted(dict.fromkeys(found), key=lambda item: (item.start, item.end, item.text))


def _faults(node: ast.AST) -> Iterator[tuple[ast.stmt | ast.expr, str]]:
    if isinstance(node, ast.JoinedStr | ast.Assert | ast.Import | ast.ImportFrom):
        return
    if isinstance(node, ast.keyword) and node.arg in NO_EFFECT_KEYWORDS:
        return
    if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id in MEMORY_ONLY for t in node.targets):
        return
    if isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        yield node, "pass"
    if isinstance(node, ast.Raise):
        return
    if isinstance(node, ast.expr):
        yield from ((node, f"({ast.unparse(fault)})") for fault in _expression_faults(node))
    elif isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
        fault = copy.copy(node)
        fault.op = ARITHMETIC[type(node.op)]()
        yield node, ast.unparse(fault)
    elif isinstance(node, ast.If | ast.While):
        yield node.test, f"(not ({ast.unparse(node.test)}))"
    for child in _children(node):
        yield from _faults(child)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """Whatever runs and is not about types."""
    if isinstance(node, ast.FunctionDef):
        yield from (default for default in [*node.args.defaults, *node.args.kw_defaults] if default is not None)
        yield from node.body
    elif isinstance(node, ast.ClassDef):
        yield from node.body
    elif isinstance(node, ast.AnnAssign):
        if node.value is not None:
            yield node.value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("isinstance", "cast"):
        yield node.args[0 if node.func.id == "isinstance" else 1]
    elif isinstance(node, ast.Module):
        yield from (child for child in node.body if not _names_a_type(child))
    else:
        yield from ast.iter_child_nodes(node)


def _names_a_type(node: ast.stmt) -> bool:
    """Whether a statement gives a union of types a name, `Key = int | str`."""
    unions = (isinstance(part, ast.BitOr) for part in ast.walk(node))
    return isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp | ast.Subscript) and any(unions)


def _expression_faults(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            fault = copy.copy(node)
            fault.ops = [*node.ops[:i], COMPARISONS[type(operator)](), *node.ops[i + 1 :]]
            yield fault
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        yield ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp) and not isinstance(node.operand, ast.Constant):  # -1 and 1 are often one axis
        yield node.operand
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(node.test, node.orelse, node.body)
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield ast.Constant(not node.value)
        elif isinstance(node.value, int):
            yield ast.Constant(node.value + 1)
        elif isinstance(node.value, float):
            yield ast.Constant(2 * node.value if node.value else 1.0)
    elif isinstance(node, ast.Call):
        yield from _call_faults(node)


def _call_faults(node: ast.Call) -> Iterator[ast.expr]:
    function = node.func
    if isinstance(function, ast.Attribute):
        if function.attr in REMOVED:
            yield function.value
        if function.attr in NAMES:
            yield ast.Call(ast.Attribute(function.value, NAMES[function.attr]), node.args, node.keywords)
    elif isinstance(function, ast.Name) and function.id in NAMES:
        yield ast.Call(ast.Name(NAMES[function.id]), node.args, node.keywords)


def _short(text: str, width: int = 70) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
