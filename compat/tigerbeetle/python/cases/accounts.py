"""create_accounts: created, existing, and every refusal in the order in which it is checked."""

import dataclasses

import tigerbeetle as tb
from ledger import ID_MAX, Bank, account, expect, names, transfer
from tigerbeetle import AccountFlags as Flags
from tigerbeetle import bindings


def a_new_account_is_created_and_found(server):
    keys = {"user_data_128": 2**128 - 2, "user_data_64": 2**64 - 1, "user_data_32": 2**32 - 1}
    event = account(7, **keys, ledger=2**32 - 1, code=2**16 - 1, flags=Flags.HISTORY)
    with Bank(server) as bank:
        expect(bank.accounts(event), ["created"])
        expect(bank.account(7), dataclasses.replace(event, timestamp=bank.results[0].timestamp))


def the_same_account_again_exists_with_its_first_timestamp(server):
    with Bank(server) as bank:
        expect(bank.accounts(account(1), account(1), account(2)), ["created", "exists", "created"])
        first, again, second = [result.timestamp for result in bank.results]
        expect(again, first)
        expect(bank.accounts(account(2), account(1)), ["exists", "exists"])
        expect([result.timestamp for result in bank.results], [second, first])


def every_field_that_differs_has_its_own_status(server):
    fields = ["flags", "user_data_128", "user_data_64", "user_data_32", "ledger", "code"]
    with Bank(server) as bank:
        bank.open(1)
        for at, name in enumerate(fields):
            alone = account(1, **{name: 8})
            with_all_after = account(1, **{later: 8 for later in fields[at:]})
            expect(bank.accounts(alone, with_all_after), ["exists_with_different_" + name] * 2)
        # The id is looked up before the rest of the event is checked.
        expect(bank.accounts(account(1, ledger=0)), ["exists_with_different_ledger"])
        expect(bank.accounts(account(1, code=0)), ["exists_with_different_code"])
        expect(bank.accounts(account(1, debits_posted=5)), ["exists"])


def refusals_come_in_order_as_an_event_is_corrected(server):
    both_limits = Flags.DEBITS_MUST_NOT_EXCEED_CREDITS | Flags.CREDITS_MUST_NOT_EXCEED_DEBITS
    balances = ["debits_pending", "debits_posted", "credits_pending", "credits_posted"]
    event = account(0, ledger=0, code=0, timestamp=1, flags=both_limits | 1 << 15, **dict.fromkeys(balances, 1))
    steps = [
        ("timestamp_must_be_zero", {"timestamp": 0}),
        ("reserved_flag", {"flags": both_limits}),
        ("id_must_not_be_zero", {"id": ID_MAX}),
        ("id_must_not_be_int_max", {"id": 5}),
        ("flags_are_mutually_exclusive", {"flags": Flags.NONE}),
        *[(name + "_must_be_zero", {name: 0}) for name in balances],
        ("ledger_must_not_be_zero", {"ledger": 1}),
        ("code_must_not_be_zero", {"code": 1}),
    ]
    with Bank(server) as bank:
        for status, correction in steps:
            expect(bank.accounts(event), [status])
            expect(bank.client.lookup_accounts([event.id]), [])
            event = dataclasses.replace(event, **correction)
        expect(bank.accounts(event), ["created"])


def refused_and_created_accounts_share_a_batch(server):
    with Bank(server) as bank:
        events = [account(1), account(0), account(2), account(3, code=0), account(4, flags=1 << 6)]
        expect(
            bank.accounts(*events),
            ["created", "id_must_not_be_zero", "created", "code_must_not_be_zero", "reserved_flag"],
        )
        found = bank.client.lookup_accounts([0, 1, 2, 3, 4])
        expect([one.id for one in found], [1, 2])
        expect([one.timestamp for one in found], [bank.results[0].timestamp, bank.results[2].timestamp])


def the_reserved_field_must_be_zero(server):
    class WithReserved(bindings.CAccount):
        @classmethod
        def from_param(cls, event):
            record = super().from_param(event)
            record.reserved = 1
            return record

    with Bank(server) as bank:
        submit = bank.client._submit
        results = submit(
            tb.Operation.CREATE_ACCOUNTS, [account(1)], WithReserved, bindings.CCreateAccountResult
        )
        expect(names(results), ["reserved_field"])


def an_account_may_be_closed_from_the_start(server):
    with Bank(server) as bank:
        bank.open(1)
        bank.open(2, flags=Flags.CLOSED)
        expect(bank.account(2).flags, Flags.CLOSED)
        expect(
            bank.transfers(transfer(101, 2, 1, 5), transfer(102, 1, 2, 5)),
            ["debit_account_already_closed", "credit_account_already_closed"],
        )
