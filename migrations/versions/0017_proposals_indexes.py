"""Lists, workflows, issues and analytics of proposals by what they filter and order by."""

from __future__ import annotations

from functools import partial

from pgopt import operations as o
from pgopt import reversible

revision = "0017"
down_revision = "0016"

index = partial(o.CreateIndexConcurrently, schema="proposals")

upgrade, downgrade = reversible(
    index(
        "idx_hypothesis_events_user_timestamp_hypothesis",
        "hypothesis_validation_events",
        ["user_id", "timestamp desc", "hypothesis"],
    ),
    index("idx_proposal_status_customer_created", "proposals", ["status", "customer_id", "created_at desc"]),
    index("idx_content_search_optimization", "content", ["type", "is_active", "category", "created_at desc"]),
    index(
        "idx_approval_execution_status_workflow_started",
        "approval_executions",
        ["status", "workflow_id", "started_at desc"],
    ),
    index(
        "idx_validation_issues_entity_severity_status",
        "validation_issues",
        ["entity_type", "severity", "status", "detected_at desc"],
    ),
    # what was measured, and no plans
    index(
        "idx_hypothesis_validation_compound",
        "hypothesis_validation_events",
        ["hypothesis", "user_id", "timestamp desc", "target_value", "actual_value"],
        where="actual_value is not null",
    ),
    index(
        "idx_performance_baseline_lookup",
        "performance_baselines",
        ["hypothesis", "metric_name", "collection_date desc"],
    ),
)
