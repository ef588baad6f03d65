"""Text that becomes SQL."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgopt import InvalidOperation
from pgopt.server.quoting import NAME_BYTES, check_name, column, column_name, ident, literal, name_of, options, render

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


@pytest.mark.parametrize(
    ("text", "wanted", "name"),
    [
        ("status", '"status"', "status"),
        ("  status ", '"status"', "status"),
        ("userId", '"userId"', "userId"),
        ("userId desc", '"userId" desc', "userId"),
        ("created_at desc nulls last", '"created_at" desc nulls last', "created_at"),
        ("created_at\n  DESC", '"created_at" DESC', "created_at"),
        ("order", '"order"', "order"),
        ("größe", '"größe"', "größe"),
        ("a$1", '"a$1"', "a$1"),
        ('"order"', '"order"', "order"),
        ('"first name" desc', '"first name" desc', "first name"),
        ('"say ""hi"""', '"say ""hi"""', 'say "hi"'),
        ('"100%" desc', '"100%" desc', "100%"),
        ('title collate "de_DE" desc', '"title" collate "de_DE" desc', "title"),
        ("title gin_trgm_ops", '"title" gin_trgm_ops', "title"),
        ("title gist_trgm_ops(siglen = 32)", '"title" gist_trgm_ops(siglen = 32)', "title"),
        ('title "My"."ops" desc', '"title" "My"."ops" desc', "title"),
        ("lower(title)", "lower(title)", None),
        ("lower (title) desc", "lower (title) desc", None),
        ('"Lower"(title)', '"Lower"(title)', None),
        ("app.slug(title)", "app.slug(title)", None),
        ("(a + b) desc", "(a + b) desc", None),
        (" ((a ->> 'x')::int) ", "((a ->> 'x')::int)", None),
        ("to_tsvector('english', body)", "to_tsvector('english', body)", None),
    ],
)
def test_column_is_a_name_or_an_expression(text: str, wanted: str, name: str | None) -> None:
    assert render(column(text)) == wanted
    assert column_name(text) == name


@given(TEXT)
def test_quoted_name_stands_for_itself(name: str) -> None:
    quoted = render(ident(name))
    assert column_name(quoted) == name
    assert render(column(quoted + " desc")) == quoted + " desc"


@given(st.lists(TEXT, min_size=1, max_size=4))
def test_name_of_keeps_what_fits_and_cuts_the_rest(parts: list[str]) -> None:
    name, whole = name_of(*parts), "_".join(parts)
    assert len(name.encode()) <= NAME_BYTES
    if len(whole.encode()) <= NAME_BYTES:
        assert name == whole
    else:
        assert name != whole
        assert whole.startswith(name.rpartition("_")[0])


@pytest.mark.parametrize("letter", ["x", "ü", "名", "🐘"])
def test_long_names_do_not_collide(letter: str) -> None:
    made = {name_of("ix", letter * 70, str(number)) for number in range(500)}
    assert len(made) == 500
    assert max(len(name.encode()) for name in made) <= NAME_BYTES


def test_check_name_counts_bytes() -> None:
    check_name("ü" * 31, "an index")
    with pytest.raises(
        InvalidOperation, match="of an index has 64 bytes, and PostgreSQL keeps 63: choose a shorter one"
    ):
        check_name("ü" * 32, "an index")


@pytest.mark.parametrize(("name", "said"), [("", "an index has an empty name"), ("a\0b", "holds a zero byte")])
def test_check_name_refuses_what_postgresql_cannot_hold(name: str, said: str) -> None:
    with pytest.raises(InvalidOperation, match=said):
        check_name(name, "an index")


def test_options_are_quoted() -> None:
    values = {"fillfactor": 70, "autosummarize": True, "toast.fast": False, "buffering": "off", 'a"b': "it's"}
    assert render(options(values)) == (
        """"fillfactor" = 70, "autosummarize" = 'on', "toast"."fast" = 'off', "buffering" = 'off', "a""b" = 'it''s'"""
    )


def test_literals_survive_backslashes() -> None:
    assert render(literal(r"\d' % :x")) == r" E'\\d'' % :x'"
