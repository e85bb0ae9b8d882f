"""Parser of expressions, by operator precedence (Pratt), in the grammar of expr-lang."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

from engine.jobspec.expression import nodes
from engine.jobspec.expression.bounds import EXPRESSION_DEPTH, SOURCE_BYTES
from engine.jobspec.expression.errors import ExpressionError, Reason, fail
from engine.jobspec.expression.mentions import Mentions, mentions
from engine.jobspec.expression.nodes import Node
from engine.jobspec.expression.tokens import WORDS, Token, tokens

#: Operator -> precedence; a higher one binds tighter.
BINARY = {
    "|": 0, "or": 10, "||": 10, "and": 15, "&&": 15,
    "==": 20, "!=": 20, "<": 20, ">": 20, "<=": 20, ">=": 20,
    "in": 20, "matches": 20, "contains": 20, "startsWith": 20, "endsWith": 20,
    "..": 25, "+": 30, "-": 30, "*": 60, "/": 60, "%": 60, "**": 100, "^": 100, "??": 500,
}  # fmt: skip
UNARY = {"not": 50, "!": 50, "-": 90, "+": 90}
#: Operators that group from the right.
_FROM_THE_RIGHT = frozenset({"**", "^"})
_CHAINED = frozenset({"<", ">", "<=", ">="})
_NEGATABLE = frozenset({"in", "matches", "contains", "startsWith", "endsWith"})
_SAME = {"||": "or", "&&": "and", "^": "**", "!": "not"}
#: Function with a predicate -> (is the predicate needed, may a value follow it).
PREDICATES = {
    **dict.fromkeys(("all", "none", "any", "one", "filter", "map"), (True, False)),
    **dict.fromkeys(("find", "findIndex", "findLast", "findLastIndex", "groupBy"), (True, False)),
    **dict.fromkeys(("count", "sum"), (False, False)),
    **dict.fromkeys(("sortBy", "reduce"), (True, True)),
}
#: Expressions within one another that the parser follows: each pair of parentheses is one, as is each operand.
_MOST_RECURSION = 2 * EXPRESSION_DEPTH


@dataclass(frozen=True)
class Expression:
    """Expression that was parsed, with its source."""

    source: str
    tree: Node

    @cached_property
    def mentions(self) -> Mentions:
        """Names of the context that it mentions."""
        return mentions(self.tree)


def parse(source: str) -> Expression:
    """Parse the source. Raises ExpressionError at the first place where it is no expression, or too large."""
    try:
        if (size := len(source.encode("utf-8", "surrogatepass"))) > SOURCE_BYTES:
            fail(Reason.LIMIT, f"an expression may have {SOURCE_BYTES:,} bytes, this one has {size:,}", 0)
        tree = _Parser(source).whole()
        for node, depth in nodes.walk(tree):
            if depth > EXPRESSION_DEPTH:
                _too_deep(node.at)
        return Expression(source, tree)
    except ExpressionError as exc:
        exc.source = source
        raise


def _too_deep(at: int) -> NoReturn:
    fail(
        Reason.LIMIT, f"an expression may be nested {EXPRESSION_DEPTH} levels deep, this one goes deeper", at
    )


class _Parser:
    def __init__(self, source: str) -> None:
        self._tokens = list(tokens(source))
        self._next_index = 1
        self._token = self._tokens[0]
        self._recursion = 0
        #: Predicates around the current place: `#` has a meaning in them only.
        self._predicates = 0

    def whole(self) -> Node:
        tree = self._block()
        if self._token.kind != "end":
            self._unexpected("an operator or the end")
        return tree

    # Tokens

    def _next(self) -> Token:
        token = self._token
        if self._next_index < len(self._tokens):
            self._token = self._tokens[self._next_index]
            self._next_index += 1
        return token

    def _is(self, *texts: str) -> bool:
        return self._token.kind in ("operator", "bracket") and self._token.text in texts

    def _expect(self, text: str) -> Token:
        if not self._is(text):
            self._unexpected(f"`{text}`")
        return self._next()

    def _expect_name(self, expected: str) -> Token:
        if self._token.kind != "name":
            self._unexpected(expected)
        return self._next()

    def _unexpected(self, expected: str) -> NoReturn:
        fail(Reason.SYNTAX, f"expected {expected}, found {self._token.described()}", self._token.at)

    # Statements

    def _block(self) -> Node:
        at, statements = self._token.at, [self._statement()]
        while self._is(";"):
            self._next()
            if self._token.kind == "end" and not isinstance(statements[-1], nodes.Let):
                break
            statements.append(self._statement())
        if isinstance(statements[-1], nodes.Let):
            self._unexpected("`;` and an expression after let")
        return statements[0] if len(statements) == 1 else nodes.Block(at, tuple(statements))

    def _statement(self) -> Node:
        if not self._is("let"):
            return self._expression()
        at = self._next().at
        name = self._expect_name("a name after let").text
        if name in ("true", "false", "nil"):
            fail(Reason.SYNTAX, f"expected a name after let, found `{name}`", at)
        self._expect("=")
        return nodes.Let(at, name, self._expression())

    def _expression(self, precedence: int = 0) -> Node:
        self._recursion += 1
        if self._recursion > _MOST_RECURSION:
            _too_deep(self._token.at)
        if precedence == 0 and self._is("let"):
            node = self._block()
        elif precedence == 0 and self._is("if"):
            node = self._if()
        else:
            node = self._operations(self._primary(), precedence)
            if precedence == 0:
                node = self._conditional(node)
        self._recursion -= 1
        return node

    def _if(self) -> Node:
        at = self._expect("if").at
        test = self._expression()
        then = self._braces()
        self._expect("else")
        otherwise = self._else_if() if self._is("if") else self._braces()
        return nodes.Conditional(at, test, then, otherwise)

    def _else_if(self) -> Node:
        self._recursion += 1
        if self._recursion > _MOST_RECURSION:
            _too_deep(self._token.at)
        node = self._if()
        self._recursion -= 1
        return node

    def _braces(self) -> Node:
        self._expect("{")
        block = self._block()
        self._expect("}")
        return block

    def _conditional(self, node: Node) -> Node:
        while self._is("?"):
            at = self._next().at
            then = None if self._is(":") else self._expression()
            self._expect(":")
            node = nodes.Conditional(at, node, then, self._expression())
        return node

    # Operators

    def _operations(self, left: Node, precedence: int) -> Node:
        before = ""
        while self._token.kind == "operator":
            is_negated = self._is("not")
            token = self._tokens[self._next_index] if is_negated else self._token
            operator, at = token.text, token.at
            if is_negated and operator not in _NEGATABLE:
                self._next()
                self._unexpected("in, contains, matches, startsWith or endsWith after not")
            if BINARY.get(operator, -1) < precedence:
                break
            if before == "??" and operator not in ("??", "|"):
                fail(
                    Reason.SYNTAX, f"expected parentheses around ?? and its operands, found `{operator}`", at
                )
            self._next()
            if is_negated:
                self._next()
            if operator == "|":
                left = self._call(self._expect_name("a function after |"), left)
            elif operator in _CHAINED:
                left = self._comparison(left, operator, at)
            else:
                right = self._expression(BINARY[operator] + (operator not in _FROM_THE_RIGHT))
                operation = nodes.Operation(at, _SAME.get(operator, operator), is_negated, right)
                left = _joined(left, operation, BINARY.get(before) == BINARY[operator])
            before = operator
        return left

    def _comparison(self, first: Node, operator: str, at: int) -> Node:
        start, operations = at, []
        while True:
            operations.append(nodes.Operation(at, operator, False, self._expression(BINARY[operator] + 1)))
            if not self._is(*_CHAINED):
                break
            token = self._next()
            operator, at = token.text, token.at
        return nodes.Comparison(start, first, tuple(operations))

    def _primary(self) -> Node:
        token = self._token
        if token.kind == "operator" and token.text in UNARY:
            self._next()
            operand = self._expression(UNARY[token.text])
            return nodes.Unary(token.at, _SAME.get(token.text, token.text), operand)
        if self._is("("):
            self._next()
            self._recursion += 1
            block = self._block()
            self._recursion -= 1
            self._expect(")")
            return self._path(block)
        if self._predicates and self._is("#", "."):
            return self._path(self._pointer())
        if self._is("::"):
            self._next()
            return self._path(self._call(self._expect_name("the name of a function after ::"), builtin=True))
        return self._value()

    def _pointer(self) -> Node:
        token = self._token
        if token.text == ".":
            return nodes.Pointer(token.at, "")
        self._next()
        adjoins = self._token.at == token.at + 1 and self._token.kind in ("name", "number")
        return nodes.Pointer(token.at, self._next().text if adjoins else "")

    def _value(self) -> Node:
        token = self._token
        words = {"true": True, "false": False, "nil": None}
        if token.kind == "name" and token.text in words:
            return nodes.Literal(self._next().at, words[token.text])
        if token.kind == "number":
            return nodes.Literal(self._next().at, token.value)
        if token.kind == "text":
            return self._path(nodes.Literal(self._next().at, token.value))
        if token.kind == "name":
            self._next()
            return self._path(self._call(token) if self._is("(") else nodes.Name(token.at, token.text))
        if self._is("["):
            return self._path(nodes.ListOf(self._next().at, self._listed("]")))
        if self._is("{"):
            return self._path(self._map())
        self._unexpected("a value")

    def _listed(self, end: str) -> tuple[Node, ...]:
        """Parse expressions between commas up to the bracket; a comma may follow the last."""
        items: list[Node] = []
        while not self._is(end):
            if items:
                self._expect(",")
                if self._is(end):
                    break
            items.append(self._expression())
        self._next()
        return tuple(items)

    def _map(self) -> Node:
        at, pairs, written = self._expect("{").at, list[tuple[Node, Node]](), set[object]()
        while not self._is("}"):
            if pairs:
                self._expect(",")
                if self._is("}"):
                    break
            key = self._key()
            if isinstance(key, nodes.Literal):
                if key.value in written:
                    fail(Reason.SYNTAX, "expected another key, found one that the map has already", key.at)
                written.add(key.value)
            self._expect(":")
            pairs.append((key, self._expression()))
        self._next()
        return nodes.MapOf(at, tuple(pairs))

    def _key(self) -> Node:
        token = self._token
        if token.kind == "text":
            return nodes.Literal(self._next().at, token.value)
        if token.kind in ("name", "number"):
            return nodes.Literal(self._next().at, token.text)
        if self._is("("):
            return self._expression()
        self._unexpected("a key: a name, a text, a number, or an expression in parentheses")

    # Paths and calls

    def _path(self, base: Node) -> Node:
        steps: list[nodes.Member | nodes.Slice | nodes.Method] = []
        while self._is(".", "?.", "["):
            token = self._next()
            optional = token.text == "?."
            if token.text == "[" or (optional and self._is("[")):
                if optional:
                    self._next()
                steps.append(self._bracket(token.at, optional))
                continue
            name = self._token
            if name.kind != "name" and not (name.kind == "operator" and name.text in WORDS):
                self._unexpected("a name after the point")
            self._next()
            if self._is("("):
                self._next()
                steps.append(nodes.Method(name.at, name.text, self._listed(")"), optional))
            else:
                steps.append(nodes.Member(name.at, nodes.Literal(name.at, name.text), optional))
        return nodes.Path(base.at, base, tuple(steps)) if steps else base

    def _bracket(self, at: int, optional: bool) -> nodes.Member | nodes.Slice:
        start = None if self._is(":") else self._expression()
        if start is not None and self._is("]"):
            self._next()
            return nodes.Member(at, start, optional)
        self._expect(":")
        end = None if self._is("]") else self._expression()
        self._expect("]")
        return nodes.Slice(at, start, end)

    def _call(self, name: Token, piped: Node | None = None, builtin: bool = False) -> Node:
        """Parse the arguments of a function, before which the value of a pipe comes, and the path after it."""
        if name.text in PREDICATES:
            call = self._predicate_call(name, piped, builtin)
        else:
            self._expect("(")
            first = () if piped is None else (piped,)
            call = nodes.Call(name.at, name.text, first + self._listed(")"), builtin)
        return call if piped is None else self._path(call)

    def _predicate_call(self, name: Token, piped: Node | None, builtin: bool) -> Node:
        needed, has_last = PREDICATES[name.text]
        self._expect("(")
        subject = piped or self._argument(name, is_needed=True)
        assert subject is not None
        is_first = piped is not None
        predicate = self._argument(name, needed, is_first, self._predicate)
        last = self._argument(name, False, False) if has_last and predicate is not None else None
        if self._is(","):
            self._next()
        self._expect(")")
        return nodes.PredicateCall(name.at, name.text, subject, predicate, last, builtin)

    def _argument(
        self, name: Token, is_needed: bool, is_first: bool = True, read: Callable[[], Node] | None = None
    ) -> Node | None:
        if self._is(")"):
            if is_needed:
                fail(Reason.ARITY, f"expected more arguments of {name.text}(), found the end", self._token.at)
            return None
        if not is_first:
            self._expect(",")
            if self._is(")") and not is_needed:
                return None
        return read() if read else self._expression()

    def _predicate(self) -> Node:
        self._predicates += 1
        node = self._braces() if self._is("{") else self._expression()
        self._predicates -= 1
        return node


def _joined(left: Node, operation: nodes.Operation, is_same_level: bool) -> Node:
    """Return the operation on the left side, as one more of its series where it is one of the same precedence."""
    if is_same_level and isinstance(left, nodes.Series):
        return nodes.Series(left.at, left.first, (*left.operations, operation))
    return nodes.Series(operation.at, left, (operation,))
