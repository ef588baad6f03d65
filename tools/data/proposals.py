"""Proposals and analytics: a few customers get most proposals, most plans are never measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tools.data.chance import Chance, Table, cuid

if TYPE_CHECKING:
    from collections.abc import Sequence

USER, CUSTOMER, PRODUCT, PROPOSAL, PART, SECTION, CONTENT, EXECUTION, ISSUE, EVENT, BASELINE, AUDIT = range(12)
STATUS = {"APPROVED": 40, "REJECTED": 25, "SUBMITTED": 15, "IN_REVIEW": 10, "DRAFT": 10}
TYPES = {"TEXT": 50, "TEMPLATE": 30, "IMAGE": 15, "VIDEO": 5}
SEVERITY = {"LOW": 50, "MEDIUM": 30, "HIGH": 15, "CRITICAL": 5}
PRODUCTS, HYPOTHESES, WORKFLOWS, CATEGORIES = 500, 8, 40, 12


def tables(rows: int, chance: Chance) -> Sequence[Table]:
    """Give the tables of about so many rows in all."""
    users, customers, proposals = max(5, rows // 500), max(10, rows // 200), rows // 5

    def user() -> str:
        return cuid(USER, chance.skewed(users))

    def of_proposal() -> str:
        return cuid(PROPOSAL, chance.below(proposals))

    def proposal(number: int) -> tuple[Any, ...]:
        status, created = chance.one_of(STATUS), chance.ago(1000)
        value = f"{chance.skewed(500_000)}.00" if chance.maybe(0.95) else None
        approved = chance.after(created, 40) if status == "APPROVED" else None
        customer = cuid(CUSTOMER, chance.skewed(customers))
        return cuid(PROPOSAL, number), chance.title(), status, customer, user(), value, approved, created

    def part(number: int) -> tuple[Any, ...]:
        product = cuid(PRODUCT, chance.skewed(PRODUCTS))
        return cuid(PART, number), of_proposal(), product, chance.randint(1, 20), f"{chance.randint(5, 900)}.90"

    def section(number: int) -> tuple[Any, ...]:
        where = cuid(PROPOSAL, number // 4 % proposals)
        return cuid(SECTION, number), where, number % 4 + 4 * (number // 4 // proposals), chance.title(), chance.text()

    def content(number: int) -> tuple[Any, ...]:
        said = (cuid(CONTENT, number), chance.one_of(TYPES), f"category {chance.skewed(CATEGORIES)}", chance.title())
        return (*said, chance.text(), chance.maybe(0.8), chance.ago(1000))

    def execution(number: int) -> tuple[Any, ...]:
        status, started = chance.one_of({"COMPLETED": 80, "RUNNING": 5, "WAITING": 10, "FAILED": 5}), chance.ago(1000)
        done = chance.after(started, 10) if status == "COMPLETED" else None
        return cuid(EXECUTION, number), of_proposal(), f"workflow {chance.skewed(WORKFLOWS)}", status, started, done

    def issue(number: int) -> tuple[Any, ...]:
        said = (cuid(ISSUE, number), chance.one_of({"proposal": 70, "product": 30}), of_proposal())
        status = chance.one_of({"FIXED": 85, "OPEN": 10, "IGNORED": 5})
        return (*said, chance.one_of(SEVERITY), status, chance.title(), chance.ago(700))

    def event(number: int) -> tuple[Any, ...]:
        measured = chance.maybe(0.3)
        target = chance.uniform(1, 100)
        actual = chance.uniform(1, 100) if measured else None
        gain = None if actual is None else max(-100.0, min(1000.0, 100 * (actual - target) / target))
        said = (cuid(EVENT, number), user(), f"H{1 + chance.skewed(HYPOTHESES)}", chance.ago(700))
        return (*said, target, actual, gain)

    def baseline(number: int) -> tuple[Any, ...]:
        metric = f"metric {chance.skewed(10)}"
        said = (cuid(BASELINE, number), f"H{1 + chance.skewed(HYPOTHESES)}", metric)
        return (*said, chance.uniform(1, 100), chance.ago(700))

    def audit(number: int) -> tuple[Any, ...]:
        action = chance.one_of({"VIEW": 60, "UPDATE": 30, "CREATE": 9, "DELETE": 1})
        return cuid(AUDIT, number), user(), action, "proposal", of_proposal(), '{"source": "web"}', chance.ago(700)

    return [
        Table("users", "id, email, name", users, lambda n: (cuid(USER, n), f"user{n}@example.com", f"User {n}")),
        Table("customers", "id, name", customers, lambda n: (cuid(CUSTOMER, n), f"Customer {n}")),
        Table(
            "products",
            "id, sku, name, price",
            PRODUCTS,
            lambda n: (cuid(PRODUCT, n), f"SKU-{n}", chance.title(), f"{chance.randint(5, 900)}.90"),
        ),
        Table(
            "proposals",
            "id, title, status, customer_id, created_by, value, approved_at, created_at",
            proposals,
            proposal,
        ),
        Table("proposal_products", "id, proposal_id, product_id, quantity, unit_price", rows // 4, part),
        Table("sections", "id, proposal_id, position, title, body", rows // 10, section),
        Table("content", "id, type, category, title, body, is_active, created_at", rows // 20, content),
        Table(
            "approval_executions",
            "id, proposal_id, workflow_id, status, started_at, completed_at",
            rows // 10,
            execution,
        ),
        Table(
            "validation_issues",
            "id, entity_type, entity_id, severity, status, message, detected_at",
            rows // 10,
            issue,
        ),
        Table(
            "hypothesis_validation_events",
            "id, user_id, hypothesis, timestamp, target_value, actual_value, performance_improvement",
            rows // 8,
            event,
        ),
        Table(
            "performance_baselines",
            "id, hypothesis, metric_name, baseline_value, collection_date",
            rows // 50,
            baseline,
        ),
        Table("audit_logs", "id, user_id, action, entity, entity_id, details, timestamp", rows // 10, audit),
    ]
