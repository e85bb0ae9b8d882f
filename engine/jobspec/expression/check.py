"""Check of an expression before anything runs: names, arguments, and types that can never fit."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from engine.jobspec.expression import kinds, nodes
from engine.jobspec.expression.bounds import EVALUATION_STEPS, Budget, Meter
from engine.jobspec.expression.errors import ExpressionError, Reason
from engine.jobspec.expression.evaluate import ALWAYS
from engine.jobspec.expression.functions.known import FUNCTIONS, METHODS
from engine.jobspec.expression.functions.table import Function
from engine.jobspec.expression.kinds import ANY, BOOL, INT, NIL, TEXT, Type, either, list_of
from engine.jobspec.expression.mentions import guarded, mention
from engine.jobspec.expression.nodes import WHOLE_CONTEXT, Node
from engine.jobspec.expression.parse import Expression
from engine.jobspec.expression.patterns import compile_pattern
from engine.jobspec.expression.typing_rules import OPERANDS, result_of

#: Predicates that are tests.
_TESTS = frozenset(
    {"all", "any", "one", "none", "filter", "count", "find", "findIndex", "findLast", "findLastIndex"}
)
_SAME_ELEMENTS = frozenset({"filter", "sortBy", "take", "reverse", "sort", "uniq"})
_ONE_ELEMENT = frozenset({"first", "last", "find", "findLast"})


@dataclass(frozen=True, slots=True)
class Scope:
    """Names that an expression may use, with what is known of each."""

    names: Mapping[str, Type] = field(default_factory=dict)


def text_map(names: Iterable[str] | None = None, missing: str = "") -> Type:
    """Return the type of a map of texts; with `missing` only those names are in it."""
    return kinds.map_of(TEXT, dict.fromkeys(names or (), TEXT), missing)


def check(expression: Expression, scope: Scope) -> tuple[list[ExpressionError], Type]:
    """Return the problems of the expression in the order of its text, and the type of its value."""
    checker = _Checker(expression, scope)
    result = checker.type(expression.tree)
    for problem in checker.problems:
        problem.source = expression.source
    return sorted(checker.problems, key=lambda problem: problem.at or 0), result


class _Checker:
    def __init__(self, expression: Expression, scope: Scope) -> None:
        self.problems: list[ExpressionError] = []
        self._scope = scope
        self._guarded = guarded(expression.tree)
        self._variables: dict[str, Type] = {}
        self._pointers: list[tuple[Type, Type]] = []
        self._kinds: dict[type[Node], Callable[..., Type]] = {
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

    def type(self, node: Node) -> Type:
        """Return the type of a node's value, and collect the problems in it."""
        return self._kinds[type(node)](node)

    def _problem(self, reason: Reason, message: str, at: int) -> Type:
        self.problems.append(ExpressionError(reason, message, at))
        return ANY

    def _literal(self, node: nodes.Literal) -> Type:
        return kinds.type_of(node.value)

    def _name(self, node: nodes.Name) -> Type:
        known = self._variables.get(node.name) or self._scope.names.get(node.name)
        if known is not None:
            return known
        if node.name == WHOLE_CONTEXT:
            return kinds.map_of(ANY, {**dict.fromkeys(ALWAYS, text_map()), **self._scope.names})
        if node.name in ALWAYS:
            return text_map()
        if node.name in FUNCTIONS:
            return Type(frozenset({"func"}))
        names = [*self._variables, *self._scope.names, *ALWAYS]
        return self._problem(
            Reason.UNKNOWN_NAME, f"unknown name `{node.name}`{_suggestion(node.name, names)}", node.at
        )

    def _pointer(self, node: nodes.Pointer) -> Type:
        element, accumulated = self._pointers[-1]
        known = {"": element, "index": INT, "acc": accumulated}.get(node.name)
        if known is not None:
            return known
        return self._problem(Reason.TYPE, f"expected #, #index or #acc, found `#{node.name}`", node.at)

    def _list(self, node: nodes.ListOf) -> Type:
        types = [self.type(item) for item in node.items]
        # Elements of several kinds are elements of any kind, as in Tork.
        return list_of(types[0] if types and all(item.kinds == types[0].kinds for item in types) else ANY)

    def _map(self, node: nodes.MapOf) -> Type:
        for key, value in node.pairs:
            self._expect(self.type(key), TEXT, "a text as key", key.at)
            self.type(value)
        return kinds.map_of(ANY)

    def _expect(self, actual: Type, wanted: Type, words: str, at: int) -> None:
        if not actual.kinds & wanted.kinds:
            self._problem(Reason.TYPE, f"expected {words}, found {actual.words()}", at)

    # Operators

    def _unary(self, node: nodes.Unary) -> Type:
        operand = self.type(node.operand)
        if node.operator == "not":
            self._expect(operand, BOOL, "a bool after not", node.at)
            return BOOL
        signed = Type(kinds.NUMBERS | {"time.Duration"})
        self._expect(operand, signed, f"a number after {node.operator}", node.at)
        return Type(operand.kinds & signed.kinds or signed.kinds)

    def _series(self, node: nodes.Series) -> Type:
        left = self.type(node.first)
        for operation in node.operations:
            left = self._operation(operation, left, self.type(operation.right))
        return left

    def _comparison(self, node: nodes.Comparison) -> Type:
        left = self.type(node.first)
        for operation in node.operations:
            right = self.type(operation.right)
            self._operation(operation, left, right)
            left = right
        return BOOL

    def _operation(self, node: nodes.Operation, left: Type, right: Type) -> Type:
        if node.operator == "??":
            return either(Type(left.kinds - NIL.kinds or left.kinds, left.item, keys=left.keys), right)
        result = result_of(node.operator, left, right)
        if result is None:
            expected = f"{OPERANDS[node.operator]} around {node.operator}"
            if node.operator == "in":
                expected = "after in a list or a map that could have the left side"
            message = f"expected {expected}, found {left.words()} and {right.words()}"
            return self._problem(Reason.TYPE, message, node.at)
        self._constant(node)
        return result

    def _constant(self, node: nodes.Operation) -> None:
        """Look at a right side that is written out: a divisor of 0, a regular expression."""
        if not isinstance(node.right, nodes.Literal):
            return
        value = node.right.value
        if node.operator in ("/", "%") and value == 0:
            self._problem(Reason.DIVISION_BY_ZERO, "expected a divisor other than 0, found 0", node.at)
        if node.operator == "matches" and isinstance(value, str):
            try:
                compile_pattern(value, Meter(Budget(EVALUATION_STEPS)))
            except ExpressionError as exc:
                self._problem(exc.reason, exc.message, node.right.at)

    def _conditional(self, node: nodes.Conditional) -> Type:
        tested = self.type(node.test)
        self._expect(tested, BOOL, "a bool as a condition", node.test.at)
        then = tested if node.then is None else self.type(node.then)
        return either(then, self.type(node.otherwise))

    def _block(self, node: nodes.Block) -> Type:
        outer, result = self._variables, NIL
        for statement in node.statements:
            if isinstance(statement, nodes.Let):
                value = self.type(statement.value)
                if fault := self._taken(statement.name):
                    self._problem(Reason.REDECLARED, fault, statement.at)
                self._variables = {**self._variables, statement.name: value}
            else:
                result = self.type(statement)
        self._variables = outer
        return result

    def _taken(self, name: str) -> str | None:
        if name in self._variables:
            return f"expected a new name, found `{name}`, which has a value already"
        if name in self._scope.names or name in ALWAYS:
            return f"expected a new name, found `{name}`, which the context has"
        return f"expected a new name, found `{name}`, a function" if name in FUNCTIONS else None

    # Paths

    def _path(self, node: nodes.Path) -> Type:
        current = self.type(node.base)
        if isinstance(node.base, nodes.Name) and not self._is_declared(node, current):
            current = ANY
        for step in node.steps:
            if isinstance(step, nodes.Slice):
                current = self._slice(step, current)
            elif isinstance(step, nodes.Method):
                current = self._method(step, current)
            else:
                current = self._member(step, current)
        return current

    def _is_declared(self, node: nodes.Path, base: Type) -> bool:
        """Refuse a name that nothing can set, unless the expression asks for it first."""
        name, key = mention(node)
        if not base.missing or key is None or key in base.fields or (name, key) in self._guarded:
            return True
        message = base.missing.format(name=key) + _suggestion(key, base.fields)
        self._problem(Reason.UNKNOWN_NAME, message, node.steps[0].at)
        return False

    def _member(self, step: nodes.Member, base: Type) -> Type:
        key, literal = self.type(step.key), step.key
        if isinstance(literal, nodes.Literal) and literal.value in base.fields:
            return base.fields[str(literal.value)]
        maps, lists = "map" in base.kinds, "array" in base.kinds
        if not maps and not lists:
            message = f"expected a map or a list before this, found {base.words()}"
            return self._problem(Reason.TYPE, message, step.at)
        fits_map = maps and (base.keys & key.kinds or not base.kinds <= {"map"})
        if not fits_map and not (lists and key.kinds & INT.kinds):
            wanted = "a text as the key of a map" if maps else "an integer as the place in a list"
            return self._problem(Reason.TYPE, f"expected {wanted}, found {key.words()}", step.at)
        return base.element

    def _slice(self, step: nodes.Slice, base: Type) -> Type:
        sliced = Type(frozenset({"string", "array"}), base.item)
        self._expect(base, sliced, "a text or a list to slice", step.at)
        for edge in (step.start, step.end):
            if edge is not None:
                self._expect(self.type(edge), INT, "an integer in the slice", edge.at)
        return Type(base.kinds & sliced.kinds or sliced.kinds, base.item)

    def _method(self, step: nodes.Method, base: Type) -> Type:
        types = [self.type(argument) for argument in step.arguments]
        methods = [
            METHODS[kind][step.name] for kind in METHODS if kind in base.kinds and step.name in METHODS[kind]
        ]
        if methods:
            for method in methods[:1]:
                self._arguments(method, step.arguments, types, step.at)
            return methods[0].result
        if base.kinds & {"map"} and not base.element.kinds <= TEXT.kinds:
            # The map may have anything there, but no function.
            return ANY
        message = f"expected a method of {base.words()}, found `{step.name}`"
        return self._problem(Reason.TYPE, message, step.at)

    # Calls

    def _function(self, node: nodes.Call | nodes.PredicateCall) -> Function | None:
        hides = None if node.builtin else self._variables.get(node.name) or self._scope.names.get(node.name)
        if not node.builtin and node.name in ALWAYS:
            hides = hides or text_map()
        if hides is not None:
            message = f"expected a function, found {hides.words()}: the name `{node.name}` is taken"
            self._problem(Reason.TYPE, message, node.at)
            return None
        if node.name not in FUNCTIONS:
            message = f"unknown function `{node.name}`{_suggestion(node.name, FUNCTIONS)}"
            self._problem(Reason.UNKNOWN_NAME, message, node.at)
            return None
        return FUNCTIONS[node.name]

    def _call(self, node: nodes.Call) -> Type:
        function = self._function(node)
        types = [self.type(argument) for argument in node.arguments]
        if function is None:
            return ANY
        self._arguments(function, node.arguments, types, node.at)
        if node.name in _SAME_ELEMENTS and types:
            return list_of(types[0].element)
        return types[0].element if node.name in _ONE_ELEMENT and types else function.result

    def _arguments(self, function: Function, arguments: tuple[Node, ...], types: list[Type], at: int) -> None:
        if fault := function.count_fault(len(arguments)):
            self._problem(Reason.ARITY, fault, at)
            return
        for number, (argument, actual) in enumerate(zip(arguments, types, strict=True)):
            if not actual.kinds & function.parameter(number).type.kinds:
                self._problem(Reason.TYPE, function.type_fault(number, actual.words()), argument.at)

    def _predicate_call(self, node: nodes.PredicateCall) -> Type:
        function, subject = self._function(node), self.type(node.subject)
        if function is not None and "array" not in subject.kinds:
            self._problem(Reason.TYPE, function.type_fault(0, subject.words()), node.subject.at)
        if node.last is not None:
            self.type(node.last)
        result = ANY
        if node.predicate is not None:
            self._pointers.append((subject.element, ANY))
            result = self.type(node.predicate)
            self._pointers.pop()
            wanted = BOOL if node.name in _TESTS else Type(kinds.ALL - NIL.kinds)
            words = "a bool as the answer of the predicate" if node.name in _TESTS else "a value"
            self._expect(result, wanted, words, node.predicate.at)
        if node.name == "map":
            return list_of(result)
        if node.name in _SAME_ELEMENTS:
            return list_of(subject.element)
        return function.result if function is not None else ANY


def _suggestion(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name[:40], list(known)[:1000], n=1)
    return f"; did you mean `{near[0]}`?" if near else ""
