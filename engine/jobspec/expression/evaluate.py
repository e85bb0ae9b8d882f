"""Evaluation of an expression: a walk over its tree, within a budget of steps."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import NoReturn

from engine.jobspec.expression import nodes, operators
from engine.jobspec.expression.bounds import Budget, Meter
from engine.jobspec.expression.errors import ExpressionError, Reason, fail
from engine.jobspec.expression.functions.known import FUNCTIONS, METHODS
from engine.jobspec.expression.functions.table import Function
from engine.jobspec.expression.nodes import WHOLE_CONTEXT, Node
from engine.jobspec.expression.operators import truth
from engine.jobspec.expression.parse import Expression
from engine.jobspec.expression.patterns import Patterns
from engine.jobspec.expression.printing import printed
from engine.jobspec.expression.tools import Outside, Tools
from engine.jobspec.expression.values import Value, as_key, finished, kind_of, words_for

#: Names that a context always has; their keys are texts.
ALWAYS = ("inputs", "secrets", "tasks", "job")


def evaluate(expression: Expression, context: Mapping[str, Value], outside: Outside, budget: Budget) -> Value:
    """Return the value of the expression. Raises ExpressionError, and nothing else."""
    return _run(expression, context, outside, budget, lambda value, tools: finished(value, tools.meter))


def evaluate_text(
    expression: Expression, context: Mapping[str, Value], outside: Outside, budget: Budget
) -> str:
    """Return the text that a template inserts for the expression. Raises ExpressionError, and nothing else."""
    return str(_run(expression, context, outside, budget, lambda value, tools: printed(value, tools.meter)))


def _run(
    expression: Expression,
    context: Mapping[str, Value],
    outside: Outside,
    budget: Budget,
    finish: Callable[[Value, Tools], Value],
) -> Value:
    meter = Meter(budget)
    tools = Tools(meter, Patterns(meter), outside)
    try:
        return finish(_Walk(context, tools).value(expression.tree), tools)
    except ExpressionError as exc:
        exc.at = exc.at if exc.at is not None else expression.tree.at
        exc.source = expression.source
        raise
    except Exception as exc:
        # A caller that gets any other error would try the same evaluation for ever.
        raise ExpressionError(
            Reason.DEFECT,
            f"a defect in Ferryman's evaluation ({type(exc).__name__}); please report the expression",
            expression.tree.at,
            expression.source,
        ) from exc
    finally:
        meter.settle()


class _Stop:
    """Mark of a path that ended at `?.`: the rest of the path is nil."""


_STOP = _Stop()


class _Walk:
    """Walk over one tree."""

    def __init__(self, context: Mapping[str, Value], tools: Tools) -> None:
        self._context = context
        self._tools = tools
        #: Names of `let`, innermost last; `#`, `#index` and `#acc` of the predicates around, innermost last.
        self._variables: dict[str, Value] = {}
        self._pointers: list[tuple[Value, int, Value]] = []
        self._kinds: dict[type[Node], Callable[..., Value]] = {
            nodes.Literal: self._literal,
            nodes.Name: self._name,
            nodes.Pointer: self._pointer,
            nodes.ListOf: self._list,
            nodes.MapOf: self._map,
            nodes.Unary: self._unary,
            nodes.Series: self._series,
            nodes.Comparison: self._comparison,
            nodes.Path: self._path,
            nodes.Call: self._call,
            nodes.PredicateCall: self._predicate_call,
            nodes.Conditional: self._conditional,
            nodes.Block: self._block,
        }

    def value(self, node: Node) -> Value:
        """Return the value of a node."""
        self._tools.meter.spend()
        try:
            return self._kinds[type(node)](node)
        except ExpressionError as exc:
            if exc.at is None:
                exc.at = node.at
            raise

    def _literal(self, node: nodes.Literal) -> Value:
        return node.value

    def _name(self, node: nodes.Name) -> Value:
        if node.name in self._variables:
            return self._variables[node.name]
        if node.name in self._context:
            return self._context[node.name]
        if node.name == WHOLE_CONTEXT:
            return {**{name: {} for name in ALWAYS}, **self._context}
        if node.name in ALWAYS:
            return {}
        if node.name in FUNCTIONS:
            return FUNCTIONS[node.name]
        fail(Reason.UNKNOWN_NAME, f"unknown name `{node.name}`")

    def _pointer(self, node: nodes.Pointer) -> Value:
        element, index, accumulated = self._pointers[-1]
        if node.name == "":
            return element
        if node.name == "index":
            return index
        if node.name == "acc":
            return accumulated
        fail(Reason.TYPE, f"expected #, #index or #acc, found `#{node.name}`")

    def _list(self, node: nodes.ListOf) -> Value:
        return [self.value(item) for item in node.items]

    def _map(self, node: nodes.MapOf) -> Value:
        made: dict[Hashable, Value] = {}
        for key_node, value_node in node.pairs:
            key = self.value(key_node)
            if not isinstance(key, str):
                fail(Reason.TYPE, f"expected a text as key, found {words_for(key)}", key_node.at)
            value = self.value(value_node)
            made.setdefault(key, value)
        return made

    # Operators

    def _unary(self, node: nodes.Unary) -> Value:
        operand = self.value(node.operand)
        if node.operator == "not":
            return not truth(operand, "after not")
        return operators.negative(operand) if node.operator == "-" else operators.plain(operand)

    def _series(self, node: nodes.Series) -> Value:
        left, is_first = self.value(node.first), node.first
        for operation in node.operations:
            try:
                left = self._operation(operation, left, is_first)
            except ExpressionError as exc:
                if exc.at is None:
                    exc.at = operation.at
                raise
            is_first = operation
        return left

    def _operation(self, operation: nodes.Operation, left: Value, left_node: Node) -> Value:
        operator = operation.operator
        if operator in ("and", "or"):
            return self._logic(operation, left, left_node)
        if operator == "??":
            return self.value(operation.right) if left is None else left
        result = operators.BINARY[operator](self._tools, left, self.value(operation.right))
        return not result if operation.negated else result

    def _logic(self, operation: nodes.Operation, left: Value, left_node: Node) -> Value:
        """Return what `and` or `or` yields: the right side is not looked at, as in Tork."""
        decides = operation.operator == "or"
        right = operation.right
        if isinstance(right, nodes.Literal) and isinstance(right.value, bool):
            return right.value if right.value is decides else left
        if isinstance(left_node, nodes.Literal) and isinstance(left, bool):
            return left if left is decides else self.value(right)
        if truth(left, f"before {operation.operator}") is decides:
            return decides
        return self.value(right)

    def _comparison(self, node: nodes.Comparison) -> Value:
        left = self.value(node.first)
        for operation in node.operations:
            right = self.value(operation.right)
            try:
                holds = operators.compare(operation.operator, self._tools, left, right)
            except ExpressionError as exc:
                if exc.at is None:
                    exc.at = operation.at
                raise
            if not holds:
                return False
            left = right
        return True

    def _conditional(self, node: nodes.Conditional) -> Value:
        tested = self.value(node.test)
        if truth(tested, "as a condition"):
            return tested if node.then is None else self.value(node.then)
        return self.value(node.otherwise)

    def _block(self, node: nodes.Block) -> Value:
        outer = self._variables
        result: Value = None
        for statement in node.statements:
            if isinstance(statement, nodes.Let):
                self._variables = {**self._variables, statement.name: self.value(statement.value)}
            else:
                result = self.value(statement)
        self._variables = outer
        return result

    # Paths and calls

    def _path(self, node: nodes.Path) -> Value:
        value = self.value(node.base)
        for step in node.steps:
            try:
                value = self._step(value, step)
            except ExpressionError as exc:
                if exc.at is None:
                    exc.at = step.at
                raise
            if value is _STOP:
                return None
        return value

    def _step(self, value: Value, step: nodes.Member | nodes.Slice | nodes.Method) -> Value:
        if isinstance(step, nodes.Slice):
            return self._slice(value, step)
        if value is None:
            if step.optional:
                return _STOP
            fail(Reason.NIL_ACCESS, "expected a value with elements, found nil; ?. gives nil instead")
        if isinstance(step, nodes.Method):
            return self._method(value, step)
        return element(value, self.value(step.key))

    def _slice(self, value: Value, step: nodes.Slice) -> Value:
        if not isinstance(value, str | list):
            fail(Reason.TYPE, f"expected a text or a list to slice, found {words_for(value)}")
        start, end = self._edge(step.start), self._edge(step.end)
        result = value[start:end]
        if isinstance(result, str):
            self._tools.meter.text(len(result))
        else:
            self._tools.meter.copy(len(result))
        return result

    def _edge(self, node: Node | None) -> int | None:
        return None if node is None else operators.integer(self.value(node), "an integer in the slice")

    def _method(self, value: Value, step: nodes.Method) -> Value:
        method = METHODS.get(kind_of(value), {}).get(step.name)
        arguments = [self.value(argument) for argument in step.arguments]
        if method is not None:
            return method.call(self._tools, arguments, value)
        if isinstance(value, dict):
            called = value.get(step.name)
            fail(Reason.TYPE, f"expected a function at `{step.name}`, found {words_for(called)}")
        fail(Reason.TYPE, f"expected a method of {words_for(value)}, found `{step.name}`")

    def _function(self, node: nodes.Call | nodes.PredicateCall) -> Function:
        if not node.builtin and (node.name in self._variables or node.name in self._context):
            hides = self._variables.get(node.name, self._context.get(node.name))
            fail(
                Reason.TYPE, f"expected a function, found {words_for(hides)}: the name `{node.name}` is taken"
            )
        if node.name in FUNCTIONS:
            return FUNCTIONS[node.name]
        _unknown_function(node.name)

    def _call(self, node: nodes.Call) -> Value:
        function = self._function(node)
        return function.call(self._tools, [self.value(argument) for argument in node.arguments])

    def _predicate_call(self, node: nodes.PredicateCall) -> Value:
        function = self._function(node)
        subject = self.value(node.subject)
        if not isinstance(subject, list):
            fail(Reason.TYPE, function.type_fault(0, words_for(subject)))
        arguments: list[Value] = [] if node.last is None else [self.value(node.last)]
        if node.predicate is None:
            return function.run(self._tools, subject)
        predicate = node.predicate

        def result(item: Value, index: int, accumulated: Value) -> Value:
            self._pointers.append((item, index, accumulated))
            outcome = self.value(predicate)
            self._pointers.pop()
            return outcome

        return function.run(self._tools, subject, result, *arguments)


def _unknown_function(name: str) -> NoReturn:
    if name in ALWAYS:
        fail(Reason.TYPE, f"expected a function, found a map: the name `{name}` is taken")
    fail(Reason.UNKNOWN_NAME, f"unknown function `{name}`")


def element(value: Value, key: Value) -> Value:
    """Return the element of a list or map; nil for a key that a map does not have."""
    if isinstance(value, dict):
        if isinstance(key, str):
            return value.get(key)
        if as_key(key) in value:
            return value[as_key(key)]
        if value and not all(isinstance(known, str) for known in value):
            return None
        fail(Reason.TYPE, f"expected a text as the key of a map, found {words_for(key)}")
    if isinstance(value, list):
        place = operators.integer(key, "an integer as the place in a list")
        if not -len(value) <= place < len(value):
            fail(
                Reason.RANGE,
                "expected a place within the list, found one beyond its end; get() gives nil instead",
            )
        return value[place]
    fail(Reason.TYPE, f"expected a map or a list, found {words_for(value)}; a text is sliced: [0:1]")
