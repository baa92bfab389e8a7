"""A write over one protocol is read over the other, and an id has the same outcome over both."""

import tigerbeetle as tb
from ledger import ID_MAX, Bank, account, account_filter, expect, pending, query_filter, transfer
from tigerbeetle import AccountFlags


def written_by_the_client_read_over_rest(server):
    with Bank(server) as bank:
        bank.open(1, 2, ledger=978, code=7, user_data_128=2**128 - 1, flags=AccountFlags.HISTORY)
        made = bank.results[0].timestamp
        bank.move(transfer(ID_MAX - 1, 1, 2, 1050, ledger=978, user_data_64=2**64 - 1))
        moved = bank.results[0].timestamp
        bank.move(pending(102, 2, 1, 50, ledger=978, timeout=60))
        code, seen = server.rest("GET", "/v1/accounts/1")
        expect(code, 200)
        expect((seen["ledger"], seen["asset"], seen["code"], seen["flags"]), (978, "EUR", 7, ["history"]))
        expect((seen["user_data_128"], seen["timestamp"]), (str(2**128 - 1), str(made)))
        expect(
            seen["balances"],
            {
                "debits_pending": "0",
                "debits_posted": "1050",
                "credits_pending": "50",
                "credits_posted": "0",
                "display": "-10.50 EUR",
            },
        )
        expect((seen["spends"]["sequence"], seen["receipts"]["sequence"]), (1, 1))
        code, seen = server.rest("GET", "/v1/transfers/%d" % (ID_MAX - 1))
        expect(code, 200)
        expect((seen["amount"], seen["user_data_64"], seen["timestamp"]), ("1050", str(2**64 - 1), str(moved)))
        code, seen = server.rest("GET", "/v1/accounts/2/balances")
        expect((code, [row["balances"]["credits_posted"] for row in seen["items"]]), (200, ["1050", "1050"]))
        code, seen = server.rest("GET", "/v1/events?from=start")
        expect((code, [event["kind"] for event in seen["items"]]), (200, ["single_phase", "two_phase_pending"]))


def written_over_rest_read_by_the_client(server):
    with Bank(server) as bank:
        first = {"id": "1", "name": "users:alice", "asset": "EUR", "code": 7, "flags": ["history"]}
        second = {"id": "2", "ledger": 978, "code": 7, "user_data_128": str(2**128 - 1)}
        expect(server.rest("POST", "/v1/accounts", [first, second])[0], 200)
        body = {"id": "101", "debit_account": "users:alice", "credit_account": "2", "amount": "1050", "asset": "EUR"}
        code, made = server.rest("POST", "/v1/transfers", {**body, "code": 3})
        expect(code, 201)
        expect(bank.account(1).flags, AccountFlags.HISTORY)
        expect((bank.account(2).user_data_128, bank.account(2).ledger), (2**128 - 1, 978))
        expect(bank.balances(1), (0, 1050, 0, 0))
        recorded = transfer(101, 1, 2, 1050, ledger=978, code=3, timestamp=int(made["timestamp"]))
        expect(bank.transfer(101), recorded)
        expect(bank.client.get_account_transfers(account_filter(2)), [recorded])
        expect(bank.client.query_transfers(query_filter(code=3)), [recorded])
        balances = bank.client.get_account_balances(account_filter(1))
        expect(balances, [tb.AccountBalance(0, 1050, 0, 0, recorded.timestamp)])


def an_id_has_one_outcome_over_both_protocols(server):
    with Bank(server) as bank:
        bank.open(1, 2)
        bank.move(transfer(101, 1, 2, 5))
        made = bank.results[0].timestamp
        body = {"debit_account": "1", "credit_account": "2", "amount": "5", "ledger": 1, "code": 1}
        code, seen = server.rest("POST", "/v1/transfers", {**body, "id": "101"})
        expect((code, seen["status"], seen["timestamp"]), (200, "exists", str(made)))
        code, seen = server.rest("POST", "/v1/transfers", {**body, "id": "102"})
        expect((code, seen["status"]), (201, "created"))
        expect(
            bank.transfers(transfer(102, 1, 2, 5), transfer(102, 1, 2, 6)),
            ["exists", "exists_with_different_amount"],
        )
        expect(str(bank.results[0].timestamp), seen["timestamp"])
        # For a client without names, an account with a name is the same account.
        expect(server.rest("POST", "/v1/accounts", {"id": "3", "name": "c", "ledger": 1, "code": 1})[0], 201)
        expect(bank.accounts(account(3), account(3, code=2)), ["exists", "exists_with_different_code"])


def bounds_made_over_rest_refuse_with_the_statuses_of_limits(server):
    with Bank(server) as bank:
        bank.open(1)
        for id, bounds in [("2", {"minimum": "-50"}), ("3", {"maximum": "50"})]:
            body = {"id": id, "ledger": 1, "code": 1, "bounds": bounds}
            expect(server.rest("POST", "/v1/accounts", body)[0], 201)
        expect(
            bank.transfers(transfer(101, 2, 1, 51), transfer(102, 2, 1, 50), pending(103, 2, 1, 1)),
            ["exceeds_credits", "created", "exceeds_credits"],
        )
        expect(
            bank.transfers(transfer(111, 1, 3, 51), transfer(112, 1, 3, 50), pending(113, 1, 3, 1)),
            ["exceeds_debits", "created", "exceeds_debits"],
        )
        # Both would leave their bounds: the debit account is checked first.
        expect(bank.transfers(transfer(121, 2, 3, 1)), ["exceeds_credits"])
        # These refusals are temporary, so their ids are used up. After a change of the bounds another id succeeds.
        expect(server.rest("PUT", "/v1/accounts/2/bounds", {"minimum": "-500"})[0], 200)
        expect(bank.transfers(transfer(101, 2, 1, 51), transfer(201, 2, 1, 51)), ["id_already_failed", "created"])
        # Over REST the refusal has its own name.
        body = {"id": "300", "debit_account": "1", "credit_account": "3", "amount": "1", "ledger": 1, "code": 1}
        code, seen = server.rest("POST", "/v1/transfers", body)
        expect((code, seen["code"]), (422, "balance_out_of_bounds"))
