"""How much one operation may ask for: how deep, and how many values in the worst case. Both are known before anything is asked."""

from collections.abc import Iterator, Mapping
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
)
from strawberry.extensions import SchemaExtension

from gateway.graphql.model import DEFAULT_PAGE
from mesh.errors import InvalidArgumentError

MAX_PAGE = 1000
# A list that is no page, such as the nodes of a graph, counts as this many.
PLAIN_LIST = 10
_PAGE_SIZE = "pageSize"
_ITEMS = "items"
TOO_DEEP, TOO_COSTLY = "GRAPHQL_TOO_DEEP", "GRAPHQL_TOO_COSTLY"


class Weight:
    """Depth and cost of an operation. A field costs 1 for each time that it may be in the answer; introspection costs nothing."""

    def __init__(self, document: DocumentNode, variables: Mapping[str, Any], plain_lists: frozenset[str]) -> None:
        """`plain_lists` are the names of fields that hold lists which are no pages."""
        self._variables = variables
        self._plain_lists = plain_lists
        definitions = document.definitions
        self._fragments = {item.name.value: item for item in definitions if isinstance(item, FragmentDefinitionNode)}
        # Depth and cost by name; None while a fragment is being weighed, which one that contains itself meets.
        self._weighed: dict[str, tuple[int, int] | None] = {}

    def of(self, operation: OperationDefinitionNode) -> tuple[int, int]:
        """Depth and cost."""
        return self._set(operation.selection_set, {})

    def _set(self, selections: SelectionSetNode | None, arguments: Mapping[str, int]) -> tuple[int, int]:
        depth = cost = 0
        for one_depth, one_cost in self._each(selections, arguments):
            depth, cost = max(depth, one_depth), cost + one_cost
        return depth, cost

    def _each(self, selections: SelectionSetNode | None, arguments: Mapping[str, int]) -> Iterator[tuple[int, int]]:
        for selection in selections.selections if selections else ():
            if isinstance(selection, FieldNode):
                yield self._field(selection, arguments)
            elif isinstance(selection, InlineFragmentNode):
                yield self._set(selection.selection_set, arguments)
            elif isinstance(selection, FragmentSpreadNode):
                yield self._fragment(selection.name.value, arguments)

    def _fragment(self, name: str, arguments: Mapping[str, int]) -> tuple[int, int]:
        # A fragment on a page costs by the size of that page.
        key = f"{name} {arguments.get(_PAGE_SIZE, 0)}"
        if key not in self._weighed:
            self._weighed[key] = None
            found = self._fragments.get(name)
            self._weighed[key] = self._set(found.selection_set, arguments) if found else (0, 0)
        return self._weighed[key] or (0, 0)

    def _field(self, field: FieldNode, around: Mapping[str, int]) -> tuple[int, int]:
        name = field.name.value
        if name.startswith("__"):
            return 0, 0
        times = 1
        if name == _ITEMS:
            times = around.get(_PAGE_SIZE) or DEFAULT_PAGE
        elif name in self._plain_lists:
            times = PLAIN_LIST
        depth, cost = self._set(field.selection_set, {_PAGE_SIZE: self._page_size(field)})
        return depth + 1, times * (cost + 1)

    def _page_size(self, field: FieldNode) -> int:
        for argument in field.arguments or ():
            if argument.name.value == _PAGE_SIZE:
                value = argument.value
                if isinstance(value, IntValueNode):
                    return min(max(int(value.value), 0), MAX_PAGE)
                if isinstance(value, VariableNode):
                    given = self._variables.get(value.name.value)
                    # A default counts as the largest page: what it is does not matter enough to look for it.
                    return min(max(given, 0), MAX_PAGE) if isinstance(given, int) else MAX_PAGE
        return 0


class Limits(SchemaExtension):
    """Refuses operations that are too deep or too costly."""

    def __init__(self, max_depth: int, max_cost: int, plain_lists: frozenset[str]) -> None:
        self._max_depth = max_depth
        self._max_cost = max_cost
        self._plain_lists = plain_lists

    def on_validate(self) -> Iterator[None]:
        """Strawberry's hook: before the document is compared with the schema, so that no costly one is."""
        context = self.execution_context
        document = context.graphql_document
        if document is not None:
            weight = Weight(document, context.variables or {}, self._plain_lists)
            operations = [item for item in document.definitions if isinstance(item, OperationDefinitionNode)]
            found = [error for item in operations if (error := self._refusal(*weight.of(item)))]
            if found:
                context.pre_execution_errors = found[:1]
        yield

    def _refusal(self, depth: int, cost: int) -> GraphQLError | None:
        if depth > self._max_depth:
            return _refused(TOO_DEEP, f"The request is {depth} fields deep; {self._max_depth} are allowed.", self._max_depth)
        if cost > self._max_cost:
            sentence = f"The request asks for up to {cost} values; {self._max_cost} are allowed. Ask for smaller pages or fewer fields."
            return _refused(TOO_COSTLY, sentence, self._max_cost)
        return None


def _refused(reason: str, sentence: str, limit: int) -> GraphQLError:
    error = InvalidArgumentError(sentence, reason=reason, metadata={"limit": str(limit)})
    return GraphQLError(sentence, original_error=error)
