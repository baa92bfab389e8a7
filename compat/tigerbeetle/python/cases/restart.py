"""The server is killed and starts again on the same folder and ports; or it is suspended; or the connection breaks.

The client continues: it sends unanswered requests again, and no transfer is made twice.
"""

import threading
import time

from ledger import Bank, account, check_results, expect, names, pending, post, transfer
from link import Link
from server import until


def _stream(bank, lane, size, calls, stop):
    """Calls of `size` transfers each, one after the other, until `stop` is set."""
    number = 0
    while not stop.is_set():
        id = (lane + 1) << 64 | number * size + 1
        events = [transfer(id + at, 1 + lane, 10, 1) for at in range(size)]
        results = bank.client.create_transfers(events)
        calls.append((events, results))
        number += 1
        if size > 1:
            # Batches are large, so a few are enough.
            time.sleep(0.01)


def _disturbed(way, disturb, times, before_check=lambda: None):
    """Streams of calls with `times` disturbances; each transfer must have been created by its call, once."""
    with Bank(way) as bank:
        bank.open(1, 2, 3, 4, 5, 10)
        stop = threading.Event()
        sizes = [1, 1, 1, 1, 400]
        lanes = [[] for _ in sizes]
        threads = [
            threading.Thread(target=_stream, args=(bank, lane, sizes[lane], lanes[lane], stop), daemon=True)
            for lane in range(len(sizes))
        ]
        for thread in threads:
            thread.start()
        for _ in range(times + 1):
            before = [len(calls) for calls in lanes]
            until(
                lambda: all(len(calls) >= count + 5 for calls, count in zip(lanes, before)),
                20,
                "every stream goes on",
            )
            if times:
                disturb()
                times -= 1
        stop.set()
        for thread in threads:
            thread.join()

        before_check()
        sent = 0
        for lane, calls in enumerate(lanes):
            events = [event for events, _ in calls for event in events]
            for call, results in calls:
                expect(names(results), ["created"] * len(call))
                check_results(call, results)
            times_given = [result.timestamp for _, results in calls for result in results]
            expect(sorted(set(times_given)), times_given, "timestamps grow from call to call")
            for begin in range(0, len(events), 8000):
                part = events[begin : begin + 8000]
                found = bank.client.lookup_transfers([event.id for event in part])
                expect([one.id for one in found], [event.id for event in part])
                expect([one.timestamp for one in found], times_given[begin : begin + 8000])
            expect(bank.balances(1 + lane), (0, len(events), 0, 0))
            sent += len(events)
        expect(bank.balances(10), (0, 0, 0, sent))
        print("%d transfers in %d calls" % (sent, sum(len(calls) for calls in lanes)))


def killed_three_times_during_calls(server):
    def disturb():
        server.kill()
        server.start()

    _disturbed(server, disturb, 3)


def stopped_in_good_order_during_calls(server):
    def disturb():
        server.stop()
        server.start()

    _disturbed(server, disturb, 2)


def suspended_during_calls(server):
    # Longer than the client waits before it sends a request again, so the server then receives the request
    # more than once.
    _disturbed(server, lambda: server.freeze(1.5), 2)


def a_broken_connection_during_calls(server):
    link = Link(server.first_address, 400_000, seed=7)

    def disturb():
        cuts = link.cuts + 3
        until(lambda: link.cuts >= cuts, 20, "the connection breaks")

    _disturbed(link, disturb, 2, before_check=link.heal)


def calls_wait_while_the_server_is_down(server):
    with Bank(server) as bank:
        bank.open(1, 2)
        server.kill()
        answers = []
        call = threading.Thread(
            target=lambda: answers.append(bank.client.create_transfers([transfer(101, 1, 2, 5)])), daemon=True
        )
        call.start()
        time.sleep(2)
        expect(answers, [])
        server.start()
        call.join()
        expect(names(answers[0]), ["created"])
        expect(bank.balances(1), (0, 5, 0, 0))


def a_restart_keeps_everything(server):
    with Bank(server) as bank:
        bank.open(1, 2, 3)
        bank.move(transfer(101, 1, 2, 5), pending(102, 1, 2, 7), pending(103, 2, 3, 4, timeout=1))
        expect(bank.transfers(transfer(104, 1, 9, 5)), ["credit_account_not_found"])
        accounts = bank.client.lookup_accounts([1, 2])
        transfers = bank.client.lookup_transfers([101, 102, 103, 104])
        server.kill()
        server.start()
        expect(bank.client.lookup_transfers([101, 102, 103, 104]), transfers)
        # A pending transfer whose timeout passes meanwhile.
        until(lambda: bank.balances(3) == (0, 0, 0, 0), 20, "the reserved amount is released")
        found = bank.client.lookup_accounts([1, 2])
        expect(found[0], accounts[0])
        expect((found[1].debits_pending, accounts[1].debits_pending), (0, 4))
        bank.open(9)
        expect(
            bank.transfers(transfer(101, 1, 2, 5), transfer(104, 1, 9, 5), post(201, 103), post(202, 102)),
            ["exists", "id_already_failed", "pending_transfer_expired", "created"],
        )
        expect(bank.accounts(account(1)), ["exists"])
        expect(bank.balances(2), (0, 0, 0, 12))


def a_new_client_after_a_restart(server):
    with Bank(server) as bank:
        bank.open(1, 2)
        bank.move(transfer(101, 1, 2, 5))
    server.kill()
    server.start()
    with Bank(server) as bank:
        expect(bank.balances(1), (0, 5, 0, 0))
        bank.move(transfer(102, 1, 2, 5))
