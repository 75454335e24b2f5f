"""What must hold of a store at any time, whatever happened to it."""

from typing import Any

import psycopg

from identity.verify import verify


def check_store(url: str) -> None:
    """Assert that what is held is the fold of what was said, without gaps, with nothing left over (I2 to I4, I15)."""
    report = verify(url)
    assert report.is_clean, report.shown


def values_in(url: str, *customer_ids: str) -> list[dict[str, Any] | None]:
    """Return what each customer holds, by name of field, straight from the database; None for one that is not there."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT customer_id, fields FROM customer WHERE customer_id = ANY (%s)", [list(customer_ids)]
        ).fetchall()
    found = {
        customer: {name: held[0] for name, held in fields.items() if held[0] is not None} for customer, fields in rows
    }
    return [found.get(customer_id) for customer_id in customer_ids]


def currents_in(url: str, *visitor_ids: str) -> list[str | None]:
    """Return whose each visitor is, straight from the database."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT visitor_id, customer_id FROM visitor WHERE visitor_id = ANY (%s)", [list(visitor_ids)]
        ).fetchall()
    found: dict[str, str | None] = dict(rows)
    return [found.get(visitor_id) for visitor_id in visitor_ids]
