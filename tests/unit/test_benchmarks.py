"""The arithmetic of the benchmarks: what load generators print, and the ratios made of it."""

import pytest

from tests.benchmarks.measure import Floor, Load, Ratio, Row, Run, ratios_of, read_pgbench, read_wrk, table
from tests.benchmarks.people import body, identifier

WRK = """\
Running 5s test @ http://127.0.0.1:41259
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     8.99ms   11.32ms 199.62ms   96.71%
    Req/Sec     8.18k     1.11k    9.30k    88.24%
  Latency Distribution
     50%  820.00us
     75%    8.12ms
     90%    9.99ms
     99%    1.05s
  40755 requests in 5.01s, 5.67MB read
Requests/sec:   8134.12
Transfer/sec:      1.13MB
""".replace("1.05s\n", "1.05s \n")  # wrk pads units of one letter
WRK_FAULTS = """\
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 24
"""
PGBENCH = """\
pgbench (18.6)
transaction type: new_identity.sql
query mode: prepared
number of clients: 64
number of threads: 1
duration: 5 s
number of transactions actually processed: 10450
number of failed transactions: 2 (0.019%)
latency average = 30.622 ms
initial connection time = 81.243 ms
tps = 2090.000000 (without initial connection time)
"""


def run(requests: int, *, server_us: float, database_us: float = 0.0) -> Run:
    return Run(Load(requests, 1.0, 0, 2.5, 10.0), requests * server_us / 1e6, requests * database_us / 1e6)


def test_what_wrk_prints_is_read_in_seconds_and_milliseconds():
    load = read_wrk(WRK)

    assert load == Load(requests=40755, seconds=5.01, errors=0, p50_ms=0.82, p99_ms=1050.0)


def test_every_answer_that_wrk_did_not_get_or_was_no_2xx_is_an_error():
    load = read_wrk(WRK + WRK_FAULTS)

    assert load.errors == 1 + 2 + 3 + 4 + 24


def test_a_wrk_that_printed_no_result_is_an_error():
    with pytest.raises(ValueError, match="wrk printed no result"):
        read_wrk("unable to connect to 127.0.0.1:1 Connection refused")


def test_what_pgbench_prints_is_read_and_its_time_is_without_connecting():
    load = read_pgbench(PGBENCH)

    assert load == Load(requests=10450, seconds=5.0, errors=2, p50_ms=None, p99_ms=None)


def test_a_pgbench_that_printed_no_result_is_an_error():
    with pytest.raises(ValueError, match="pgbench printed no result"):
        read_pgbench("pgbench: error: connection to server failed")


def test_a_ratio_is_the_median_of_the_ratios_within_the_rounds():
    rows = (Row("bare", "bare"), Row("fast", "fast", (Floor("bare", 1.3),)))
    # In the second round something else had half of the machine; both rows felt it.
    runs = {
        "bare": [run(1000, server_us=100), run(500, server_us=200), run(1000, server_us=100)],
        "fast": [run(1400, server_us=70), run(750, server_us=130), run(2000, server_us=50)],
    }

    ratios = ratios_of(rows, runs)

    assert ratios == [Ratio("fast", "bare", by_throughput=1.5, by_cpu=200 / 130, at_least=1.3)]
    assert ratios[0].holds


def test_cost_is_the_cpu_time_of_server_and_database_together_whatever_the_throughput():
    runs = {
        "few": [run(1000, server_us=100, database_us=100)],
        "many": [run(700, server_us=110, database_us=115)],
        "dear": [run(1000, server_us=100, database_us=140)],
    }
    floor = Floor("few", 1 / 1.15, of_cost=True)

    many, dear = ratios_of([Row("many", "many", (floor,)), Row("dear", "dear", (floor,))], runs)

    assert many.by_cost == pytest.approx(200 / 225)
    assert (many.holds, dear.holds) == (True, False)


def test_a_ratio_to_a_row_that_was_not_measured_is_left_out():
    ratios = ratios_of([Row("fast", "fast", (Floor("bare", 1.3),))], {"fast": [run(1000, server_us=100)]})

    assert ratios == []


def test_the_table_has_a_line_per_row_and_ratio_and_names_what_is_below_its_floor():
    rows = (Row("bare", "bare"), Row("slow", "slow", (Floor("bare", 0.9), Floor("bare", None, by_cpu=False))))
    runs = {"bare": [run(1000, server_us=100)], "slow": [run(500, server_us=125)]}

    lines = table(rows, runs).splitlines()

    assert lines[2:] == [
        "| bare | 1,000 | 100 | 0 | 2.5 | 10.0 |  |  |  |  |  |  |",
        "| slow | 500 | 125 | 0 | 2.5 | 10.0 | bare | 0.50 | 0.80 |  | 0.90 | **below** |",
        "|  |  |  |  |  |  | bare | 0.50 |  |  |  |  |",
    ]


def test_every_person_of_the_benchmarks_is_somebody_else():
    ids = {identifier(n) for n in range(1, 100_001)}

    assert len(ids) == 100_000


def test_all_pushes_have_one_length():
    assert {len(body(n)) for n in range(1, 1000)} == {len(body(1))}
