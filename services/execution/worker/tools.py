"""What all runs of a worker share."""

from dataclasses import dataclass, field

from opentelemetry.trace import NoOpTracer, Tracer

from mesh.settings import Settings
from services.execution.worker.executor import NodeExecutor
from services.execution.worker.meters import Meters
from services.execution.worker.waiting import Answers, Children


@dataclass(frozen=True, slots=True)
class Tools:
    """The parts that runs work with."""

    settings: Settings
    executor: NodeExecutor
    answers: Answers
    children: Children
    meters: Meters = field(default_factory=Meters)
    tracer: Tracer = field(default_factory=NoOpTracer)

    @property
    def is_traced(self) -> bool:
        """Whether spans lead anywhere: what they would say need not be put together otherwise."""
        return not isinstance(self.tracer, NoOpTracer)
