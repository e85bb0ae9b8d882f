"""Schemas of the maps of a job's file that are no tasks: the job itself, its inputs, and what composites say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, validates_schema

from engine.jobspec import quantities, text_rules
from engine.jobspec.fields import Choice, Flag, Group, Quantity, Real, Text, Texts, Whole, WithExample
from engine.jobspec.job_inputs import TYPES
from engine.jobspec.nested import LimitsSchema, RetrySchema, Strict
from engine.jobspec.problems import Fault

MOST_CONCURRENCY = 99_999
#: Names that an expression has anyway.
RESERVED = frozenset(
    (
        "inputs",
        "tasks",
        "job",
        "secrets",
        "outputs",
        "true",
        "false",
        "nil",
        "in",
        "or",
        "and",
        "not",
        "let",
        "if",
    )
) | {"else", "matches", "contains", "startsWith", "endsWith"}


class Anything(WithExample, fields.Raw):
    """Field that another reader reads: tasks within tasks, inputs, texts with expressions."""

    def __init__(self, example: str, about: str, **more: Any) -> None:
        super().__init__(metadata={"description": about}, allow_none=True, **more)
        self.example = example


class Values(WithExample, fields.List[Any]):
    """List of values of any type, which another reader reads."""

    def __init__(self, example: str, about: str, **more: Any) -> None:
        super().__init__(fields.Raw(allow_none=True), metadata={"description": about}, **more)
        self.example = example


def loop_var_fault(var: str) -> Fault | None:
    """Check the name of a loop variable."""
    if var in RESERVED:
        return Fault(f"the name {var} is taken in expressions", "write another name, such as item")
    return text_rules.var_fault(var)


class AfterSchema(Strict):
    """Time after the end of a job at which it is deleted."""

    what = "autoDelete"
    after = Quantity("after: 24h", "Time after the end", quantities.duration_seconds, required=True)


class WaitSchema(Strict):
    """Time for which the request waits for the end of the job."""

    what = "wait"
    timeout = Quantity("timeout: 1m", "The longest wait", quantities.duration_seconds, required=True)


class DefaultsSchema(Strict):
    """Fields for the leaves that do not set them."""

    what = "defaults"
    queue = Text("queue: default", "Queue", 64, rule=text_rules.queue_fault, loose=True)
    priority = Whole("priority: 5", "0 to 9; the highest goes first", 0, 9)
    timeout = Quantity("timeout: 10m", "Time-out", quantities.duration_seconds)
    limits = Group(LimitsSchema, "limits: {memory: 512m}", "Limits of each container")
    retry = Group(RetrySchema, "retry: {limit: 3}", "Retry policy for failed attempts")


class InputSchema(Strict):
    """Declaration of a typed input."""

    what = "input"
    type = Choice("type: integer", "Type of the value", tuple(TYPES))
    description = Text("description: height in pixels", "For people", 4096, rule=text_rules.description_fault)
    required = Flag("required: true", "Whether a submission must give it")
    default = Anything("default: 720", "Value without one in the submission")
    enum = Values("enum: [480, 720]", "Values that are allowed")
    min = Real("min: 1", "Least value of a number", -1e300, 1e300)
    max = Real("max: 100", "Greatest value of a number", -1e300, 1e300)
    pattern = Text('pattern: "^[a-z]+$"', "Regular expression that is found in a string", 1000)


class JobSchema(Strict):
    """Job of many tasks."""

    what = "job"
    name = Text("name: convert films", "For people", 256, rule=text_rules.name_fault, required=True)
    description = Text("description: nightly", "For people", 4096, rule=text_rules.description_fault)
    tags = Texts("tags: [nightly]", "Words for searching", 64, rule=text_rules.tag_fault)
    inputs = Anything("inputs: {size: 720}", "Values that the tasks read, plain or declared with a type")
    tasks = Anything(
        "tasks: [{name: say hello, image: alpine:3.18.3, run: echo hello}]", "Tasks, in order", required=True
    )
    onFailure = Anything("onFailure: [{…}]", "Tasks after a failed one")
    output = Anything('output: "{{ tasks.size }}"', "Result of the job")
    defaults = Group(DefaultsSchema, "defaults: {queue: default}", "Fields for tasks that do not set them")
    autoDelete = Group(AfterSchema, "autoDelete: {after: 24h}", "When the job is deleted")
    wait = Group(WaitSchema, "wait: {timeout: 1m}", "Makes the request wait for the end")


# A field cannot have the name of a statement.
JobSchema._declared_fields["finally"] = Anything("finally: [{…}]", "Tasks at the end, however the job ends")


class CompositeSchema(Strict):
    """Task that runs other tasks."""

    what = "composite"
    name = Anything("name: all films", "For people", required=True)
    description = Text("description: side by side", "For people", 4096, rule=text_rules.description_fault)
    condition = Anything('if: "{{ inputs.on }}"', "Skips the task when it yields false", data_key="if")
    var = Anything("var: result", "Name of the result for later tasks")
    tags = Texts("tags: [nightly]", "Words for searching", 64, rule=text_rules.tag_fault)
    continueOnError = Flag("continueOnError: true", "Whether the job goes on after a failure")
    parallel = Anything("parallel: {tasks: [{…}]}", "Tasks that run at the same time")
    each = Anything('each: {list: "{{ 1..3 }}", task: {…}}', "Task for each element of a list or map")
    subjob = Anything("subjob: {name: part, tasks: [{…}]}", "Job of its own")

    @validates_schema(skip_on_field_errors=False)
    def _one_kind(self, data: Mapping[str, Any], **_: Any) -> None:
        kinds = [name for name in ("parallel", "each", "subjob") if name in data]
        if len(kinds) > 1:
            fault = Fault(f"{' and '.join(kinds)} are set in one task", "keep one of them, or nest them")
            raise ValidationError({kinds[1]: [fault]})


class ParallelSchema(Strict):
    """Tasks that run at the same time."""

    what = "parallel"
    tasks = Anything("tasks: [{name: a, image: alpine:3.18.3}]", "Tasks", required=True)
    failFast = Flag("failFast: false", "Whether a failed task ends its siblings (true)")


class EachSchema(Strict):
    """Task for each element."""

    what = "each"
    list = Anything('list: "{{ fromJSON(tasks.files) }}"', "List or map", required=True)
    task = Anything("task: {name: one, image: alpine:3.18.3}", "Task for an element", required=True)
    var = Text("var: item", "Name of the element in expressions", 64, rule=loop_var_fault)
    concurrency = Whole("concurrency: 4", "Elements at the same time; 0: all", 0, MOST_CONCURRENCY)
    failFast = Flag("failFast: false", "Whether a failed element ends the others (true)")


class SubjobSchema(Strict):
    """Job in a job."""

    what = "subjob"
    name = Anything("name: part", "For people", required=True)
    description = Text("description: a part", "For people", 4096, rule=text_rules.description_fault)
    tasks = Anything("tasks: [{name: a, image: alpine:3.18.3}]", "Tasks, in order", required=True)
    inputs = Anything('inputs: {size: "{{ inputs.size }}"}', "Inputs of the subjob")
    output = Anything('output: "{{ tasks.size }}"', "Result of the subjob")
    detached = Flag("detached: true", "Whether nobody waits for its end")
    autoDelete = Group(AfterSchema, "autoDelete: {after: 24h}", "When the subjob is deleted")


class LeafSchema(Strict):
    """Fields of a job's task that a task alone does not have."""

    what = "task"
    condition = Anything('if: "{{ inputs.on }}"', "Skips the task when it yields false", data_key="if")
    continueOnError = Flag("continueOnError: true", "Whether the job goes on after a failure")
    templates = Anything("templates: {name.txt: text}", "Files whose expressions are evaluated")
    resultType = Choice("resultType: json", "json: later tasks see the parsed result", ("text", "json"))


#: Their names in a file.
OF_LEAVES = frozenset(("if", "continueOnError", "templates", "resultType"))
