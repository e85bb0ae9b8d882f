"""Guards that a mutant weakens: each must lead to a broken promise in some bound, or the guard has no proof."""

from __future__ import annotations

#: verb: the columns that a mutant leaves out of its WHERE, one at a time.
LEFT_OUT = {
    "mark": "state token",
    "claim": "state attempt delivery own_live",
    "link": "token node prev once",
    "takeover": "state attempt delivery lapsed own_live",
    "restart": "state delivery lapsed looked",
    "confirm": "state attempt delivery owner prev once",
    "finish": "state attempt delivery cid link_state",
    "give-back": "state token",
    "cancel": "state",
}
CHANGED = {
    "mark-first": "marks SCHEDULED, then publishes",
    "claim-scheduled-only": "claim refuses PENDING",
    "claim-joining": "a node claims before it is LIVE",
    "takeover-found": "a take-over of what was not found here",
    "takeover-live-only": "a JOINING node may not take over",
    "finish-token": "finish asks neither attempt nor delivery",
    "takeover-same-token": "a take-over does not raise the delivery",
    "restart-same-token": "a restart does not raise the delivery",
    "restart-raises-attempt": "a crash costs a retry",
    "no-takeover": "nobody adopts, nobody looks",
    "no-self-takeover": "nobody looks after a live node's row without a thread",
    "self-takeover-busy": "a self-take-over although a thread works on it",
    "same-node-id": "a fenced or restarted node keeps its id",
    "no-bound": "no max_crashes",
    "name-no-origin": "names without the origin: (task, attempt, link)",
    "leave-gives-all": "a leaving worker gives back what an older delivery may have begun",
    "refused-unlooked": "start refused -> given back without a look at the container",
    "refused-force": "start refused -> the container is removed by force",
    "refused-uses-retry": "a machine that cannot begin a link costs a retry",
    "refused-no-bound": "no bound of the machines' refusals",
    "crash-left": "a take-over after LEFT counts as a crash",
    "crash-leaving": "a node that lapses while LEAVING becomes LAPSED",
    "crash-no-reset": "a long hold does not start the count again",
    "crash-self": "a self-take-over counts",
    "looked-first": "looked is set before the take-overs",
    "looked-late": "the lapse number is read after the list",
    "lapse-sequence": "lapse numbers are not in commit order: looked may be higher before anybody looked",
    "restart-joining": "JOINING nodes do not block a restart",
    "restart-deaf": "a node with runtime_ok=false blocks a restart",
    "timeout-lapsed": "a reconciler times out what a living node has",
    "timeout-looked": "a time-out does not wait until every node has looked since the lapse",
    "find-no-created": "a created container is not taken over",
    "find-no-volume": "a volume alone is not taken over",
    "find-no-exited": "an exited container is not taken over",
    "join-blind": "LIVE at once, without a list",
    "join-no-stale": "adopts, but removes nothing before LIVE",
    "join-no-adopt": "removes, but adopts nothing before LIVE",
    "join-once": "a refused take-over does not begin the join again",
    "ok-at-once": "Docker answers: runtime_ok=true without a new join",
    "name-delivery": "the adopter uses a name of its own",
    "no-confirm": "create -> start with no transaction between",
    "created-start": "found created -> confirm and start it",
    "created-force": "found created -> remove by force",
    "no-revoke": "found created -> plain remove",
    "created-own": "found created under my own token -> start it",
    "newer-followed": "a newer delivery's container is no reason to drop",
    "exited-start": "found exited -> start it",
    "start-by-name": "started by name, not by id",
    "409-start": "409 -> start that one",
    "no-purge": "former runs on this daemon are not removed before create",
    "purge-all": "newer runs are removed as well",
    "gone-is-failed": "404 -> the task failed",
    "no-volume-check": "main starts without a look at the volume's label",
    "late-clean": "a refused finisher removes container and volume",
    "remove-first": "removed before the end is committed",
    "sweep-order": "the sweep reads rows, then lists",
    "sweep-pending": "to the sweep, PENDING is live",
    "sweep-attempt": "to the sweep, all of the attempt is live, of any origin",
    "sweep-lapsed": "to the sweep, what a lapsed node owns is dead",
    "sweep-by-name": "the sweep removes by name, not by id",
    "no-sweep": "only the finisher removes",
}
MUTANTS = {
    f"{verb}-{column}": f"{verb}: WHERE without {column}"
    for verb, columns in LEFT_OUT.items()
    for column in columns.split()
} | CHANGED

#: The mutant in force in this process; "": the protocol as it is.
planted = ""


def plant(name: str) -> None:
    """Plant a mutant, or none with ""."""
    global planted
    assert not name or name in MUTANTS, name
    planted = name


def holds(verb: str, **where: bool) -> bool:
    """Return whether every column of a compare-and-set matches, except the one that the planted mutant leaves out."""
    return all(ok or planted == f"{verb}-{column}" for column, ok in where.items())
