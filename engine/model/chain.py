"""Decisions after the end of a link. Pure: rows in, decision out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.model.records import Link
from engine.model.states import LinkState


@dataclass(frozen=True)
class AfterLink:
    """Decision after a link: the next link, or the end of the attempt."""

    #: Index of the link that runs next; None when the attempt has ended.
    next_index: int | None
    #: Links that will not run.
    skipped: tuple[int, ...]
    #: True when a link has failed, so the attempt fails (at the latest after its `always` posts).
    failed: bool
    #: First failed link; its error becomes the attempt's.
    culprit: Link | None


def after_link(links: Sequence[Link]) -> AfterLink:
    """Decide what follows in a run in which a link has just ENDED.

    While no link has failed, the next one in order runs. After a failure only the `always` posts run, and all other
    waiting links are skipped (Tork skips all links after a failure and has no `always`).
    """
    culprit = next((link for link in links if link.state is LinkState.ENDED and link.exit_code != 0), None)
    waiting = [link for link in links if link.state not in (LinkState.ENDED, LinkState.SKIPPED)]
    if culprit is None:
        return AfterLink(waiting[0].index if waiting else None, (), False, None)
    posts = [link for link in waiting if link.kind == "post" and link.always]
    skipped = tuple(link.index for link in waiting if link not in posts)
    return AfterLink(posts[0].index if posts else None, skipped, True, culprit)


def may_begin(links: Sequence[Link], index: int) -> bool:
    """Return whether a link may begin: all earlier links succeeded, or all are closed and it is an `always` post."""
    before = [link for link in links if link.index < index]
    candidate = next((link for link in links if link.index == index), None)
    if candidate is None or candidate.state not in (LinkState.WAITING, LinkState.CONFIRMED):
        return False
    if all(link.state is LinkState.ENDED and link.exit_code == 0 for link in before):
        return True
    closed = all(link.state in (LinkState.ENDED, LinkState.SKIPPED) for link in before)
    return closed and candidate.kind == "post" and candidate.always


def first_open(links: Sequence[Link]) -> int | None:
    """Return the index of the link that runs now or next, where an adopter continues; None when all are closed."""
    return next(
        (link.index for link in links if link.state in (LinkState.WAITING, LinkState.CONFIRMED)), None
    )
