from __future__ import annotations

from custom.metrics import format_table


def test_table_lines_up_methods():
    def statistics(mean):
        return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}

    method = {"dice": statistics(0.8), "iou": statistics(0.7), "hd95": statistics(12.0)}
    missing = {"dice": statistics(0.5), "iou": statistics(0.4), "hd95": {"mean": None, "low": None, "high": None}}
    header, rule, first, second = format_table({"SemiGDA": method, "mean teacher": missing}).split("\n")
    assert first.split(maxsplit=1)[1] == "80.00 [70.00, 90.00]  70.00 [60.00, 80.00]  12.00 [11.90, 12.10]"
    assert second.rstrip().endswith("-")
    assert len(header) == len(rule) == len(first) == len(second)
    assert header.index("Dice") == first.index("80.00") == second.index("50.00")
