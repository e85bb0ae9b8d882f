"""PUT /nodes/{id}/drain: by id, name or a beginning; asked again; what cannot be drained is said in words."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from api.house import House
from engine.lifecycle import nodes
from engine.lifecycle.site import Site
from tests.support.rows import live_node


def _name(client: FlaskClient) -> str:
    return str((client.get("/nodes").json or [])[0]["name"])


@pytest.mark.parametrize("asked", ["id", "name", "beginning"])
def test_a_node_is_drained_by_what_names_it_and_twice_is_as_once(
    client: FlaskClient, house: House, asked: str
) -> None:
    live_node(house.db)
    word = {"id": "n1", "name": _name(client), "beginning": "n"}[asked]
    for _ in range(2):
        answer = client.put(f"/nodes/{word}/drain")
        assert answer.status_code == 200, answer.text
        assert answer.json["id"] == "n1"  # type: ignore[index]
        assert answer.json["state"] == "LEAVING"  # type: ignore[index]


def test_a_node_that_is_unknown_or_gone_is_refused_in_words(client: FlaskClient, house: House) -> None:
    unknown = client.put("/nodes/nowhere/drain")
    assert unknown.status_code == 404
    assert "there is no node 'nowhere'" in unknown.text
    live_node(house.db)
    site = Site(house.db, house.settings, house.installation)
    assert nodes.drain(site, "n1")
    assert nodes.leave(site, "n1")
    gone = client.put("/nodes/n1/drain")
    assert gone.status_code == 409
    assert "is LEFT already" in gone.text
