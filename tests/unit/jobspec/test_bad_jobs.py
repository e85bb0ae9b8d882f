"""Job files that are refused: all problems at once, each at its line and column, with a remedy."""

from __future__ import annotations

import json
import time

import pytest

from engine.jobspec import job_schema
from engine.jobspec.expression.patterns import IS_AVAILABLE
from engine.jobspec.host_access import host_access_from
from engine.jobspec.problems import Invalid, Problem

HOST_ACCESS = host_access_from((), (), "/var/lib/ferryman")
LEAF = "{name: b, image: x}"
EACH = "{name: b, each: {list: '[1]', task: {image: x, env: {A: '%s'}}}}"


def problems(text: str, **given: str) -> list[Problem]:
    with pytest.raises(Invalid) as caught:
        job_schema.check(text.encode(), "yaml", HOST_ACCESS, given)
    return list(caught.value.problems)


def job(*lines: str, tasks: str = f"[{LEAF}]") -> str:
    return "\n".join(["name: a", f"tasks: {tasks}", *lines])


def one(task: str) -> str:
    return job(tasks=f"[{task}]")


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        # The job
        ("[]", "", "expected a map of fields, found a list"),
        ("name: a", "tasks", "this required field is missing"),
        ("tasks: [{name: b, image: x}]", "name", "this required field is missing"),
        ("name: a\ntasks: []", "tasks", "expected a list of tasks, found an empty list"),
        ("name: a\ntasks: {b: 1}", "tasks", "expected a list of tasks, found a map"),
        ("name: a\ntasks: [x]", "tasks[0]", 'expected a map, found the text "x"'),
        ("name: '{{ 1 }}'\ntasks: [{name: b, image: x}]", "name", "not supported yet"),
        (job("image: x"), "image", "image is a field of a task, not of a job"),
        (job("retry: {limit: 1}"), "retry", "retry is a field of a task, not of a job"),
        (job("task: []"), "task", "unknown field"),
        (job("webhooks: []"), "webhooks", "not supported yet: webhooks come in a later version"),
        (job("secrets: {a: b}"), "secrets", "not supported yet: secrets come in a later version"),
        (job("permissions: []"), "permissions", "not supported yet"),
        (job("schedule: {cron: x}"), "schedule", "not supported yet"),
        (job("id: x"), "id", "the server sets this field"),
        (job("autoDelete: 1h"), "autoDelete", "expected a map"),
        (job("autoDelete: {}"), "autoDelete.after", "this required field is missing"),
        (job("wait: {timeout: soon}"), "wait.timeout", "is not a duration"),
        (job("defaults: {image: x}"), "defaults.image", "unknown field"),
        (job("defaults: {timeout: 0s}"), "defaults.timeout", "the time-out must be above 0 s"),
        (job("defaults: {queue: '!x'}"), "defaults.queue", "not a valid queue name"),
        (job("output: '{{ tasks.x }}'"), "output", "no earlier task sets tasks.x"),
        (job("output: '{{ 1 +'"), None, ""),
        (job("output: '{{ 1 + }}'"), "output", "`1 +`, column 4: expected a value, found the end"),
        (job("output: [1]"), "output", "expected a text, found a list"),
        (job("onFailure: []"), "onFailure", "found an empty list"),
        (job("finally: [{name: c}]"), "finally[0].image", "this required field is missing"),
        # Inputs
        (job("inputs: [a]"), "inputs", "expected a map, found a list"),
        (job("inputs: {a: [1]}"), "inputs.a", "expected a text, found a list"),
        (job("inputs: {a: {type: int}}"), "inputs.a.type", "must be one of"),
        (job("inputs: {a: {type: integer, default: x}}"), "inputs.a.default", "type integer cannot be read"),
        (job("inputs: {a: {type: integer, default: 1.5}}"), "inputs.a.default", "type integer cannot be read"),
        (job("inputs: {a: {type: integer, default: true}}"), "inputs.a.default", "type integer cannot be read"),
        (job("inputs: {a: {type: integer, default: 9223372036854775808}}"), "inputs.a.default", "cannot be read"),
        (job("inputs: {a: {type: number, default: .nan}}"), "inputs.a.default", "type number cannot be read"),
        (job("inputs: {a: {type: boolean, default: 1}}"), "inputs.a.default", "type boolean cannot be read"),
        (job("inputs: {a: {type: array, default: {}}}"), "inputs.a.default", "type array cannot be read"),
        (job("inputs: {a: {type: string, default: [1]}}"), "inputs.a.default", "type string cannot be read"),
        (job("inputs: {a: {type: integer, default: 5, max: 4}}"), "inputs.a.default", "the value is too large"),
        (job("inputs: {a: {type: integer, default: 5, min: 6}}"), "inputs.a.default", "the value is too small"),
        (job("inputs: {a: {type: integer, enum: [1, x]}}"), "inputs.a.enum[1]", "type integer cannot be read"),
        (job("inputs: {a: {enum: [b], default: c}}"), "inputs.a.default", "not one of those allowed"),
        (job("inputs: {a: {enum: 5}}"), "inputs.a.enum", "write enum: [480, 720]"),
        (job("inputs: {a: {enum: [null]}}"), "inputs.a.enum[0]", "type string cannot be read"),
        (job("inputs: {a: {type: integer, enum: [1], default: 2, pattern: x}}"), "inputs.a.pattern", "only a string"),
        (job("inputs: {a: {type: string, min: 1}}"), "inputs.a.min", "only an integer or a number has bounds"),
        (job("inputs: {a: {type: integer, min: 2, max: 1}}"), "inputs.a.min", "above the greatest"),
        (job("inputs: {a: {type: integer, pattern: x}}"), "inputs.a.pattern", "only a string has a pattern"),
        (job("inputs: {a: {required: true, default: x}}"), "inputs.a.required", "is never missing"),
        (job("inputs: {a: {required: true}}"), "inputs.a", "this required input is missing"),
        (job("inputs: {a: {defualt: 1}}"), "inputs.a.defualt", "unknown field"),
        (job(f"inputs: {{{'x' * 65}: 1}}"), f"inputs[\"{'x' * 59}…\"]", "1 to 64 characters"),
        # Leaves
        (one("{name: b}"), "tasks[0].image", "this required field is missing"),
        (one("{image: x}"), "tasks[0].name", "this required field is missing"),
        (one("{name: b, image: x, if: [1]}"), "tasks[0].if", "expected a text, found a list"),
        (one("{name: b, image: x, if: '{{ [1] }}'}"), "tasks[0].if", "expected a bool or a text, found a list"),
        (one("{name: b, image: x, continueOnError: 1}"), "tasks[0].continueOnError", "expected true or false"),
        (one("{name: b, image: x, resultType: xml}"), "tasks[0].resultType", "must be one of"),
        (one("{name: b, image: x, sidecars: []}"), "tasks[0].sidecars", "not supported yet"),
        (one("{name: b, image: x, registry: {}}"), "tasks[0].registry", "not supported yet"),
        (one("{name: b, image: x, gpus: all}"), "tasks[0].gpus", "not supported yet"),
        (one("{name: b, image: x, workdir: '{{ 1 }}'}"), "tasks[0].workdir", "{{ begins an expression"),
        (one("{name: b, image: x, entrypoint: ['{{ 1 }}']}"), "tasks[0].entrypoint[0]", "{{ begins an expression"),
        (one("{name: b, image: x, user: '{{ 1 }}'}"), "tasks[0].user", "{{ begins an expression"),
        (one("{name: b, image: x, timeout: '{{ 1 }}'}"), "tasks[0].timeout", "{{ begins an expression"),
        (one("{name: b, image: x, env: {'{{ a }}': b}}"), 'tasks[0].env["{{ a }}"]', "{{ begins an expression"),
        (one("{name: b, image: x, env: {'A=B': '{{ 1 }}'}}"), 'tasks[0].env["A=B"]', "not a valid variable name"),
        (one("{name: b, image: x, mounts: [{type: bind, target: /a, source: '{{ 1 }}'}]}"), "tasks[0].mounts[0].source",
         "{{ begins an expression"),
        (one("{name: b, image: x, mounts: [{type: bind, target: /a, source: /etc}]}"), "tasks[0].mounts[0].source",
         "may not be mounted"),
        (one("{name: b, image: 'localhost/{{ 1'}"), "tasks[0].image", "is not a valid image reference"),
        (one("{name: b, image: localhost/x}"), "tasks[0].image", "its registry is the host itself"),
        (one("{name: b, image: x, pre: [{image: localhost/x}]}"), "tasks[0].pre[0].image", "is the host itself"),
        (one("{name: b, image: x, templates: [a]}"), "tasks[0].templates", "expected a map, found a list"),
        (one("{name: b, image: x, templates: {/etc/a: b}}"), 'tasks[0].templates["/etc/a"]', "not a relative file"),
        (one("{name: b, image: x, files: {a: b}, templates: {a: b}}"), "tasks[0].templates.a", "files has this name"),
        (one("{name: b, image: x, cmd: ['{{ upper(1) }}']}"), "tasks[0].cmd[0]", "as the first argument of upper()"),
        (one("{name: b, image: x, env: {A: '{{ fromJSON(\"{\") }}'}}"), "tasks[0].env.A", "expected JSON"),
        (one("{name: b, image: x, env: {A: '{{ secrets.a }}'}}"), "tasks[0].env.A", "there is no secret a"),
        (one("{name: b, image: x, env: {A: '{{ inputs.a }}'}}"), "tasks[0].env.A", "the input a is not declared"),
        (one("{name: b, image: x, env: {A: '{{ job.state }}'}}"), "tasks[0].env.A", "job has no state, only id, name"),
        (one("{name: b, image: x, env: {A: '{{ item.x }}'}}"), "tasks[0].env.A", "unknown name `item`"),
        (one("{name: b, image: x, var: b, env: {A: '{{ tasks.b }}'}}"), "tasks[0].env.A",
         "no earlier task sets tasks.b"),
        (one("{name: b, image: x, var: 1x}"), "tasks[0].var", "not a valid variable name"),
        # Composites
        (one("{name: b, parallel: {tasks: []}}"), "tasks[0].parallel.tasks", "found an empty list"),
        (one("{name: b, parallel: {}}"), "tasks[0].parallel.tasks", "this required field is missing"),
        (one("{name: b, parallel: []}"), "tasks[0].parallel", "expected a map, found a list"),
        (one(f"{{parallel: {{tasks: [{LEAF}]}}}}"), "tasks[0].name", "this required field is missing"),
        (one(f"{{name: b, image: x, parallel: {{tasks: [{LEAF}]}}}}"), "tasks[0].image", "runs no container"),
        (one(f"{{name: b, retry: {{}}, parallel: {{tasks: [{LEAF}]}}}}"), "tasks[0].retry", "runs no container"),
        (one(f"{{name: b, parallel: {{tasks: [{LEAF}]}}, each: {{list: '[]', task: {LEAF}}}}}"), "tasks[0].each",
         "parallel and each are set in one task"),
        (one("{name: b, parallel: {tasks: [{image: x, env: {A: '{{ 1 + }}'}}]}}"), "tasks[0].parallel.tasks[0].env.A",
         "expected a value"),
        (one(f"{{name: b, each: {{task: {LEAF}}}}}"), "tasks[0].each.list", "this required field is missing"),
        (one("{name: b, each: {list: '[]'}}"), "tasks[0].each.task", "this required field is missing"),
        (one(f"{{name: b, each: {{list: '5', task: {LEAF}}}}}"), "tasks[0].each.list",
         "a list or a map, found an integer"),
        (one(f"{{name: b, each: {{list: 'x {{{{ [1] }}}}', task: {LEAF}}}}}"), "tasks[0].each.list", "found `{`"),
        (one(f"{{name: b, each: {{list: '[]', task: {LEAF}, var: tasks}}}}"), "tasks[0].each.var",
         "the name tasks is taken"),
        (one(f"{{name: b, each: {{list: '[]', task: {LEAF}, concurrency: 100000}}}}"), "tasks[0].each.concurrency",
         "a whole number from 0 to 99999"),
        (one(EACH % "{{ item.vaule }}"), "tasks[0].each.task.env.A",
         "item has no vaule, only index, number, value, key; did you mean `value`?"),
        (one(EACH % "{{ item.value.x }}"), "tasks[0].each.task.env.A",
         "expected a map or a list before this, found an integer"),
        (one(EACH % "{{ item.index + 1 }}"), "tasks[0].each.task.env.A",
         "found a text and an integer"),
        (one("{name: b, subjob: {name: c, tasks: [{name: d, image: x, env: {A: '{{ inputs.a }}'}}]}}"),
         "tasks[0].subjob.tasks[0].env.A", "the input a is not declared"),
        (one("{name: b, subjob: {name: c, inputs: {a: '{{ inputs.z }}'}, tasks: [{name: d, image: x}]}}"),
         "tasks[0].subjob.inputs.a", "the input z is not declared"),
        (one("{name: b, subjob: {name: c, output: '{{ tasks.z }}', tasks: [{name: d, image: x}]}}"),
         "tasks[0].subjob.output", "no earlier task sets tasks.z"),
        (one("{name: b, subjob: {tasks: [{name: d, image: x}]}}"), "tasks[0].subjob.name", "required field is missing"),
        (one("{name: b, subjob: {name: c}}"), "tasks[0].subjob.tasks", "this required field is missing"),
        (one("{name: b, subjob: {name: c, secrets: {}, tasks: [{name: d, image: x}]}}"), "tasks[0].subjob.secrets",
         "not supported yet"),
        (one("{name: b, subjob: {name: c, webhooks: [], tasks: [{name: d, image: x}]}}"), "tasks[0].subjob.webhooks",
         "not supported yet"),
    ],
)  # fmt: skip
def test_a_bad_job_is_refused_at_its_place(text: str, path: str | None, words: str) -> None:
    if path is None or not words:
        assert job_schema.check(text.encode(), "yaml", HOST_ACCESS) if path is None else problems(text)
        return
    found = problems(text)
    assert {problem.path for problem in found} == {path}, found
    assert any(words in problem.message + problem.hint for problem in found)
    assert found[0].hint


def test_all_problems_are_told_at_once_at_their_lines_and_columns() -> None:
    text = """
name: a
inputs: {n: 1}
tasks:
  - name: b
    image: x
    env:
      A: "{{ inputs.m }}"
  - name: c
    parallel:
      tasks:
        - image: x
          cmd: ["{{ tasks.later }}", "{{ upper(1) }}"]
  - {name: d, image: x, var: later}
output: "{{ tasks.late }}"
"""
    assert [(problem.line, problem.column, problem.path) for problem in problems(text)] == [
        (8, 7, "tasks[0].env.A"),
        (13, 17, "tasks[1].parallel.tasks[0].cmd[0]"),
        (13, 38, "tasks[1].parallel.tasks[0].cmd[1]"),
        (15, 1, "output"),
    ]


def test_names_are_checked_beside_other_problems() -> None:
    text = """
name: a
inputs: {n: {type: int}}
tasks:
  - {name: b, var: read}
  - {name: c, image: x, env: {A: "{{ tasks.read + tasks.other }}", B: "{{ inputs.m }}", C: "{{ inputs.n }}"}}
  - {name: d, each: {task: {image: x, env: {A: "{{ upper(1) }}"}}}}
  - {name: e, subjob: {name: f, tasks: [{name: g}, {name: h, image: x, env: {A: "{{ tasks.any }}{{ jobs.id }}"}}]}}
"""
    assert [problem.path for problem in problems(text)] == [
        "inputs.n.type",
        "tasks[0].image",
        "tasks[1].env.B",
        "tasks[2].each.list",
        "tasks[3].subjob.tasks[0].image",
        "tasks[3].subjob.tasks[1].env.A",
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"n": "x"}, "type integer cannot be read"),
        ({"n": "1.0"}, "type integer cannot be read"),
        ({"n": "9999999999999999999"}, "type integer cannot be read"),
        ({"n": "7"}, "the value is too large"),
        ({"x": "1"}, "the job declares no input"),
        ({"b": "yes"}, "type boolean cannot be read"),
        ({"l": "[1"}, "type array cannot be read"),
        ({"l": "[NaN]"}, "type array cannot be read"),
        ({"l": "[" * 100_000}, "type array cannot be read"),
        ({"l": "{}"}, "type array cannot be read"),
        ({"f": "1e999"}, "type number cannot be read"),
        ({"f": "0x10"}, "type number cannot be read"),
        ({"p": "x" * (1 << 20)}, "the inputs have"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(given: dict[str, str], words: str) -> None:
    inputs = "inputs: {p: x, n: {type: integer, max: 6}, b: {type: boolean}, "
    text = job(inputs + "l: {type: array}, f: {type: number}}")
    (found,) = problems(text, **given)
    assert words in found.message


@pytest.mark.skipif(not IS_AVAILABLE, reason="google-re2 is not installed")
def test_a_pattern_is_one_of_re2_and_is_found_in_the_value() -> None:
    pattern = job("inputs: {a: {pattern: '^[a-z]+$', default: abc}}")
    assert job_schema.check(pattern.encode(), "yaml", HOST_ACCESS, {"a": "xyz"})[1] == {"a": "xyz"}
    assert "does not match the pattern" in problems(pattern, a="Abc")[0].message
    (found,) = problems(job("inputs: {a: {pattern: '(', default: abc}}"))
    assert found.path == "inputs.a.pattern" and "expected a regular expression" in found.message
    (found,) = problems(job("inputs: {a: {pattern: '^[a-z]+$', default: ABC}}"))
    assert found.path == "inputs.a.default"


def test_results_are_known_where_tasks_before_may_have_set_them() -> None:
    text = """
name: a
tasks:
  - {name: b, image: x, var: one, resultType: json}
  - name: c
    parallel: {tasks: [{image: x, var: two, env: {A: "{{ tasks.one.deep[0] }}"}}, {image: x, var: three}]}
  - name: d
    each: {list: "{{ tasks.one }}", task: {image: x, var: four, env: {A: "{{ tasks.two + tasks.three }}"}}}
  - {name: e, image: x, env: {A: "{{ tasks.four }}", B: "{{ outputs.two.size }}"}}
onFailure: [{name: f, image: x, var: five, env: {A: "{{ tasks.four }}{{ job.error }}"}}]
finally: [{name: g, image: x, env: {A: "{{ tasks.five }}{{ job.state }}"}}]
output: "{{ tasks.four }}"
"""
    assert job_schema.check(text.encode(), "yaml", HOST_ACCESS)


@pytest.mark.parametrize("name", ["two", "three"])
def test_siblings_do_not_see_each_others_results(name: str) -> None:
    tasks = f"[{{image: x, var: two}}, {{image: x, var: three, env: {{A: '{{{{ tasks.{name} }}}}'}}}}]"
    (found,) = problems(one(f"{{name: b, parallel: {{tasks: {tasks}}}}}"))
    assert found.path == "tasks[0].parallel.tasks[1].env.A"


def test_a_name_that_is_an_expression_may_be_any_name() -> None:
    text = job(
        tasks="[{name: b, image: x, var: 'r{{ job.id }}'}, {name: c, image: x, env: {A: '{{ tasks.r1 }}'}}]"
    )
    assert job_schema.check(text.encode(), "yaml", HOST_ACCESS)


# Bounds


def nested(depth: int, kind: str) -> str:
    task = '{"name": "b", "image": "x"}'
    for _ in range(depth):
        work = f'"tasks": [{task}]' if kind != "each" else f'"list": "[]", "task": {task}'
        title = '"name": "s", ' if kind == "subjob" else ""
        task = f'{{"name": "c", "{kind}": {{{title}{work}}}}}'
    return f'{{"name": "a", "tasks": [{task}]}}'


@pytest.mark.parametrize(("kind", "most"), [("parallel", 8), ("each", 8), ("subjob", 4)])
def test_composites_and_subjobs_nest_so_deep_and_no_deeper(kind: str, most: int) -> None:
    assert job_schema.check(nested(most, kind).encode(), "json", HOST_ACCESS)
    found = problems(nested(most + 1, kind))
    assert f"nested deeper than {most} {'subjobs' if kind == 'subjob' else 'composites'}" in found[0].message


def large(tasks: list[dict[str, object]], **more: object) -> str:
    return json.dumps({"name": "a", "tasks": tasks, **more})


PLAIN: dict[str, object] = {"name": "b", "image": "x"}
SUM = "{{ 1" + " + 1" * 1_000 + " }}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (large([PLAIN] * 3_001), "3001 tasks, at most 3,000"),
        (
            large([{"name": "b", "parallel": {"tasks": [{"image": "x"}] * 1_001}}]),
            "1001 tasks, at most 1,000",
        ),
        (large([PLAIN], inputs={f"i{n}": "" for n in range(1_001)}), "1001 inputs"),
        (large([{**PLAIN, "templates": {f"f{n}": "" for n in range(101)}}]), "101 entries"),
        (large([PLAIN] * 20_000), "more than 50000 keys and values"),
        (
            large([{**PLAIN, "env": {"A": SUM}}] * 100),
            "the expressions of the file have more than 131,072 bytes",
        ),
    ],
    ids=["tasks", "parallel", "inputs", "templates", "nodes", "expressions"],
)
def test_a_file_is_bounded(text: str, words: str) -> None:
    assert words in problems(text)[0].message


def test_expressions_that_need_no_context_share_a_budget() -> None:
    heavy = "{{ len(map(1..9000, # * 2 + 1)) }}"
    tasks = [{"name": "b", "image": "x", "env": {"A": heavy}} for _ in range(300)]
    began = time.process_time()
    assert job_schema.check(json.dumps({"name": "a", "tasks": tasks}).encode(), "json", HOST_ACCESS)
    assert time.process_time() - began < 10
