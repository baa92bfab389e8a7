"""Pending transfers: posted, voided, expired; and those that close accounts."""

import dataclasses
import time

from ledger import AMOUNT_MAX, SECOND, Bank, account, expect, pending, post, transfer, void
from server import until
from tigerbeetle import AccountFlags, TransferFlags


def posting_the_whole_amount(server):
    keys = {"user_data_128": 11, "user_data_64": 12, "user_data_32": 13}
    reserve = pending(101, 1, 2, 100, code=7, timeout=3600, **keys)
    with Bank(server) as bank:
        bank.open(1, 2)
        bank.move(reserve)
        expect(bank.transfer(101), dataclasses.replace(reserve, timestamp=bank.results[0].timestamp))
        expect([bank.balances(1), bank.balances(2)], [(100, 0, 0, 0), (0, 0, 100, 0)])
        bank.move(post(201, 101))
        expect([bank.balances(1), bank.balances(2)], [(0, 100, 0, 0), (0, 0, 0, 100)])
        # Empty fields of the post are taken from the pending transfer.
        taken = {**keys, "code": 7, "pending_id": 101, "flags": TransferFlags.POST_PENDING_TRANSFER}
        expect(bank.transfer(201), transfer(201, 1, 2, 100, **taken, timestamp=bank.results[0].timestamp))


def posting_a_part_releases_the_rest(server):
    with Bank(server) as bank:
        bank.open(1, 2)
        bank.move(pending(101, 1, 2, 100), pending(102, 1, 2, 9), pending(103, 1, 2, 5))
        bank.move(post(201, 101, 60, user_data_64=77), post(202, 102, 0), post(203, 103, 5, ledger=1, code=1))
        expect([bank.balances(1), bank.balances(2)], [(0, 65, 0, 0), (0, 0, 0, 65)])
        found = bank.client.lookup_transfers([201, 202, 203])
        expect([(one.amount, one.user_data_64) for one in found], [(60, 77), (0, 0), (5, 0)])


def voiding_releases_everything(server):
    with Bank(server) as bank:
        bank.open(1, 2)
        bank.move(pending(101, 1, 2, 100), pending(102, 1, 2, 9), transfer(103, 1, 2, 3))
        bank.move(void(201, 101), void(202, 102, 9, debit_account_id=1, credit_account_id=2, ledger=1, code=1))
        expect([bank.balances(1), bank.balances(2)], [(0, 3, 0, 0), (0, 0, 0, 3)])
        expect([one.amount for one in bank.client.lookup_transfers([201, 202])], [100, 9])


def refusals_of_posts_and_voids(server):
    with Bank(server) as bank:
        bank.open(1, 2, 3)
        bank.move(pending(101, 1, 2, 100), transfer(102, 1, 2, 5))
        events = [
            (post(201, 999), "pending_transfer_not_found"),
            (post(202, 102), "pending_transfer_not_pending"),
            (post(203, 101, debit_account_id=3), "pending_transfer_has_different_debit_account_id"),
            (post(204, 101, credit_account_id=3), "pending_transfer_has_different_credit_account_id"),
            (post(205, 101, ledger=9), "pending_transfer_has_different_ledger"),
            (post(206, 101, code=9), "pending_transfer_has_different_code"),
            (post(207, 101, 101), "exceeds_pending_transfer_amount"),
            (void(208, 101, 101), "exceeds_pending_transfer_amount"),
            (void(209, 101, 99), "pending_transfer_has_different_amount"),
            (void(210, 999), "pending_transfer_not_found"),
        ]
        expect(bank.transfers(*[event for event, _ in events]), [status for _, status in events])
        expect(bank.balances(1), (100, 5, 0, 0))
        # Only "not found" is temporary, and has used up its id.
        bank.move(pending(103, 1, 2, 1), *[post(203, 103), post(207, 101, 100)])
        expect(
            bank.transfers(post(201, 103), void(210, 103), void(211, 999)),
            ["id_already_failed", "id_already_failed", "pending_transfer_not_found"],
        )


def a_pending_transfer_ends_once(server):
    with Bank(server) as bank:
        bank.open(1, 2)
        bank.move(pending(101, 1, 2, 100), pending(102, 1, 2, 100), post(201, 101, 1), void(202, 102))
        expect(
            bank.transfers(post(203, 101), void(204, 101), post(205, 102), void(206, 102)),
            ["pending_transfer_already_posted"] * 2 + ["pending_transfer_already_voided"] * 2,
        )
        expect(bank.balances(1), (0, 1, 0, 0))


def the_same_post_or_void_again_exists(server):
    with Bank(server) as bank:
        bank.open(1, 2, 3)
        reserves = [pending(101, 1, 2, 100, user_data_32=5), pending(102, 1, 2, 100), pending(103, 1, 2, 100)]
        bank.move(*reserves)
        bank.move(post(201, 101), post(202, 102, 60, user_data_128=8), void(203, 103))
        first = [result.timestamp for result in bank.results]
        again = [post(201, 101), post(202, 102, 60, user_data_128=8), void(203, 103), *reserves]
        expect(bank.transfers(*again), ["exists"] * 6)
        expect([result.timestamp for result in bank.results[:3]], first)
        different = [
            (post(201, 101, 100, user_data_32=5), "exists"),
            (post(201, 101, 99), "exists_with_different_amount"),
            (post(202, 102, user_data_128=8), "exists_with_different_amount"),
            (void(203, 103, 99), "exists_with_different_amount"),
            (void(203, 103, 100), "exists"),
            (void(201, 101), "exists_with_different_flags"),
            (post(201, 102), "exists_with_different_pending_id"),
            (post(201, 101, timeout=1), "exists_with_different_timeout"),
            (post(201, 101, debit_account_id=3), "exists_with_different_debit_account_id"),
            (post(201, 101, credit_account_id=3), "exists_with_different_credit_account_id"),
            (post(202, 102, 60, user_data_128=9), "exists_with_different_user_data_128"),
            (post(202, 102, 60), "exists_with_different_user_data_128"),
            (post(201, 101, user_data_64=9), "exists_with_different_user_data_64"),
            (post(201, 101, user_data_32=9), "exists_with_different_user_data_32"),
            (post(201, 101, ledger=9), "exists_with_different_ledger"),
            (post(201, 101, code=9), "exists_with_different_code"),
        ]
        expect(bank.transfers(*[event for event, _ in different]), [status for _, status in different])
        expect(bank.balances(1), (0, 160, 0, 0))


def a_reserved_amount_is_released_at_its_timeout(server):
    with Bank(server) as bank:
        bank.open(1, 2, 3, 4)
        begin = time.monotonic()
        closing = pending(103, 3, 4, 5, flags=TransferFlags.CLOSING_CREDIT, timeout=1)
        bank.move(pending(101, 1, 2, 50, timeout=1), pending(102, 1, 2, 7), closing)
        made = bank.results[2].timestamp
        expect([bank.balances(1), bank.balances(2)], [(57, 0, 0, 0), (0, 0, 57, 0)])
        expect(bank.account(4).flags, AccountFlags.CLOSED)

        until(lambda: bank.balances(1) == (7, 0, 0, 0), 20, "the reserved amount is released")
        assert time.monotonic() - begin >= 1.0, "released before the timeout"
        until(lambda: bank.account(4).flags == AccountFlags.NONE, 20, "the account opens again")
        expect([bank.balances(one) for one in (2, 3, 4)], [(0, 0, 7, 0), (0, 0, 0, 0), (0, 0, 0, 0)])

        late = [post(201, 101), void(202, 101), post(203, 103), pending(101, 1, 2, 50, timeout=1)]
        expect(bank.transfers(*late), ["pending_transfer_expired"] * 3 + ["exists"])
        assert bank.results[0].timestamp >= made + SECOND, bank.results
        # What remains: the transfer, and the other reserved amount.
        expect(bank.transfer(101).amount, 50)
        bank.move(post(204, 102), transfer(205, 3, 4, 1))
        expect(bank.balances(1), (0, 7, 0, 0))


def a_pending_transfer_may_balance(server):
    with Bank(server) as bank:
        bank.open(1, 2, 3)
        bank.move(transfer(101, 1, 2, 100), pending(102, 2, 3, AMOUNT_MAX, flags=TransferFlags.BALANCING_DEBIT))
        expect(bank.transfer(102).amount, 100)
        expect(bank.balances(2), (100, 0, 0, 100))
        bank.move(post(201, 102, 40), transfer(103, 2, 3, AMOUNT_MAX, flags=TransferFlags.BALANCING_DEBIT))
        expect(bank.balances(2), (0, 100, 0, 100))


def closing_an_account_and_opening_it_again(server):
    with Bank(server) as bank:
        bank.open(1, 2, 3)
        bank.open(4, flags=AccountFlags.HISTORY)
        bank.move(transfer(101, 1, 4, 50), pending(102, 4, 1, 10))
        bank.move(pending(103, 4, 1, 0, flags=TransferFlags.CLOSING_DEBIT))
        expect(bank.account(4).flags, AccountFlags.HISTORY | AccountFlags.CLOSED)
        expect(bank.account(1).flags, AccountFlags.NONE)
        expect(
            bank.transfers(transfer(111, 4, 1, 1), transfer(112, 1, 4, 1), post(113, 102), post(114, 103)),
            [
                "debit_account_already_closed",
                "credit_account_already_closed",
                "debit_account_already_closed",
                "debit_account_already_closed",
            ],
        )
        # A closed account allows only voids.
        bank.move(void(115, 102))
        expect(bank.balances(4), (0, 0, 0, 50))
        bank.move(void(116, 103))
        expect(bank.account(4).flags, AccountFlags.HISTORY)
        # The account is open again, but those ids stay used.
        expect(bank.transfers(transfer(111, 4, 1, 1), transfer(211, 4, 1, 1)), ["id_already_failed", "created"])
        # Both accounts at once.
        both = TransferFlags.CLOSING_DEBIT | TransferFlags.CLOSING_CREDIT
        bank.move(pending(121, 2, 3, 8, flags=both))
        expect([one.flags for one in bank.client.lookup_accounts([2, 3])], [AccountFlags.CLOSED] * 2)
        expect(bank.balances(2), (8, 0, 0, 0))
        # An account that is created again exists, also when it was closed meanwhile.
        bank.move(void(122, 121))
        expect([one.flags for one in bank.client.lookup_accounts([2, 3])], [AccountFlags.NONE] * 2)
        expect(bank.accounts(account(2)), ["exists"])
