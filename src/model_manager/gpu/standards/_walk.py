"""Follows a file's statements in the order in which they run.

A branch makes two states of one, and where paths meet, only what holds on all of them
is certain. A loop may run not at all, a handler begins wherever its block was left.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Final

from typing_extensions import override

from model_manager.gpu.standards import _environ
from model_manager.gpu.standards._calls import modules_of, note_import, visit
from model_manager.gpu.standards._follow import Follow
from model_manager.gpu.standards._nodes import children
from model_manager.gpu.standards._state import Scope, State, joined
from model_manager.gpu.standards._values import (
    UNKNOWN,
    Const,
    Function,
    Local,
    LocalClass,
    Ref,
    Row,
    Table,
    Values,
    const,
    one,
)

_STAR: Final = ("environ", "environb", "putenv", "unsetenv", "_exit")
_ONLY_TYPES: Final = frozenset(
    {"typing.TYPE_CHECKING", "typing_extensions.TYPE_CHECKING"}
)


class Walk(Follow):
    """One walk through a module."""

    def __init__(self, magic: Mapping[int, tuple[str, str | None]]) -> None:
        """Begin; `magic` are variables that a notebook sets, by line."""
        super().__init__()
        self.magic = magic
        self.guards: list[ast.If] = []
        """What runs where the file is the program."""

    @override
    def block(self, body: Sequence[ast.stmt], state: State) -> None:
        """Run statements one after the other, as far as they are reached."""
        for statement in body:
            if state.dead:
                return
            self.run(statement, state)

    def run(self, statement: ast.stmt, state: State) -> None:
        """Run one statement."""
        self.spend()
        match statement:
            case ast.If() | ast.Match():
                self._branches(statement, state)
            case ast.For() | ast.AsyncFor() | ast.While():
                self._loop(statement, state)
            case ast.Try() | ast.TryStar():
                self._try(statement, state)
            case ast.With() | ast.AsyncWith():
                self._with(statement, state)
            case _:
                self._simple(statement, state)

    def _simple(self, statement: ast.stmt, state: State) -> None:
        match statement:
            case ast.Import() | ast.ImportFrom():
                self._import(statement, state)
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                self._assignment(statement, state)
            case ast.Delete():
                for target in statement.targets:
                    _environ.delete(self, state, target=target)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._define(statement, state)
            case ast.ClassDef():
                self._class(statement, state)
            case ast.Expr():
                self._expression(statement, state)
            case _:
                self._jump(statement, state)

    def _jump(self, statement: ast.stmt, state: State) -> None:
        """Run what leaves the way, and whatever else there is."""
        for child in children(statement):
            if isinstance(child, ast.expr):
                visit(self, child, state)
        if isinstance(statement, ast.Return):
            self.frame.exits.absorb(state)
        elif isinstance(statement, ast.Break | ast.Continue) and self.frame.loops:
            self.frame.loops[-1].absorb(state)
        if isinstance(statement, ast.Return | ast.Raise | ast.Break | ast.Continue):
            state.dead = True

    def _expression(self, statement: ast.Expr, state: State) -> None:
        value = statement.value
        if isinstance(value, ast.Constant):
            # A text that stands alone is a comment, also where it names a card.
            found = self.magic.get(statement.lineno)
            if found is not None and value.value == 0:
                name, text = found
                _environ.set_by_magic(
                    self, state, name=name, value=text, node=statement
                )
            return
        visit(self, value, state)

    def _import(self, node: ast.Import | ast.ImportFrom, state: State) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                path = alias.name if alias.asname else first
                self.bind(alias.asname or first, one(Ref(path)))
        else:
            for alias in node.names:
                path = "." * node.level + f"{node.module or ''}.{alias.name}"
                self.bind(alias.asname or alias.name, one(Ref(path)))
            if node.module == "os" and node.names[0].name == "*":
                for name in _STAR:
                    self.bind(name, one(Ref(f"os.{name}")))
        for module in modules_of(node):
            note_import(self, state, module=module, node=node)

    def _assignment(
        self, node: ast.Assign | ast.AnnAssign | ast.AugAssign, state: State
    ) -> None:
        visit(self, node.value, state)
        if isinstance(node, ast.AugAssign):
            self._in_place(node, state)
        elif node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                self._target(target, node.value, state)

    def _in_place(self, node: ast.AugAssign, state: State) -> None:
        target = node.target
        if isinstance(node.op, ast.BitOr) and _environ.is_environ(self.path(target)):
            _environ.merge(self, state, value=node.value, node=node)
        elif isinstance(target, ast.Subscript):
            _environ.assign(self, state, target=target, value=None)
        elif isinstance(target, ast.Name):
            self.bind(target.id, UNKNOWN)

    def _target(self, target: ast.expr, value: ast.expr, state: State) -> None:
        """Give what stands on the left what stands on the right."""
        if isinstance(target, ast.Name):
            self.bind(target.id, self.values(value))
        elif isinstance(target, ast.Subscript):
            visit(self, target.value, state)
            _environ.assign(self, state, target=target, value=value)
        elif isinstance(target, ast.Tuple | ast.List):
            parts = value.elts if isinstance(value, ast.Tuple | ast.List) else []
            if len(parts) == len(target.elts):
                for inner, part in zip(target.elts, parts, strict=True):
                    self._target(inner, part, state)
            else:
                self._unpack(target, UNKNOWN)

    def _unpack(self, target: ast.expr, values: Values) -> None:
        """Bind the names of a loop, or of a tuple, to what is known of them."""
        if isinstance(target, ast.Name):
            self.bind(target.id, values)
        elif isinstance(target, ast.Starred):
            self._unpack(target.value, UNKNOWN)
        elif isinstance(target, ast.Tuple | ast.List):
            rows = [v for v in values if isinstance(v, Row)]
            whole = len(values) == 1 and bool(rows)
            items = rows[0].items if whole else ()
            fits = len(items) == len(target.elts)
            for place, inner in enumerate(target.elts):
                self._unpack(inner, items[place] if fits else UNKNOWN)

    def _branches(self, statement: ast.If | ast.Match, state: State) -> None:
        if isinstance(statement, ast.Match):
            visit(self, statement.subject, state)
            ends = [state.copy() for _ in statement.cases]
            with self.frame.scope.branch():
                for case, end in zip(statement.cases, ends, strict=True):
                    self.block(case.body, end)
            state.become(joined([state, *ends]))
        elif not self._guard(statement, state):
            self._if(statement, state)

    def _guard(self, statement: ast.If, state: State) -> bool:
        """Put aside what runs only where the file is the program."""
        if not self.is_at_module or not _is_main(statement.test):
            return False
        if self.phase == "module":
            self.guards.append(statement)
            self.block(statement.orelse, state)
        return True

    def _if(self, statement: ast.If, state: State) -> None:
        """Run both ways of a condition, and all of a chain of them."""
        ends: list[State] = []
        while True:
            visit(self, statement.test, state)
            truth = self._truth(statement.test)
            end = state.copy()
            end.dead = end.dead or truth is False
            with self.frame.scope.branch():
                self.block(statement.body, end)
            ends.append(end)
            state.dead = state.dead or truth is True
            rest = statement.orelse
            if len(rest) != 1 or not isinstance(rest[0], ast.If):
                break
            statement = rest[0]
        with self.frame.scope.branch():
            self.block(rest, state)
        state.become(joined([*ends, state]))

    def _truth(self, test: ast.expr) -> bool | None:
        """Return how a condition ends, where the text tells."""
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            inner = self._truth(test.operand)
            return None if inner is None else not inner
        if isinstance(test, ast.Constant):
            return bool(test.value)
        name = test.id if isinstance(test, ast.Name) else ""
        if name == "TYPE_CHECKING" or self.path(test) in _ONLY_TYPES:
            return False
        return None

    def _loop(
        self, statement: ast.For | ast.AsyncFor | ast.While, state: State
    ) -> None:
        broken = State(dead=True)
        self.frame.loops.append(broken)
        if isinstance(statement, ast.While):
            self._while(statement, state)
        else:
            self._for(statement, state)
        self.frame.loops.pop()
        self.block(statement.orelse, state)
        state.absorb(broken)

    def _while(self, statement: ast.While, state: State) -> None:
        visit(self, statement.test, state)
        endless = self._truth(statement.test) is True
        body = state if endless else state.copy()
        with self.frame.scope.branch():
            self.block(statement.body, body)
        if endless:
            state.dead = True
        else:
            state.absorb(body)

    def _for(self, statement: ast.For | ast.AsyncFor, state: State) -> None:
        visit(self, statement.iter, state)
        rounds = _rounds(self.values(statement.iter))
        if rounds:
            for values in rounds:
                self._unpack(statement.target, values)
                self.block(statement.body, state)
                # `continue` goes on with the next round.
                state.absorb(self.frame.loops[-1])
            return
        body = state.copy()
        with self.frame.scope.branch():
            self._unpack(statement.target, UNKNOWN)
            self.block(statement.body, body)
        state.absorb(body)

    def _try(self, statement: ast.Try | ast.TryStar, state: State) -> None:
        left = state.copy()
        self._block_that_may_break(statement.body, state, left=left)
        self.block(statement.orelse, state)
        ends = [left.copy() for _ in statement.handlers]
        with self.frame.scope.branch():
            for handler, end in zip(statement.handlers, ends, strict=True):
                if handler.name:
                    self.bind(handler.name, UNKNOWN)
                self.block(handler.body, end)
        state.become(joined([state, *ends]))
        if statement.finalbody and state.dead:
            # It still runs, on the way out.
            self.block(statement.finalbody, left)
        else:
            self.block(statement.finalbody, state)

    def _block_that_may_break(
        self, body: Sequence[ast.stmt], state: State, *, left: State
    ) -> None:
        """Run statements, and collect in `left` all states in which they may stop."""
        for statement in body:
            if state.dead:
                return
            self.run(statement, state)
            left.absorb(state)

    def _with(self, statement: ast.With | ast.AsyncWith, state: State) -> None:
        swallows = False
        for item in statement.items:
            visit(self, item.context_expr, state)
            path = self.path(item.context_expr) or ""
            swallows = swallows or path.startswith("contextlib.suppress")
            if item.optional_vars is not None:
                self._unpack(item.optional_vars, UNKNOWN)
        left = state.copy()
        self._block_that_may_break(statement.body, state, left=left)
        if swallows:
            state.absorb(left)

    def _define(self, node: Function, state: State) -> None:
        arguments = node.args
        for inner in (
            *node.decorator_list,
            *arguments.defaults,
            *(default for default in arguments.kw_defaults if default is not None),
        ):
            visit(self, inner, state)
        self.closures[node] = self.frame.scope
        self.bind(node.name, one(Local(node)))
        owner = self.frame.scope.owner
        if owner is not None:
            known = self.methods.setdefault(node.name, [])
            if node not in known:
                known.append(node)

    def _class(self, node: ast.ClassDef, state: State) -> None:
        for inner in (
            *node.decorator_list,
            *node.bases,
            *(keyword.value for keyword in node.keywords),
        ):
            visit(self, inner, state)
        scope = Scope(outer=self.frame.scope, owner=node)
        self.classes[node] = scope
        outer, self.frame.scope = self.frame.scope, scope
        self.block(node.body, state)
        self.frame.scope = outer
        self.bind(node.name, one(LocalClass(node)))


def _is_main(test: ast.expr) -> bool:
    """Return whether a condition is `__name__ == "__main__"`, perhaps with others."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return any(map(_is_main, test.values))
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return False
    sides = [test.left, test.comparators[0]]
    names = {side.id for side in sides if isinstance(side, ast.Name)}
    texts = {side.value for side in sides if isinstance(side, ast.Constant)}
    return (
        isinstance(test.ops[0], ast.Eq)
        and names == {"__name__"}
        and texts == {"__main__"}
    )


def _rounds(values: Values) -> list[Values]:
    """Return what a loop goes through, where that is written there."""
    if len(values) != 1:
        return []
    match next(iter(values)):
        case Row(items):
            return list(items)
        case Table(pairs, True):
            return [pair.key for pair in pairs]
        case Const(str(text)) if text:
            return [const(letter) for letter in text[:1]] if len(text) == 1 else []
        case _:
            return []
