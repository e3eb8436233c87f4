"""How much one operation may ask for: how deep, and how many values in the worst case. Both are known before anything is asked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    IntValueNode,
    NamedTypeNode,
    NonNullTypeNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
)
from strawberry.extensions import SchemaExtension

from gateway.graphql.model import DEFAULT_PAGE
from mesh.errors import InvalidArgumentError

# The largest page that any service gives.
MAX_PAGE = 2000
# A list that is no page, such as the nodes of a graph, counts as this many.
PLAIN_LIST = 10
# What a service is asked for counts as this many values more.
ASKING = 10
# Each look at the schema counts as this many: it is answered from memory, but whole.
INTROSPECTION = 10_000
# Fragments and fields in one another, of whatever kind; the next one is too deep.
MAX_LEVELS = 100
# Only under other names can one request call the same method often.
MAX_ALIASES = 50
# Values in the variables, but for those that are JSON to us too.
MAX_ARGUMENT_VALUES = 30_000
_PAGE_SIZE = "pageSize"
_ITEMS = "items"
_MAX_PAGE_DIGITS = len(str(MAX_PAGE))
TOO_DEEP, TOO_COSTLY = "GRAPHQL_TOO_DEEP", "GRAPHQL_TOO_COSTLY"


@dataclass(frozen=True, slots=True)
class Prices:
    """Fields of the schema by name that cost more than others: lists that are no pages, and those that services are asked for."""

    plain_lists: frozenset[str]
    asking: frozenset[str]


class TooManyLevelsError(Exception):
    """The operation has more levels than anybody needs."""


class Load(NamedTuple):
    """What a part of an operation weighs: how deep its fields go, how many values it may give, how many levels of any kind it has."""

    depth: int
    cost: int
    levels: int


class Weight:
    """Weighs operations. A field costs 1 for each time that it may be in the answer, one that a service is asked for more."""

    def __init__(self, document: DocumentNode, variables: Mapping[str, Any], prices: Prices) -> None:
        self.aliases = 0
        self._variables = variables
        self._prices = prices
        definitions = document.definitions
        self._fragments = {item.name.value: item for item in definitions if isinstance(item, FragmentDefinitionNode)}
        # By name; None while a fragment is being weighed, which one that contains itself meets.
        self._weighed: dict[str, Load | None] = {}

    def of(self, operation: OperationDefinitionNode) -> Load:
        """What it weighs; `aliases` has grown by how many names of its own it uses. Raises TooManyLevelsError."""
        return self._set(operation.selection_set, 0, 0)

    def _set(self, selections: SelectionSetNode | None, page_size: int, level: int) -> Load:
        depth = cost = levels = 0
        for selection in selections.selections if selections else ():
            one = self._selection(selection, page_size, level + 1)
            depth, cost, levels = max(depth, one.depth), cost + one.cost, max(levels, one.levels)
        if level + levels > MAX_LEVELS:
            raise TooManyLevelsError
        return Load(depth, cost, levels + 1)

    def _selection(self, selection: SelectionNode, page_size: int, level: int) -> Load:
        if level > MAX_LEVELS:
            raise TooManyLevelsError
        if isinstance(selection, FieldNode):
            return self._field(selection, page_size, level)
        if isinstance(selection, InlineFragmentNode):
            return self._set(selection.selection_set, page_size, level)
        return self._fragment(selection.name.value, page_size, level) if isinstance(selection, FragmentSpreadNode) else Load(0, 0, 0)

    def _fragment(self, name: str, page_size: int, level: int) -> Load:
        # A fragment on a page costs by the size of that page.
        key = f"{name} {page_size}"
        if key not in self._weighed:
            self._weighed[key] = None
            found = self._fragments.get(name)
            self._weighed[key] = self._set(found.selection_set if found else None, page_size, level)
        return self._weighed[key] or Load(0, 0, 0)

    def _field(self, field: FieldNode, around: int, level: int) -> Load:
        name = field.name.value
        self.aliases += field.alias is not None
        depth, cost, levels = self._set(field.selection_set, self._page_size(field), level)
        if name.startswith("__"):
            # How deep it goes, a rule of GraphQL limits.
            return Load(0, cost + (INTROSPECTION if field.selection_set else 1), levels)
        times = 1
        if name == _ITEMS:
            times = around or DEFAULT_PAGE
        elif name in self._prices.plain_lists:
            times = PLAIN_LIST
        return Load(depth + 1, times * (cost + 1) + (ASKING if name in self._prices.asking else 0), levels)

    def _page_size(self, field: FieldNode) -> int:
        for argument in field.arguments or ():
            if argument.name.value == _PAGE_SIZE:
                value = argument.value
                if isinstance(value, IntValueNode):
                    return min(max(int(value.value), 0), MAX_PAGE) if len(value.value) <= _MAX_PAGE_DIGITS else MAX_PAGE
                if isinstance(value, VariableNode):
                    given = self._variables.get(value.name.value)
                    # A default counts as the largest page: what it is does not matter enough to look for it.
                    return min(max(given, 0), MAX_PAGE) if isinstance(given, int) else MAX_PAGE
        return 0


class Limits(SchemaExtension):
    """Refuses operations that are too deep or too costly."""

    def __init__(self, max_depth: int, max_cost: int, prices: Prices) -> None:
        self._max_depth = max_depth
        self._max_cost = max_cost
        self._prices = prices

    def on_validate(self) -> Iterator[None]:
        """Strawberry's hook: before the document is compared with the schema, so that no costly one is."""
        context = self.execution_context
        document = context.graphql_document
        refusal = self._refusal(document, context.variables or {}) if document is not None else None
        if refusal is not None:
            context.pre_execution_errors = [GraphQLError(refusal.message, original_error=refusal)]
        yield

    def _refusal(self, document: DocumentNode, variables: Mapping[str, Any]) -> InvalidArgumentError | None:
        weight = Weight(document, variables, self._prices)
        for operation in document.definitions:
            if not isinstance(operation, OperationDefinitionNode):
                continue
            try:
                depth, cost, _ = weight.of(operation)
            except TooManyLevelsError:
                return _refused(TOO_DEEP, f"The request has more than {MAX_LEVELS} fields and fragments in one another.", MAX_LEVELS)
            if depth > self._max_depth:
                return _refused(TOO_DEEP, f"The request is {depth} fields deep; {self._max_depth} are allowed.", self._max_depth)
            if cost > self._max_cost:
                # Fragments can make it a number that nobody can read, nor Python print.
                sentence = f"The request asks for more than {self._max_cost} values. Ask for smaller pages or fewer fields."
                return _refused(TOO_COSTLY, sentence, self._max_cost)
            if _has_more_values(_typed_variables(operation, variables), MAX_ARGUMENT_VALUES):
                sentence = f"The variables hold more than {MAX_ARGUMENT_VALUES} values. Send as much over REST."
                return _refused(TOO_COSTLY, sentence, MAX_ARGUMENT_VALUES)
        if weight.aliases > MAX_ALIASES:
            return _refused(TOO_COSTLY, f"The request has {weight.aliases} aliases; {MAX_ALIASES} are allowed.", MAX_ALIASES)
        return None


def _typed_variables(operation: OperationDefinitionNode, variables: Mapping[str, Any]) -> list[Any]:
    """The values that are compared with types; what is JSON to us too is passed on as it is."""
    found = []
    for definition in operation.variable_definitions or ():
        kind = definition.type.type if isinstance(definition.type, NonNullTypeNode) else definition.type
        if not (isinstance(kind, NamedTypeNode) and kind.name.value == "JSON"):
            found.append(variables.get(definition.variable.name.value))
    return found


def _has_more_values(value: Any, most: int) -> bool:
    waiting, seen = [value], 0
    while waiting and seen <= most:
        seen += 1
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return seen > most


def _refused(reason: str, sentence: str, limit: int) -> InvalidArgumentError:
    return InvalidArgumentError(sentence, reason=reason, metadata={"limit": str(limit)})
