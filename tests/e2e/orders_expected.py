"""The report of the demo agent, computed without Treadle: plain Python on the same file."""

import csv
import io
from pathlib import Path

ORDERS = Path(__file__).parents[2] / "deploy" / "examples" / "data" / "orders.csv"
SMALLEST = 250


def expected_report(contents: str, smallest: int = SMALLEST) -> str:
    """What `deploy/examples/orders-report.yaml` must print for CSV text `contents`."""
    totals: dict[str, tuple[int, float]] = {}
    for row in csv.DictReader(io.StringIO(contents)):
        amount = float(row["quantity"]) * float(row["unit_price"])
        if row["status"] == "delivered" and amount >= smallest:
            orders, revenue = totals.get(row["category"], (0, 0.0))
            totals[row["category"]] = orders + 1, revenue + amount
    all_orders = sum(orders for orders, _ in totals.values())
    all_revenue = sum(revenue for _, revenue in totals.values())
    lines = [
        f"# Delivered orders from {smallest} up",
        "",
        "| Category | Orders | Revenue | Average | Share |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, (orders, revenue) in sorted(totals.items(), key=lambda item: item[1][1], reverse=True):
        lines.append(f"| {name} | {orders} | {revenue:,.2f} | {revenue / orders:,.2f} | {100 * revenue / all_revenue:.1f} % |")
    average = all_revenue / all_orders if all_orders else 0
    lines.append(f"| **Total** | **{all_orders}** | **{all_revenue:,.2f}** | {average:,.2f} | {'100.0 %' if all_orders else ''} |")
    return "\n".join(lines)
