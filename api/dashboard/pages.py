"""The pages: `/` with the jobs, `/-/tasks/{id}` and `/-/jobs/{id}`; the paths without `/-` answer JSON.

A page of its own path, not one path with two answers: what `curl` gets never depends on an Accept header.
`/-/parts/…` answers pieces of these pages, by the same templates, for scripts that bring them up to date.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from flask import (
    Blueprint,
    Response,
    make_response,
    redirect,
    render_template,
    request,
    send_from_directory,
    url_for,
)
from werkzeug.wrappers import Response as AnyResponse

from api.context import get_context
from api.dashboard import detail, formats, overview
from api.queries import MOST_PAGES
from engine import __version__, errors
from engine.model.states import JobState
from engine.store import jobs

_STATIC = Path(__file__).with_name("static")
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: Rows that one request may ask for again.
_MOST_ROWS = 100
#: Hex signs from which a search is taken for an id.
_ID_SIGNS = 8
_YEAR_SECONDS = 31_536_000

blueprint = Blueprint("dashboard", __name__, template_folder="templates")
blueprint.record_once(lambda state: formats.install(state.app.jinja_env.filters))


def _digest() -> str:
    """Changes with any static file: it stands in their paths, so browsers may keep them for good."""
    found = hashlib.sha256()
    for path in sorted(_STATIC.iterdir()):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()[:12]


_VERSION = _digest()


@blueprint.get("/")
def jobs_page() -> AnyResponse | str:
    """What needs somebody, and the jobs; `q`, `state` and `page` ask for some of them."""
    context, asked = get_context(), _asked()
    if (job_id := _named(asked.q)) is not None:
        return redirect(url_for("dashboard.job_page", id=job_id), 303)
    found = overview.job_list(context, asked)
    return render_template(
        "jobs.html", asked=asked, found=found, summary=overview.summary(context), now=found.now
    )


@blueprint.get("/-/jobs/<id>")
def job_page(id: str) -> AnyResponse | str:
    """A job; one with a single task is shown as that task."""
    shown = detail.job_shown(get_context(), id)
    if len(shown.tasks) == 1 and "all" not in request.args:
        return redirect(url_for("dashboard.task_page", id=shown.tasks[0][0].id), 303)
    return render_template("job.html", shown=shown, now=shown.now)


@blueprint.get("/-/tasks/<id>")
def task_page(id: str) -> str:
    """A task: chain, log, attempts, events, what was asked for."""
    shown = detail.task_shown(get_context(), id)
    log, spec = detail.log_shown(get_context(), shown), detail.spec_text(shown.task)
    return render_template("task.html", shown=shown, log=log, spec=spec, now=shown.now)


@blueprint.get("/-/parts/summary")
def summary_part() -> str:
    """All of the first page but the jobs."""
    found = overview.summary(get_context())
    return render_template("summary.html", summary=found, asked=_asked(), now=found.now)


@blueprint.get("/-/parts/rows")
def rows_part() -> str:
    """Rows of the list: `ids`, separated by commas, and with `newest` those that came meanwhile."""
    ids = request.args.get("ids", "").split(",")[:_MOST_ROWS]
    found = overview.rows(get_context(), ids, newest="newest" in request.args)
    return render_template("rows.html", found=found, now=found.now)


@blueprint.get("/-/parts/jobs/<id>")
def job_part(id: str) -> str:
    """What changes on a job's page."""
    shown = detail.job_shown(get_context(), id)
    return render_template("job_parts.html", shown=shown, now=shown.now)


@blueprint.get("/-/parts/tasks/<id>")
def task_part(id: str) -> str:
    """What changes on a task's page, but its log."""
    shown = detail.task_shown(get_context(), id)
    return render_template("task_parts.html", shown=shown, now=shown.now)


@blueprint.get("/-/static/<version>/<name>")
def static_file(version: str, name: str) -> Response:
    """Sheet, scripts, symbols and font."""
    kept = _YEAR_SECONDS if version == _VERSION else 0
    answer = send_from_directory(
        _STATIC, name, mimetype=_KINDS.get(Path(name).suffix), max_age=kept, conditional=True
    )
    answer.headers["Cache-Control"] = f"public, max-age={kept}"
    return answer


@blueprint.app_template_global("static")
def _static(name: str) -> str:
    return url_for("dashboard.static_file", version=_VERSION, name=name)


@blueprint.context_processor
def _everywhere() -> dict[str, Any]:
    return {"version": __version__, "installation": get_context().installation}


@blueprint.after_request
def _secure(answer: Response) -> Response:
    answer.headers["Content-Security-Policy"] = _POLICY
    return answer


@blueprint.errorhandler(errors.NotFound)
def not_found(exc: errors.NotFound) -> Response:
    """There is no such job or task."""
    return _refusal(404, f"There is no {exc.what} {formats.cut(exc.id, 40)}", "It may have been removed.")


@blueprint.errorhandler(errors.Ambiguous)
def ambiguous(exc: errors.Ambiguous) -> Response:
    """A shortened id fits several."""
    return _refusal(409, f"{formats.cut(exc.id, 40)} fits more than one {exc.what}", "Write more of it.")


@blueprint.errorhandler(errors.StoreUnavailable)
def store_unavailable(exc: errors.StoreUnavailable) -> Response:
    """The database is away; its words stay in the log."""
    return _refusal(
        503, "The database does not answer", "What was submitted is kept. Load this page again soon."
    )


def _refusal(status: int, head: str, rest: str) -> Response:
    answer = make_response(render_template("refusal.html", head=head, rest=rest), status)
    if status == 503:
        answer.headers["Retry-After"] = "1"
    return answer


def _asked() -> overview.Asked:
    """What stands in the address; what cannot be meant is left out rather than refused to a person."""
    page = request.args.get("page", 1, type=int)
    q = formats.cut(request.args.get("q", ""), 200)
    state = request.args.get("state", "").upper()
    known = JobState(state) if state in JobState.__members__ else None
    return overview.Asked(min(max(page, 1), MOST_PAGES), q, known)


def _named(q: str) -> str | None:
    """The job that a search names by an id, None when it names none."""
    if not _ID_SIGNS <= len(q) <= 32:
        return None
    try:
        with get_context().db.read() as c:
            return jobs.resolve(c, q).job_id
    except (errors.NotFound, errors.Ambiguous):
        # Then they are words to look for.
        return None
