"""create_transfers in one phase: created, existing, and every refusal in the order in which it is checked."""

import dataclasses

from ledger import AMOUNT_MAX, ID_MAX, Bank, account, expect, pending, post, transfer
from tigerbeetle import AccountFlags, TransferFlags


def a_transfer_moves_money_and_is_found(server):
    keys = {"user_data_128": 2**128 - 1, "user_data_64": 2**64 - 1, "user_data_32": 2**32 - 1}
    event = transfer(101, 1, 2, 30, **keys, code=2**16 - 1)
    with Bank(server) as bank:
        bank.open(1, 2)
        bank.move(event, transfer(102, 2, 1, 7), transfer(103, 1, 2, 0), transfer(ID_MAX - 1, 1, 2, 1))
        found = bank.client.lookup_transfers([101, 102, 103, ID_MAX - 1])
        expect([one.timestamp for one in found], [result.timestamp for result in bank.results])
        expect(found[0], dataclasses.replace(event, timestamp=bank.results[0].timestamp))
        expect(found[2].amount, 0)
        expect(bank.balances(1), (0, 31, 0, 7))
        expect(bank.balances(2), (0, 7, 0, 31))


def the_same_transfer_again_exists_with_its_first_timestamp(server):
    event = transfer(101, 1, 2, 30)
    with Bank(server) as bank:
        bank.open(1, 2)
        expect(bank.transfers(event, event, transfer(102, 1, 2, 1)), ["created", "exists", "created"])
        first, again, second = [result.timestamp for result in bank.results]
        expect(again, first)
        expect(bank.transfers(transfer(102, 1, 2, 1), event), ["exists", "exists"])
        expect([result.timestamp for result in bank.results], [second, first])
        expect(bank.balances(1), (0, 31, 0, 0))


def every_field_that_differs_has_its_own_status(server):
    different = {
        "flags": TransferFlags.PENDING,
        "pending_id": 100,
        "timeout": 9,
        "debit_account_id": 3,
        "credit_account_id": 3,
        "amount": 31,
        "user_data_128": 9,
        "user_data_64": 9,
        "user_data_32": 9,
        "ledger": 9,
        "code": 9,
    }
    event = transfer(101, 1, 2, 30)
    fields = list(different)
    with Bank(server) as bank:
        bank.open(1, 2, 3)
        bank.move(event)
        for at, name in enumerate(fields):
            alone = dataclasses.replace(event, **{name: different[name]})
            with_all_after = dataclasses.replace(event, **{later: different[later] for later in fields[at:]})
            expect(bank.transfers(alone, with_all_after), ["exists_with_different_" + name] * 2)
        # The id is looked up before the rest of the event is checked.
        expect(
            bank.transfers(dataclasses.replace(event, ledger=0), dataclasses.replace(event, credit_account_id=1)),
            ["exists_with_different_ledger", "exists_with_different_credit_account_id"],
        )
        expect(bank.balances(1), (0, 30, 0, 0))


def refusals_come_in_order_as_an_event_is_corrected(server):
    closing = TransferFlags.CLOSING_DEBIT
    event = transfer(0, 0, 0, 5, pending_id=9, timeout=9, ledger=0, code=0, timestamp=1, flags=closing | 1 << 15)
    steps = [
        ("timestamp_must_be_zero", {"timestamp": 0}),
        ("reserved_flag", {"flags": closing}),
        ("id_must_not_be_zero", {"id": ID_MAX}),
        ("id_must_not_be_int_max", {"id": 101}),
        ("debit_account_id_must_not_be_zero", {"debit_account_id": ID_MAX}),
        ("debit_account_id_must_not_be_int_max", {"debit_account_id": 1}),
        ("credit_account_id_must_not_be_zero", {"credit_account_id": ID_MAX}),
        ("credit_account_id_must_not_be_int_max", {"credit_account_id": 1}),
        ("accounts_must_be_different", {"credit_account_id": 2}),
        ("pending_id_must_be_zero", {"pending_id": 0}),
        ("timeout_reserved_for_pending_transfer", {"timeout": 0}),
        ("closing_transfer_must_be_pending", {"flags": TransferFlags.NONE}),
        ("ledger_must_not_be_zero", {"ledger": 2}),
        ("code_must_not_be_zero", {"code": 1}),
        ("transfer_must_have_the_same_ledger_as_accounts", {"ledger": 1}),
    ]
    with Bank(server) as bank:
        bank.open(1, 2)
        for status, correction in steps:
            expect(bank.transfers(event), [status])
            event = dataclasses.replace(event, **correction)
        # None of these refusals has used up the id.
        expect(bank.transfers(event), ["created"])


def refusals_of_posting_come_in_order_as_an_event_is_corrected(server):
    event = post(201, 0, timeout=9, flags=TransferFlags.POST_PENDING_TRANSFER | TransferFlags.PENDING)
    steps = [
        ("flags_are_mutually_exclusive", {"flags": TransferFlags.POST_PENDING_TRANSFER}),
        ("pending_id_must_not_be_zero", {"pending_id": ID_MAX}),
        ("pending_id_must_not_be_int_max", {"pending_id": 201}),
        ("pending_id_must_be_different", {"pending_id": 101}),
        ("timeout_reserved_for_pending_transfer", {"timeout": 0}),
    ]
    with Bank(server) as bank:
        bank.open(1, 2)
        bank.move(pending(101, 1, 2, 5))
        for status, correction in steps:
            expect(bank.transfers(event), [status])
            event = dataclasses.replace(event, **correction)
        expect(bank.transfers(event), ["created"])


def flags_that_exclude_each_other(server):
    post_flag, void_flag = TransferFlags.POST_PENDING_TRANSFER, TransferFlags.VOID_PENDING_TRANSFER
    others = [
        TransferFlags.PENDING,
        TransferFlags.BALANCING_DEBIT,
        TransferFlags.BALANCING_CREDIT,
        TransferFlags.CLOSING_DEBIT,
        TransferFlags.CLOSING_CREDIT,
    ]
    pairs = [post_flag | void_flag] + [flag | other for flag in (post_flag, void_flag) for other in others]
    with Bank(server) as bank:
        bank.open(1, 2)
        events = [transfer(201 + at, 1, 2, 5, pending_id=101, flags=pair) for at, pair in enumerate(pairs)]
        expect(bank.transfers(*events), ["flags_are_mutually_exclusive"] * len(events))


def ledgers_must_agree(server):
    with Bank(server) as bank:
        bank.open(1, 2)
        bank.open(3, 4, ledger=2)
        expect(
            bank.transfers(transfer(101, 1, 3, 5), transfer(102, 1, 2, 5, ledger=2), transfer(103, 3, 4, 5, ledger=2)),
            ["accounts_must_have_the_same_ledger", "transfer_must_have_the_same_ledger_as_accounts", "created"],
        )
        # Neither refusal has used up the id.
        bank.move(transfer(101, 1, 2, 5), transfer(102, 1, 2, 5))


def a_temporary_refusal_uses_up_the_id(server):
    limit = AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS
    mirror = AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS
    with Bank(server) as bank:
        bank.open(1, 2)
        expect(bank.accounts(account(3, flags=limit), account(4, flags=mirror)), ["created"] * 2)
        events = [
            transfer(101, 9, 1, 5),
            transfer(102, 1, 9, 5),
            transfer(103, 3, 1, 5),
            transfer(104, 1, 4, 5),
            post(105, 111),
        ]
        first = [
            "debit_account_not_found",
            "credit_account_not_found",
            "exceeds_credits",
            "exceeds_debits",
            "pending_transfer_not_found",
        ]
        expect(bank.transfers(*events), first)
        expect(bank.client.lookup_transfers([101, 102, 103, 104, 105]), [])
        # The causes of the refusals are removed; the ids stay used, with this body and with any other.
        bank.open(9)
        bank.move(transfer(110, 1, 3, 50), transfer(112, 4, 1, 50), pending(111, 1, 2, 5))
        expect(bank.transfers(*events), ["id_already_failed"] * 5)
        expect(bank.transfers(transfer(101, 1, 2, 77)), ["id_already_failed"])
        bank.move(*[dataclasses.replace(event, id=event.id + 100) for event in events])


def limits_count_what_is_reserved(server):
    with Bank(server) as bank:
        bank.open(1)
        bank.open(2, flags=AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS)
        bank.open(3, flags=AccountFlags.CREDITS_MUST_NOT_EXCEED_DEBITS)
        bank.move(transfer(101, 1, 2, 100), pending(102, 2, 1, 60))
        expect(
            bank.transfers(*[transfer(103 + at, 2, 1, amount) for at, amount in enumerate([41, 40, 0, 1])]),
            ["exceeds_credits", "created", "created", "exceeds_credits"],
        )
        expect(bank.balances(2), (60, 40, 0, 100))
        bank.move(transfer(111, 3, 1, 100), pending(112, 1, 3, 60))
        expect(
            bank.transfers(*[transfer(113 + at, 1, 3, amount) for at, amount in enumerate([41, 40, 0, 1])]),
            ["exceeds_debits", "created", "created", "exceeds_debits"],
        )
        expect(bank.balances(3), (0, 100, 60, 40))


def sums_that_would_overflow_are_refused(server):
    with Bank(server) as bank:
        bank.open(1, 2, 3, 4, 5, 6)
        bank.move(transfer(101, 1, 2, AMOUNT_MAX), pending(102, 4, 5, AMOUNT_MAX))
        events = [
            transfer(111, 1, 3, 1),
            transfer(112, 3, 2, 1),
            pending(113, 4, 6, 1),
            pending(114, 6, 5, 1),
            transfer(115, 4, 6, 1),
            transfer(116, 6, 5, 1),
        ]
        expect(
            bank.transfers(*events),
            [
                "overflows_debits_posted",
                "overflows_credits_posted",
                "overflows_debits_pending",
                "overflows_credits_pending",
                "overflows_debits",
                "overflows_credits",
            ],
        )
        expect(bank.balances(1), (0, AMOUNT_MAX, 0, 0))
        expect(bank.balances(5), (0, 0, AMOUNT_MAX, 0))


def balancing_moves_the_available_amount(server):
    debit, credit = TransferFlags.BALANCING_DEBIT, TransferFlags.BALANCING_CREDIT
    with Bank(server) as bank:
        bank.open(1, 2, 3)
        bank.move(transfer(101, 1, 2, 100), pending(102, 2, 1, 30))
        # Account 2 was credited 100, of which 30 are reserved.
        bank.move(
            transfer(111, 2, 3, 50, flags=debit),
            transfer(112, 2, 3, AMOUNT_MAX, flags=debit),
            transfer(113, 2, 3, AMOUNT_MAX, flags=debit),
        )
        found = bank.client.lookup_transfers([111, 112, 113])
        expect([one.amount for one in found], [50, 20, 0])
        expect(bank.balances(2), (30, 70, 0, 100))
        # Account 1 was debited 100, and 30 of credits are reserved.
        bank.move(transfer(121, 3, 1, AMOUNT_MAX, flags=credit), transfer(122, 3, 1, 7, flags=credit))
        expect([one.amount for one in bank.client.lookup_transfers([121, 122])], [70, 0])
        expect(bank.balances(1), (0, 100, 30, 70))
        # Both flags: the smaller amount. Account 3 can spend 35, account 1 can receive 25.
        bank.move(transfer(130, 2, 3, 10), transfer(131, 1, 3, 25))
        bank.move(transfer(132, 3, 1, AMOUNT_MAX, flags=debit | credit))
        expect(bank.transfer(132).amount, 25)
        # Sent again: the amount of the request is a limit, which the moved amount must not exceed.
        expect(
            bank.transfers(
                transfer(112, 2, 3, AMOUNT_MAX, flags=debit),
                transfer(112, 2, 3, 20, flags=debit),
                transfer(112, 2, 3, 19, flags=debit),
            ),
            ["exists", "exists", "exists_with_different_amount"],
        )
