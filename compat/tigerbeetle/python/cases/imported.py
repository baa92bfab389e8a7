"""Imported accounts and transfers keep the timestamps of their events."""

import time

from ledger import SECOND, Bank, account, expect, post, query_filter, transfer
from tigerbeetle import AccountFlags, TransferFlags


def _account(id, timestamp, flags=0, **fields):
    return account(id, timestamp=timestamp, flags=AccountFlags.IMPORTED | flags, **fields)


def _transfer(id, debit, credit, amount, timestamp, flags=0, **fields):
    return transfer(id, debit, credit, amount, timestamp=timestamp, flags=TransferFlags.IMPORTED | flags, **fields)


def _timestamps(results):
    return [result.timestamp for result in results]


def imported_events_keep_their_timestamps(server):
    with Bank(server) as bank:
        expect(bank.accounts(_account(1, 1000), _account(2, 1001), _account(3, 1005)), ["created"] * 3)
        expect(_timestamps(bank.results), [1000, 1001, 1005])
        expect([one.timestamp for one in bank.client.lookup_accounts([1, 2, 3])], [1000, 1001, 1005])
        pending = _transfer(102, 1, 2, 9, 2001, TransferFlags.PENDING)
        posted = post(103, 102, 4, timestamp=2002)
        posted.flags |= TransferFlags.IMPORTED
        expect(bank.transfers(_transfer(101, 1, 2, 5, 2000), pending, posted), ["created"] * 3)
        expect(_timestamps(bank.results), [2000, 2001, 2002])
        found = bank.client.query_transfers(query_filter(timestamp_min=2000, timestamp_max=2001))
        expect([(one.id, one.timestamp) for one in found], [(101, 2000), (102, 2001)])
        expect(bank.balances(1), (0, 9, 0, 0))
        # Sent again they exist, with the same timestamps.
        expect(bank.accounts(_account(2, 1001)), ["exists"])
        expect(_timestamps(bank.results), [1001])
        expect(bank.transfers(_transfer(101, 1, 2, 5, 2000), pending), ["exists"] * 2)
        expect(_timestamps(bank.results), [2000, 2001])
        # An event that is not imported has the time of the server.
        bank.open(4)
        assert bank.results[0].timestamp > 1_600_000_000 * SECOND, bank.results


def refusals_of_imported_accounts(server):
    ahead = time.time_ns() + 3600 * SECOND
    with Bank(server) as bank:
        expect(bank.accounts(_account(1, 1000), _account(2, 1001)), ["created"] * 2)
        expect(bank.transfers(_transfer(101, 1, 2, 5, 4000)), ["created"])
        events = [
            (_account(3, 0), "imported_event_timestamp_out_of_range"),
            (_account(3, 2**63), "imported_event_timestamp_out_of_range"),
            (_account(3, ahead), "imported_event_timestamp_must_not_advance"),
            (_account(3, 1001), "imported_event_timestamp_must_not_regress"),
            (_account(3, 500), "imported_event_timestamp_must_not_regress"),
            (_account(3, 4000), "imported_event_timestamp_must_not_regress"),
            (account(3), "imported_event_expected"),
            (_account(3, 5000), "created"),
        ]
        expect(bank.accounts(*[event for event, _ in events]), [status for _, status in events])
        expect(bank.results[-1].timestamp, 5000)
        # After a chain has failed, its timestamps can be used again.
        chain = [_account(4, 6000, AccountFlags.LINKED), _account(5, 6001, code=0)]
        expect(bank.accounts(*chain), ["linked_event_failed", "code_must_not_be_zero"])
        expect(bank.results[0].timestamp, 6000)
        expect(bank.accounts(_account(4, 6000)), ["created"])
        expect(bank.accounts(account(6), _account(7, 7000)), ["created", "imported_event_not_expected"])


def refusals_of_imported_transfers(server):
    ahead = time.time_ns() + 3600 * SECOND
    with Bank(server) as bank:
        expect(bank.accounts(_account(1, 1000), _account(2, 1001), _account(3, 3000)), ["created"] * 3)
        events = [
            (_transfer(101, 1, 2, 5, 2000), "created"),
            (_transfer(102, 1, 2, 5, 0), "imported_event_timestamp_out_of_range"),
            (_transfer(102, 1, 2, 5, 2**63), "imported_event_timestamp_out_of_range"),
            (_transfer(102, 1, 2, 5, ahead), "imported_event_timestamp_must_not_advance"),
            (_transfer(102, 1, 2, 5, 2000), "imported_event_timestamp_must_not_regress"),
            (_transfer(102, 1, 2, 5, 1500), "imported_event_timestamp_must_not_regress"),
            (_transfer(102, 1, 2, 5, 3000), "imported_event_timestamp_must_not_regress"),
            (_transfer(102, 3, 2, 5, 2500), "imported_event_timestamp_must_postdate_debit_account"),
            (_transfer(102, 1, 3, 5, 2500), "imported_event_timestamp_must_postdate_credit_account"),
            (_transfer(102, 1, 2, 5, 2500, TransferFlags.PENDING, timeout=1), "imported_event_timeout_must_be_zero"),
            (transfer(102, 1, 2, 5), "imported_event_expected"),
            (_transfer(102, 1, 3, 5, 3001), "created"),
        ]
        expect(bank.transfers(*[event for event, _ in events]), [status for _, status in events])
        expect(
            bank.transfers(transfer(103, 1, 2, 5), _transfer(104, 1, 2, 5, 3002)),
            ["created", "imported_event_not_expected"],
        )
        expect(bank.balances(1), (0, 15, 0, 0))


def only_imported_events_have_their_own_timestamps(server):
    with Bank(server) as bank:
        bank.open(1, 2)
        expect(bank.accounts(account(3, timestamp=1000)), ["timestamp_must_be_zero"])
        expect(bank.transfers(transfer(101, 1, 2, 5, timestamp=1000)), ["timestamp_must_be_zero"])
