from tests.integration.test_preview import *
def test_x(run_project, tickets):
    tickets.run(
        "create table parts (id int, at date) partition by range (at);"
        "create table parts_1 partition of parts for values from ('2025-01-01') to ('2026-01-01');"
        "create table parts_2 partition of parts for values from ('2026-01-01') to ('2027-01-01');"
        "insert into parts select g, date '2025-06-01' + g % 400 from generate_series(1, 1000) g; analyze parts"
    )
    run_project.revision("a", index("ix_parts", "parts", "id"))
    print(preview(run_project).revisions)
    assert 0
