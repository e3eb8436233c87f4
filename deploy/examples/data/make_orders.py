"""Writes orders.csv, the input of the demo agent: the orders of a shop in one year. The same on every run.

Usage: python deploy/examples/data/make_orders.py
"""

import csv
import datetime as dt
import random
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

SEED = 20260412
ORDERS = 2400
FIRST_DAY = dt.date(2025, 1, 1)
DAYS = 365
HEADER = ("order_id", "date", "country", "category", "product", "quantity", "unit_price", "status")

# Category: products with their list prices, in the shop's currency.
PRODUCTS = {
    "Books": {"Atlas of Rivers": "48.00", "Bread at Home": "29.90", "The Long Winter": "14.50", "Field Guide, Birds": "22.00"},
    "Electronics": {"Headphones": "129.00", "E-Reader": "149.90", "Smart Plug": "19.95", "27-inch Monitor": "289.00"},
    "Furniture": {"Desk, Oak": "449.00", "Office Chair": "279.00", "Bookshelf": "159.00", "Floor Lamp": "89.50"},
    "Garden": {"Hose, 25 m": "39.95", "Raised Bed": "119.00", "Pruning Shears": "34.90", "Bird Bath": "64.00"},
    "Kitchen": {"Cast Iron Pan": "59.90", "Knife Set": "139.00", "Kettle": "44.50", "Stand Mixer": "329.00"},
    "Office": {"Notebook, 5 pcs": "17.50", "Fountain Pen": "54.00", "Paper, 10 reams": "42.90", "Document Shredder": "98.00"},
    "Sports": {"Yoga Mat": "32.00", "Dumbbells, 2 x 10 kg": "74.90", "Running Belt": "24.50", "Tent, 3 persons": "239.00"},
    "Toys": {"Wooden Train": "49.90", "Building Bricks": "69.00", "Card Game": "12.90", "Telescope": "109.00"},
}
COUNTRIES = {"DE": 30, "FR": 18, "NL": 12, "AT": 10, "PL": 9, "ES": 8, "IT": 7, "SE": 6}
STATUSES = {"delivered": 62, "shipped": 15, "pending": 8, "cancelled": 9, "returned": 6}
QUANTITIES = {1: 55, 2: 20, 3: 9, 4: 6, 5: 4, 6: 3, 10: 2, 12: 1}
# Share of orders with a discount, and how much.
DISCOUNTED = 0.25
DISCOUNTS = (Decimal("0.95"), Decimal("0.90"), Decimal("0.80"))
CENT = Decimal("0.01")

_T = TypeVar("_T")


def orders() -> list[tuple[str, ...]]:
    """The rows, by date."""
    chance = random.Random(SEED)  # noqa: S311 - data, not secrets
    days = sorted(chance.randrange(DAYS) for _ in range(ORDERS))
    return [_order(chance, number, FIRST_DAY + dt.timedelta(days=day)) for number, day in enumerate(days, start=1)]


def _order(chance: random.Random, number: int, day: dt.date) -> tuple[str, ...]:
    category = chance.choice(list(PRODUCTS))
    product, listed = chance.choice(list(PRODUCTS[category].items()))
    price = Decimal(listed)
    if chance.random() < DISCOUNTED:
        price = (price * chance.choice(DISCOUNTS)).quantize(CENT)
    return (
        f"O-{10_000 + number}",
        day.isoformat(),
        _pick(chance, COUNTRIES),
        category,
        product,
        str(_pick(chance, QUANTITIES)),
        str(price),
        _pick(chance, STATUSES),
    )


def _pick(chance: random.Random, weights: dict[_T, int]) -> _T:
    return chance.choices(list(weights), list(weights.values()))[0]


def main() -> None:
    """Writes the file beside this script."""
    with Path(__file__).with_name("orders.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(orders())


if __name__ == "__main__":
    main()
