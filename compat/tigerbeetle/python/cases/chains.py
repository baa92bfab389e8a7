"""Linked events: all of a chain succeed, or none does."""

from ledger import Bank, account, expect, pending, post, transfer
from tigerbeetle import AccountFlags, TransferFlags

LINKED = {"flags": AccountFlags.LINKED}
LINKED_TRANSFER = {"flags": TransferFlags.LINKED}


def a_chain_of_accounts_succeeds_together(server):
    with Bank(server) as bank:
        expect(bank.accounts(account(1, **LINKED), account(2, **LINKED), account(3), account(4)), ["created"] * 4)
        found = bank.client.lookup_accounts([1, 2, 3, 4])
        expect([one.timestamp for one in found], [result.timestamp for result in bank.results])
        expect([one.flags for one in found], [AccountFlags.LINKED] * 2 + [AccountFlags.NONE] * 2)


def a_chain_of_accounts_fails_together(server):
    chain = [account(1, **LINKED), account(2, code=0, **LINKED), account(3)]
    with Bank(server) as bank:
        expect(
            bank.accounts(*chain, account(4), account(5, **LINKED), account(6)),
            ["linked_event_failed", "code_must_not_be_zero", "linked_event_failed", "created", "created", "created"],
        )
        expect([one.id for one in bank.client.lookup_accounts([1, 2, 3, 4, 5, 6])], [4, 5, 6])
        # A failed chain leaves nothing: its ids are free.
        bank.open(1, 3)


def a_chain_that_is_open_at_the_end_fails(server):
    with Bank(server) as bank:
        expect(
            bank.accounts(account(1), account(2, **LINKED), account(3, **LINKED)),
            ["created", "linked_event_failed", "linked_event_chain_open"],
        )
        expect(bank.accounts(account(4, **LINKED)), ["linked_event_chain_open"])
        # The same for a chain that had failed before.
        expect(
            bank.accounts(account(5, **LINKED), account(6, ledger=0, **LINKED), account(7, **LINKED)),
            ["linked_event_failed", "ledger_must_not_be_zero", "linked_event_chain_open"],
        )
        bank.open(8, 9)
        expect(
            bank.transfers(transfer(101, 1, 8, 5), transfer(102, 8, 9, 5, **LINKED_TRANSFER)),
            ["created", "linked_event_chain_open"],
        )
        expect([one.id for one in bank.client.lookup_accounts([1, 2, 3, 4, 5, 6, 7])], [1])


def later_events_see_the_effects_of_earlier_ones(server):
    with Bank(server) as bank:
        bank.open(1)
        bank.open(2, 3, flags=AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS)
        bank.move(
            transfer(101, 1, 2, 10, **LINKED_TRANSFER),
            transfer(102, 2, 3, 10, **LINKED_TRANSFER),
            pending(103, 3, 1, 10, flags=TransferFlags.LINKED),
            post(104, 103, 4),
        )
        expect([bank.balances(one) for one in (1, 2, 3)], [(0, 10, 0, 4), (0, 10, 0, 10), (0, 4, 0, 10)])


def a_chain_of_transfers_is_undone(server):
    with Bank(server) as bank:
        bank.open(1, 4)
        bank.open(2, 3, flags=AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS)
        bank.move(pending(100, 1, 4, 6))
        chain = [
            transfer(101, 1, 2, 10, **LINKED_TRANSFER),
            transfer(102, 2, 3, 10, **LINKED_TRANSFER),
            post(103, 100, flags=TransferFlags.POST_PENDING_TRANSFER | TransferFlags.LINKED),
            transfer(104, 3, 1, 11, **LINKED_TRANSFER),
            transfer(105, 1, 2, 1),
        ]
        expect(
            bank.transfers(*chain),
            ["linked_event_failed"] * 3 + ["exceeds_credits", "linked_event_failed"],
        )
        expect([bank.balances(one) for one in (1, 2, 3)], [(6, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0)])
        expect(bank.client.lookup_transfers([101, 102, 103, 104, 105]), [])
        # The event that failed has used up its id, the others have not.
        expect(bank.transfers(transfer(104, 1, 3, 1)), ["id_already_failed"])
        chain[3] = transfer(106, 3, 1, 10, **LINKED_TRANSFER)
        bank.move(*chain)
        expect([bank.balances(one) for one in (1, 2, 3)], [(0, 17, 0, 10), (0, 10, 0, 11), (0, 10, 0, 10)])


def the_same_chain_again_fails_at_its_first_link(server):
    chain = [transfer(101, 1, 2, 10, **LINKED_TRANSFER), transfer(102, 2, 1, 3)]
    with Bank(server) as bank:
        bank.open(1, 2)
        bank.move(*chain)
        first = bank.results[0].timestamp
        expect(bank.transfers(*chain), ["exists", "linked_event_failed"])
        expect(bank.results[0].timestamp, first)
        expect(bank.balances(1), (0, 10, 0, 3))
