"""Job files that are good: every field, every shape, the stored form, and tasks as they are opened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.jobspec import job as jobs
from engine.jobspec import job_schema, template
from engine.jobspec.composite import Each, Leaf, Parallel, Subjob, Task, walk
from engine.jobspec.expression.bounds import Budget
from engine.jobspec.expression.tools import Outside
from engine.jobspec.host_access import host_access_from
from engine.jobspec.job import JobSpec
from engine.jobspec.problems import Invalid
from engine.jobspec.task import TaskSpec
from engine.jobspec.template import Template

#: On a busy machine drawing an example takes as long as hypothesis has for ten.
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
HOST_ACCESS = host_access_from(("/srv/media",), ("backend",), "/var/lib/ferryman")
OUTSIDE = Outside(1_750_000_000_000, lambda below: below - 1)

WHOLE = """
name: convert films
description: "{{ is text here }}"
tags: [nightly, films]
inputs:
  source: /srv/media/a.mov
  literal: "{{ secrets.x }}"
  port: 8080
  size: {type: integer, default: 720, enum: [480, 720], min: 1, max: 4000, description: lines}
  rate: {type: number, default: 0.5}
  on: {type: boolean, default: true}
  names: {type: array, default: [a, b]}
  extra: {type: object, default: {a: [1, 2.5, x]}}
  word: {type: string, required: true}
defaults: {queue: films, priority: 3, timeout: 10m, limits: {memory: 512m}, retry: {limit: 2, initialDelay: 1s}}
autoDelete: {after: 24h}
wait: {timeout: 1m}
output: "{{ tasks.sizes }}"
tasks:
  - name: "probe {{ inputs.source }}"
    image: "ffmpeg:{{ inputs.size }}"
    var: chunks
    queue: "q{{ inputs.size }}"
    resultType: json
    if: "{{ inputs.on }}"
    continueOnError: true
    env: {SIZE: "{{ inputs.size }}", PLAIN: 1}
    run: docker inspect --format '{{ .Name }}' x
    files: {a.txt: "{{ left as it is }}"}
    templates: {list.txt: "size {{ inputs.size }}"}
    pre: [{image: "alpine:{{ inputs.size }}", cmd: [echo, "{{ inputs.word }}"]}]
    post: [{name: clean, image: "alpine:3.18.3", run: "echo {{ }}", always: true}]
  - name: split
    each:
      list: "{{ tasks.chunks }}"
      var: chunk
      concurrency: 4
      failFast: false
      task:
        name: "part {{ chunk.index }}"
        image: alpine:3.18.3
        cmd: [echo, "{{ chunk.value.start }}", "{{ string(chunk.number + 1) }}", "{{ chunk.key ?? '' }}"]
        var: "part_{{ chunk.index }}"
  - name: together
    if: "{{ inputs.size > 100 }}"
    continueOnError: true
    tags: [wide]
    parallel:
      failFast: false
      tasks:
        - {image: alpine:3.18.3, run: echo nameless, var: sizes}
        - name: deep
          each:
            list: 1..3
            task:
              parallel: {tasks: [{image: alpine:3.18.3, cmd: ["{{ string(item.value) }}"]}]}
  - name: job in a job
    var: inner
    subjob:
      name: "part of {{ job.name }}"
      description: a part
      detached: true
      autoDelete: {after: 1h}
      inputs: {films: "{{ inputs.names }}", plain: text}
      output: "{{ tasks.one }}"
      tasks:
        - {name: one, image: alpine:3.18.3, cmd: ["{{ inputs.films[0] }}", "{{ inputs.plain }}"], var: one}
onFailure:
  - {name: tell, image: alpine:3.18.3, cmd: ["{{ job.error }}", "{{ tasks.sizes ?? '' }}"], var: told}
finally:
  - {name: clean, image: alpine:3.18.3, cmd: ["{{ job.state }}", "{{ tasks.told ?? '' }}"]}
"""


def check(text: str, **given: str) -> tuple[JobSpec, dict[str, Any]]:
    return job_schema.check(text.encode(), "yaml", HOST_ACCESS, given)


def whole() -> JobSpec:
    return check(WHOLE, word="abc")[0]


def stored_again(job: JobSpec) -> JobSpec:
    return jobs.load(json.loads(json.dumps(jobs.dump(job))))


def leaf(task: Task) -> Leaf:
    assert isinstance(task.work, Leaf)
    return task.work


def opened(task: Task, context: dict[str, Any], defaults: dict[str, Any] | None = None) -> TaskSpec:
    def fill(text: Template) -> str:
        made = template.evaluate(text, context, OUTSIDE, Budget())
        assert isinstance(made, str)
        return made

    return job_schema.opened(leaf(task), fill, defaults or {}, HOST_ACCESS)


def test_every_field_of_a_job_is_read() -> None:
    job = whole()
    assert (job.name, job.description, job.tags) == (
        "convert films",
        "{{ is text here }}",
        ("nightly", "films"),
    )
    assert (job.auto_delete_seconds, job.wait_seconds) == (86_400, 60)
    assert job.defaults["queue"] == "films" and job.defaults["retry"] == {"limit": 2, "initialDelay": "1s"}
    assert job.output is not None and template.stored(job.output) == {"t": [{"e": "tasks.sizes"}]}
    assert [task.kind for task in job.tasks] == ["task", "each", "parallel", "subjob"]
    assert (len(job.on_failure), len(job.finally_tasks)) == (1, 1)


def test_every_task_knows_its_place_in_the_file() -> None:
    assert [task.spec_path for task in walk(whole().tasks)] == [
        "tasks/0",
        "tasks/1",
        "tasks/1/each/task",
        "tasks/2",
        "tasks/2/parallel/tasks/0",
        "tasks/2/parallel/tasks/1",
        "tasks/2/parallel/tasks/1/each/task",
        "tasks/2/parallel/tasks/1/each/task/parallel/tasks/0",
        "tasks/3",
    ]
    assert whole().finally_tasks[0].spec_path == "finally/0"
    assert whole().tasks[1].children[0].path == ("tasks", 1, "each", "task")


def test_composites_have_their_fields() -> None:
    _, each, parallel, sub = (task.work for task in whole().tasks)
    assert isinstance(each, Each) and isinstance(parallel, Parallel) and isinstance(sub, Subjob)
    assert (each.var, each.concurrency, each.fail_fast) == ("chunk", 4, False)
    assert (parallel.fail_fast, len(parallel.tasks)) == (False, 2)
    assert (sub.detached, sub.auto_delete, sub.description) == (True, "1h", "a part")
    third = whole().tasks[2]
    assert third.continue_on_error and third.tags == ("wide",) and third.condition is not None
    inner = parallel.tasks[1].work
    assert isinstance(inner, Each) and (inner.var, inner.concurrency, inner.fail_fast) == ("item", 0, True)


def test_a_task_within_parallel_or_each_needs_no_name() -> None:
    names = [template.stored(task.name) for task in walk(whole().tasks)]
    assert names[4] == "task 1" and names[6] == "task"


def test_the_stored_form_gives_the_same_job() -> None:
    job = whole()
    again = stored_again(job)
    assert jobs.dump(again) == jobs.dump(job)
    assert again == job


def test_the_smallest_job_is_stored_with_what_is_set_only() -> None:
    job, _ = check("name: a\ntasks: [{name: b, image: x}]")
    assert jobs.dump(job) == {"name": "a", "tasks": [{"draft": {"name": "b", "image": "x"}}]}
    assert stored_again(job) == job


def test_json_is_read_as_yaml_is() -> None:
    text = json.dumps({"name": "a", "tasks": [{"name": "b", "image": "x", "cmd": ["{{ job.id }}"]}]})
    job, _ = job_schema.check(text.encode(), "json", HOST_ACCESS)
    assert job == check("name: a\ntasks: [{name: b, image: x, cmd: ['{{ job.id }}']}]")[0]


def test_a_leaf_is_opened_with_its_texts_evaluated_and_its_scripts_as_they_are() -> None:
    context = {"inputs": {"source": "{{ evil }}", "size": 720, "word": "abc", "on": True}}
    task = opened(stored_again(whole()).tasks[0], context)
    assert (task.name, task.main.image, task.queue) == ("probe {{ evil }}", "ffmpeg:720", "q720")
    assert task.main.env == {"SIZE": "720", "PLAIN": "1"}
    assert task.main.run == "docker inspect --format '{{ .Name }}' x"
    assert task.main.files == {"a.txt": "{{ left as it is }}", "list.txt": "size 720"}
    assert (task.pre[0].image, task.pre[0].cmd) == ("alpine:720", ("echo", "abc"))
    assert (task.post[0].run, task.post[0].always) == ("echo {{ }}", True)


def test_defaults_fill_what_a_leaf_does_not_set() -> None:
    job, _ = check("name: a\ndefaults: {queue: q, timeout: 1m}\ntasks: [{name: b, image: x, timeout: 5s}]")
    task = opened(job.tasks[0], {}, dict(job.defaults))
    assert (task.queue, task.timeout) == ("q", "5s")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("image", "Not an image", "image"),
        ("image", "localhost/x", "its registry is the host itself"),
        ("image", "127.0.0.1:5000/x", "its registry is an IP address"),
        ("queue", "!node", "not a valid queue name"),
        ("name", "", "the text is empty"),
        ("name", "a\x1b[2J", "the invisible character"),
        ("var", "1x", "not a valid variable name"),
        ("name", "x" * 257, "at most 256"),
    ],
)
def test_what_an_expression_yields_passes_the_rules_that_a_text_passes(
    field: str, value: str, words: str
) -> None:
    fields = {"name": "b", "image": "x"} | {field: "{{ inputs.v }}"}
    job, _ = check(f"name: a\ninputs: {{v: ''}}\ntasks: [{json.dumps(fields)}]")
    with pytest.raises(Invalid) as caught:
        opened(job.tasks[0], {"inputs": {"v": value}})
    assert caught.value.problems[0].path == field
    assert words in caught.value.problems[0].message + caught.value.problems[0].hint


def test_templates_are_files_with_the_rules_of_files() -> None:
    job, _ = check(
        "name: a\ninputs: {v: ''}\ntasks: [{name: b, image: x, templates: {a.txt: '{{ inputs.v }}'}}]"
    )
    with pytest.raises(Invalid, match="characters, at most 262144"):
        opened(job.tasks[0], {"inputs": {"v": "x" * 300_000}})


def test_the_values_of_the_inputs_are_those_given_else_the_defaults() -> None:
    _, values = check(
        WHOLE, word="abc", size="480", on="false", rate="2e1", names="[1]", extra='{"b": 1}', port="1"
    )
    assert values == {
        "source": "/srv/media/a.mov",
        "literal": "{{ secrets.x }}",
        "port": "1",
        "size": 480,
        "rate": 20.0,
        "on": False,
        "names": [1],
        "extra": {"b": 1},
        "word": "abc",
    }
    _, values = check(WHOLE, word="abc")
    assert (values["port"], values["size"], values["extra"]) == ("8080", 720, {"a": [1, 2.5, "x"]})


def test_an_input_without_a_value_is_nil() -> None:
    job, values = check(
        "name: a\ninputs: {n: {type: integer}}\ntasks: [{name: b, image: x, env: {N: '{{ inputs.n ?? 7 }}'}}]"
    )
    assert values == {}
    assert opened(job.tasks[0], {"inputs": values}).main.env == {"N": "7"}


def test_the_templates_of_a_task_are_its_own_with_their_paths() -> None:
    probe, split, _, inner = whole().tasks
    paths = {path for path, _ in probe.templates}
    assert paths == {
        ("if",), ("name",), ("image",), ("env", "SIZE"), ("queue",), ("pre", 0, "image"), ("pre", 0, "cmd", 1),
        ("templates", "list.txt"),
    }  # fmt: skip
    assert [path for path, _ in split.templates] == [("name",), ("each", "list")]
    assert [path for path, _ in inner.templates][:2] == [("name",), ("subjob", "name")]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
    | st.sampled_from(["{{ 1 }}", "{{", "{{ tasks.chunks }}", "5s", "x", "[1]", "{{ secrets.a }}", "{{ }}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    if isinstance(value, dict):
        return {key: replaced(item, path[1:], by) if key == path[0] else item for key, item in value.items()}
    return [replaced(item, path[1:], by) if index == path[0] else item for index, item in enumerate(value)]


FORM = yaml.safe_load(WHOLE.replace("  on: {type", '  "on": {type'))
PLACES = [path for path in places(FORM) if path]


@settings(max_examples=120, deadline=None, suppress_health_check=SLOW)
@given(st.sampled_from(PLACES), json_values)
def test_any_value_anywhere_is_read_or_refused_in_our_words(path: tuple[Any, ...], value: Any) -> None:
    text = json.dumps(replaced(FORM, path, value))
    try:
        job, values = job_schema.check(
            text.encode("utf-8", "surrogatepass"), "json", HOST_ACCESS, {"word": "abc"}
        )
    except Invalid as exc:
        assert all(problem.message and problem.hint and problem.line == 1 for problem in exc.problems)
    else:
        assert stored_again(job) == job
        json.dumps(values)


@settings(max_examples=100, deadline=None, suppress_health_check=SLOW)
@given(json_values)
def test_any_document_is_refused_in_our_words(value: Any) -> None:
    with pytest.raises(Invalid):
        job_schema.check(json.dumps(value).encode("utf-8", "surrogatepass"), "json", HOST_ACCESS)


#: Files in the shapes of Tork's own examples.
SHAPES = {
    "sequence": """
name: sample
description: two steps
output: "{{ trim(tasks.seven) }} and done"
inputs: {greeting: hello, count: 3, ratio: 0.50}
tasks:
  - name: say
    image: ubuntu:mantic
    run: echo -n "$TEXT" > $TORK_OUTPUT
    env: {TEXT: "{{ inputs.greeting }}"}
    var: said
  - name: count
    image: ubuntu:mantic
    run: echo -n $((COUNT + 4)) > $TORK_OUTPUT
    env: {COUNT: "{{ inputs.count }}", SAID: "{{ tasks.said }}"}
    var: seven
""",
    "parallel without names": """
name: side by side
tasks:
  - name: three at once
    parallel:
      tasks:
        - {image: "ubuntu:mantic", run: sleep 1}
        - {name: second, image: "ubuntu:mantic", run: sleep 2}
        - {name: third, image: "ubuntu:mantic", run: sleep 3, retry: {limit: 2, initialDelay: 1s, scalingFactor: 2}}
""",
    "each of a sequence": """
name: numbers
tasks:
  - name: numbers
    each:
      list: "{{ sequence(1, 6) }}"
      concurrency: 2
      task: {name: one, image: "ubuntu:mantic", run: echo $N, env: {N: "{{ item.value }}", I: "{{ item.index }}"}}
""",
    "split and stitch": """
name: split and stitch
inputs: {source: "https://example.org/a.mov", store: "http://store:9000"}
tasks:
  - name: length
    image: jrottenberg/ffmpeg:3.4-alpine
    entrypoint: [sh, -c]
    run: ffprobe -show_entries format=duration -of csv=p=0 "$SOURCE" > $TORK_OUTPUT
    env: {SOURCE: "{{ inputs.source }}"}
    var: length
  - name: chunks
    image: python:3.11-slim
    entrypoint: [python3]
    run: |
      import json, os
      parts = [{"start": s, "length": 20} for s in range(0, int(float(os.environ["LENGTH"])), 20)]
      open(os.environ["TORK_OUTPUT"], "w").write(json.dumps(parts))
    env: {LENGTH: "{{ tasks.length }}"}
    var: chunks
  - name: convert
    each:
      list: "{{ fromJSON(tasks.chunks) }}"
      task:
        name: "part {{ item.index }}"
        image: jrottenberg/ffmpeg:3.4-alpine
        run: ffmpeg -ss $START -t $LENGTH -i "$SOURCE" /tmp/$INDEX.mp4
        env:
          SOURCE: "{{ inputs.source }}"
          START: "{{ item.value.start }}"
          LENGTH: "{{ item.value.length }}"
          INDEX: "{{ item.index }}"
        mounts: [{type: volume, target: /tmp}]
        retry: {limit: 1}
        timeout: 120s
        post:
          - name: upload
            image: alpine:3.18.3
            run: wget --post-file=/tmp/$INDEX.mp4 $STORE/$JOB/$INDEX.mp4
            env: {STORE: "{{ inputs.store }}", JOB: "{{ job.id }}", INDEX: "{{ item.index }}"}
  - name: stitch
    image: jrottenberg/ffmpeg:3.4-alpine
    run: cat parts
    env: {COUNT: "{{ len(fromJSON(tasks.chunks)) }}"}
""",
    "subjobs": """
name: of jobs
inputs: {films: '["a", "b"]'}
tasks:
  - name: every film
    each:
      var: film
      list: "{{ fromJSON(inputs.films) }}"
      task:
        name: a job
        subjob:
          name: "film {{ film.value }}"
          inputs: {name: "{{ film.value }}"}
          output: "{{ tasks.done }}"
          tasks: [{name: convert, image: "ubuntu:mantic", run: echo, env: {N: "{{ inputs.name }}"}, var: done}]
""",
    "conditions": """
name: maybe
inputs: {run: "true"}
tasks:
  - {name: a, if: "{{ inputs.run == 'true' }}", image: "ubuntu:mantic", run: echo yes}
  - {name: b, if: "false", image: "ubuntu:mantic", run: echo no}
  - {name: c, if: "{{ 'x' in inputs ? inputs.x == '1' : false }}", image: "ubuntu:mantic", run: echo}
""",
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_file_in_the_shape_of_torks_examples_is_read(name: str) -> None:
    job, _ = check(SHAPES[name])
    assert stored_again(job) == job
