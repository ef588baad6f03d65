"""What the application asks its database."""

from __future__ import annotations

from sqlalchemy import text

TOP = text("""
    select rank, name, country, points from ranking
    where cast(:country as text) is null or country = :country
    order by rank, name limit :number
""")
FRESHNESS = text("""
    select fresh_at, pgopt.is_fresh('public.ranking', '30 seconds') as is_fresh
    from pgopt.freshness where view_name = 'ranking'
""")
SCORE = text("update players set points = points + :points where name = :name returning points")
HIDE = text("""
    insert into profiles (player_id, hidden) select id, true from players where name = :name
    on conflict (player_id) do update set hidden = true returning player_id
""")
PLAYERS = text("""
    insert into players (name, points)
    select 'player ' || n, 10 * n from generate_series(1, 999) n where not exists (select from players)
    union all select 'ada', 20000 where not exists (select from players)
""")
PROFILES = text("""
    insert into profiles (player_id, country)
    select id, (array['NL', 'SE', 'PT', 'JP'])[1 + id % 4] from players where not exists (select from profiles)
""")
REFRESH = text("select * from pgopt.refresh('public.ranking')")
