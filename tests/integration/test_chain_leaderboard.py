"""The leaderboard of the chain that counts from kept places is the ranking of all users."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.test_chain import REVISIONS, alembic, alone
from tests.integration.test_headline import nodes

if TYPE_CHECKING:
    from tests.databases import Database

USERS = """
insert into musclemap.users (username, email, display_name, xp)
    select 'user ' || n, n || '@example.com', 'User', case when n % 3 = 0 then 300 else n * n % 700 end
    from generate_series(1, 2000) n;
insert into musclemap.user_profile_extended (user_id, country, ghost_mode, leaderboard_opt_in)
    select id, 'NZ', xp % 10 = 3, nullif(xp % 10, 4) <> 5 from musclemap.users where xp % 3 > 0
"""
LEADERBOARD = "select user_id, username, country, xp, rank from musclemap.leaderboard order by user_id"
RANKING = """
select u.id, username, p.country, xp, rank() over (order by xp desc)
from musclemap.users u left join musclemap.user_profile_extended p on user_id = u.id
where coalesce(p.leaderboard_opt_in, true) and not coalesce(p.ghost_mode, false)
order by u.id
"""
WIN = "update musclemap.users set xp = xp + 350 where username in ('user 7', 'user 70', 'user 700', 'user 1400')"


@pytest.fixture
def leaderboard(database: Database) -> Database:
    """The users of musclemap with their leaderboard, and none of what else is there at head."""
    alembic("upgrade", REVISIONS[0], database=database)
    alone("upgrade", "0011", database)
    database.run(USERS)
    for revision in ("0031", "0039", "0040"):
        alone("upgrade", revision, database)
    return database


def test_each_place_is_that_of_the_ranking(leaderboard: Database) -> None:
    assert leaderboard.rows(LEADERBOARD) == leaderboard.rows(RANKING)
    assert leaderboard.value("select count(*) from musclemap.mv_xp_places") > 5


def test_the_first_places_are_never_old_and_the_others_are_right_again_after_a_refresh(leaderboard: Database) -> None:
    leaderboard.run(WIN)
    found, wanted = leaderboard.rows(LEADERBOARD), leaderboard.rows(RANKING)
    assert found != wanted, "some have passed a place that is kept"
    ranks = [(is_there, should_be) for (*_, is_there), (*_, should_be) in zip(found, wanted, strict=True)]
    assert all(is_there == should_be for is_there, should_be in ranks if should_be < 90)
    assert max(abs(is_there - should_be) for is_there, should_be in ranks) <= 4, "as many as have won"
    leaderboard.run("call pgopt.refresh_all(array['musclemap.mv_xp_places']::regclass[])")
    assert leaderboard.rows(LEADERBOARD) == leaderboard.rows(RANKING)


def test_nobody_is_counted_from_the_top(leaderboard: Database) -> None:
    leaderboard.run("vacuum (analyze) musclemap.users")
    # of whom some share their place with many
    one = [f"where username = '{each}'" for each in ("user 3", "user 40", "user 70")]
    for asked in ("order by xp desc limit 20", *one):
        query = f"explain (analyze, format json) select username, xp, rank from musclemap.leaderboard {asked}"
        ((plan,),) = leaderboard.rows(query)
        found = list(nodes(plan[0]["Plan"]))
        assert found[0]["Actual Rows"] > 0
        assert ("Seq Scan", "users") not in {(node["Node Type"], node.get("Relation Name")) for node in found}
        read = [node for node in found if node.get("Index Name") == "idx_users_leaderboard"]
        assert read
        assert all(node["Node Type"] == "Index Only Scan" and node["Actual Rows"] < 100 for node in read)
