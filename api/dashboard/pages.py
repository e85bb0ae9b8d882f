"""Views of the pages: `/` with the jobs, `/-/tasks/{id}`, `/-/jobs/{id}`; the paths without `/-` answer JSON.

Page and JSON have a path each, so the answer to `curl` never depends on an Accept header.
`/-/parts/…` renders parts of these pages by the same templates, for the scripts that update them.
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

from api.context import get_context, installation_id
from api.dashboard import detail, formats, overview
from api.queries import MOST_PAGES
from engine import __version__, errors
from engine.model.log_gap import GAP
from engine.model.states import JobState
from engine.store import jobs

_STATIC = Path(__file__).with_name("static")
_MEDIA_TYPES = {
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
#: Most rows that one request may ask for.
_MOST_ROWS = 100
_YEAR_SECONDS = 31_536_000

blueprint = Blueprint("dashboard", __name__, template_folder="templates")
blueprint.record_once(lambda state: formats.install(state.app.jinja_env.filters))


def _digest() -> str:
    """Return a digest of all static files: it is part of their paths, so browsers may cache them for ever."""
    digest = hashlib.sha256()
    for path in sorted(_STATIC.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


_VERSION = _digest()


@blueprint.get("/")
def jobs_page() -> AnyResponse | str:
    """Show alerts and jobs; `q`, `state` and `page` select jobs, and an id in `q` opens its job."""
    context, query = get_context(), _query()
    if (job_id := _job_of_id(query.q)) is not None:
        return redirect(url_for("dashboard.job_page", id=job_id), 303)
    job_list, summary = overview.job_list(context, query), overview.summary(context)
    return render_template("jobs.html", query=query, jobs=job_list, summary=summary, now=job_list.now)


@blueprint.get("/-/jobs/<id>")
def job_page(id: str) -> AnyResponse | str:
    """Show a job; redirect to the task of a job with a single task, unless `all` is given."""
    shown = detail.job_page(get_context(), id)
    if len(shown.tasks) == 1 and "all" not in request.args:
        return redirect(url_for("dashboard.task_page", id=shown.tasks[0][0].id), 303)
    return render_template("job.html", shown=shown, now=shown.now)


@blueprint.get("/-/tasks/<id>")
def task_page(id: str) -> str:
    """Show a task: chain, log, attempts, events, spec."""
    shown = detail.task_page(get_context(), id)
    log, spec = detail.log_tail(get_context(), shown), detail.spec_text(shown.task)
    return render_template("task.html", shown=shown, log=log, gap=GAP, spec=spec, now=shown.now)


@blueprint.get("/-/parts/summary")
def summary_part() -> str:
    """Render the first page except the jobs."""
    summary = overview.summary(get_context())
    return render_template("summary.html", summary=summary, query=_query(), now=summary.now)


@blueprint.get("/-/parts/rows")
def rows_part() -> str:
    """Render rows of the list: `ids`, separated by commas, and with `newest` also the newest jobs."""
    ids = request.args.get("ids", "").split(",")[:_MOST_ROWS]
    job_list = overview.rows(get_context(), ids, newest="newest" in request.args)
    return render_template("rows.html", jobs=job_list, now=job_list.now)


@blueprint.get("/-/parts/jobs/<id>")
def job_part(id: str) -> str:
    """Render the changing parts of a job's page."""
    shown = detail.job_page(get_context(), id)
    return render_template("job_parts.html", shown=shown, now=shown.now)


@blueprint.get("/-/parts/tasks/<id>")
def task_part(id: str) -> str:
    """Render the changing parts of a task's page, except the log."""
    shown = detail.task_page(get_context(), id)
    return render_template("task_parts.html", shown=shown, now=shown.now)


@blueprint.get("/-/static/<version>/<name>")
def static_file(version: str, name: str) -> Response:
    """Send the style sheet, a script, an icon or the font."""
    max_age = _YEAR_SECONDS if version == _VERSION else 0
    answer = send_from_directory(
        _STATIC, name, mimetype=_MEDIA_TYPES.get(Path(name).suffix), max_age=max_age, conditional=True
    )
    answer.headers["Cache-Control"] = f"public, max-age={max_age}"
    return answer


@blueprint.app_template_global("static")
def _static(name: str) -> str:
    return url_for("dashboard.static_file", version=_VERSION, name=name)


@blueprint.context_processor
def _everywhere() -> dict[str, Any]:
    return {"version": __version__, "installation": installation_id()}


@blueprint.after_request
def _secure(answer: Response) -> Response:
    answer.headers["Content-Security-Policy"] = _POLICY
    return answer


@blueprint.errorhandler(errors.NotFound)
def not_found(exc: errors.NotFound) -> Response:
    """Show that no such job or task exists."""
    return _error_page(
        404, f"There is no {exc.what} {formats.one_line(exc.id, 40)}", "It may have been removed."
    )


@blueprint.errorhandler(errors.Ambiguous)
def ambiguous(exc: errors.Ambiguous) -> Response:
    """Show that a shortened id matches several jobs or tasks."""
    title = f"{formats.one_line(exc.id, 40)} matches more than one {exc.what}"
    return _error_page(409, title, "Add more characters of the id.")


@blueprint.errorhandler(errors.StoreUnavailable)
def store_unavailable(exc: errors.StoreUnavailable) -> Response:
    """Show that the database does not answer, without the driver's message."""
    detail = "Submitted jobs are kept. Reload this page in a moment."
    if isinstance(exc, errors.StoreDamaged):
        return _error_page(503, "The database is damaged", "Its operator must restore a backup.")
    return _error_page(503, "The database does not answer", detail)


def _error_page(status: int, title: str, detail: str) -> Response:
    answer = make_response(render_template("error.html", title=title, detail=detail), status)
    if status == 503:
        answer.headers["Retry-After"] = "1"
    return answer


def _query() -> overview.JobQuery:
    """Return the query of the address; parameters that make no sense are ignored, because people type them."""
    page = request.args.get("page", 1, type=int)
    q = formats.one_line(request.args.get("q", ""), 200)
    state = request.args.get("state", "").upper()
    return overview.JobQuery(
        min(max(page, 1), MOST_PAGES), q, JobState(state) if state in JobState.__members__ else None
    )


def _job_of_id(q: str) -> str | None:
    """Return the job whose id, or whose task's id, is searched for; None when the search is for words."""
    if not jobs.SHORTEST_ID <= len(q) <= 32:
        return None
    try:
        with get_context().installation.db.read() as c:
            return jobs.resolve(c, q).job_id
    except (errors.NotFound, errors.Ambiguous):
        return None
