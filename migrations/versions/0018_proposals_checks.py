"""What may be a value, a quantity and an improvement of proposals, checked while they are in use."""

from __future__ import annotations

from functools import partial

from pgopt import operations as o
from pgopt import reversible

revision = "0018"
down_revision = "0017"

check = partial(o.CreateCheckConstraintOnline, schema="proposals")

upgrade, downgrade = reversible(
    check("check_value_positive", "proposals", "value is null or value >= 0"),
    check("check_quantity_positive", "proposal_products", "quantity > 0"),
    check(
        "check_improvement_range",
        "hypothesis_validation_events",
        "performance_improvement >= -100 and performance_improvement <= 1000",
    ),
)
