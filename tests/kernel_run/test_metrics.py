"""Numbers: bound once, one exposition a site."""

import pytest

from postroom_ops.metrics import Metrics, merge


def told(accepted: int, queue: float, seconds: float, *, extra: bool = False) -> str:
    metrics = Metrics()
    metrics.counter("smtp_total", "Messages", result="ok").inc(accepted)
    metrics.gauge("queue", "Waiting").set(queue)
    metrics.histogram("wait", "Seconds", buckets=(1.0, 5.0)).observe(seconds)
    if extra:
        metrics.counter("smtp_total", "Messages", result="bad").inc()
    return metrics.exposition()


def test_the_workers_are_added_up() -> None:
    text = merge([told(3, 1, 0.5), told(4, 2.5, 3.0, extra=True)])
    assert text.splitlines() == [
        "# HELP postroom_smtp_total Messages",
        "# TYPE postroom_smtp_total counter",
        'postroom_smtp_total{result="ok"} 7',
        'postroom_smtp_total{result="bad"} 1',
        "# HELP postroom_queue Waiting",
        "# TYPE postroom_queue gauge",
        "postroom_queue 3.5",
        "# HELP postroom_wait Seconds",
        "# TYPE postroom_wait histogram",
        'postroom_wait_bucket{le="1.0"} 1',
        'postroom_wait_bucket{le="5.0"} 2',
        'postroom_wait_bucket{le="+Inf"} 2',
        "postroom_wait_count 2",
        "postroom_wait_sum 3.5",
    ]


def test_the_same_name_and_labels_are_the_same_number() -> None:
    metrics = Metrics()
    metrics.counter("x_total", "X", result="ok").inc()
    metrics.counter("x_total", "X", result="ok").inc()
    assert 'postroom_x_total{result="ok"} 2.0' in metrics.exposition()


def test_a_name_keeps_its_kind() -> None:
    metrics = Metrics()
    metrics.counter("x_total", "X")
    with pytest.raises(ValueError, match="x_total is a Counter already"):
        metrics.gauge("x_total", "X")


def test_nobody_told_anything() -> None:
    assert merge([]) == ""
