"""Lookups, the transfers and balances of an account, queries: every field of the filters, both orders, pages."""

import itertools

import tigerbeetle as tb
from ledger import (
    ID_MAX,
    Bank,
    account,
    account_filter,
    created,
    expect,
    pending,
    post,
    query_filter,
    transfer,
    void,
)
from tigerbeetle import AccountFilterFlags, AccountFlags, QueryFilterFlags, bindings

COUNT = 1000
PAGE = 100

DEBITS, CREDITS, REVERSED = AccountFilterFlags.DEBITS, AccountFilterFlags.CREDITS, AccountFilterFlags.REVERSED

# Fields of filters, alone and combined; some find nothing.
FIELDS = [
    {},
    {"user_data_128": 3},
    {"user_data_64": 5},
    {"user_data_32": 2},
    {"code": 4},
    {"user_data_128": 2, "code": 1},
    {"user_data_64": 7, "user_data_32": 1},
    {"user_data_128": 4, "user_data_64": 1, "user_data_32": 3, "code": 2},
    {"user_data_64": 8},
    {"code": 9},
]


def _keys(at):
    """Values of the fields that repeat with different periods, so that every combination occurs."""
    return {"user_data_128": 1 + at % 5, "user_data_64": 1 + at % 7, "user_data_32": 1 + at % 3, "code": 1 + at % 4}


def _stocked(bank):
    """Creates accounts 1 and 2 with 1,000 alternating transfers between them; returns the recorded transfers."""
    bank.open(1, flags=AccountFlags.HISTORY)
    bank.open(2)
    events = []
    for at in range(COUNT):
        debit, credit = (1, 2) if at % 2 == 0 else (2, 1)
        events.append(transfer(10_000 - at, debit, credit, at, **_keys(at)))
    results = bank.client.create_transfers(events)
    created(results)
    for event, result in zip(events, results):
        event.timestamp = result.timestamp
    return events


def _matching(rows, fields, **others):
    return [row for row in rows if all(getattr(row, name) == value for name, value in {**fields, **others}.items())]


def _pages(ask, is_reversed):
    """Reads page after page, each from the timestamp after the last one of the previous page."""
    bounds = {}
    for _ in range(COUNT):
        page = ask(bounds)
        if not page:
            return
        assert len(page) <= PAGE
        yield page
        last = page[-1].timestamp
        bounds = {"timestamp_max": last - 1} if is_reversed else {"timestamp_min": last + 1}


def lookups_leave_out_unknown_ids(server):
    with Bank(server) as bank:
        bank.open(1, 2, 3)
        bank.move(transfer(101, 1, 2, 5), transfer(102, 1, 2, 5))
        asked = [3, 99, 1, 0, ID_MAX, 3, 2]
        expect([one.id for one in bank.client.lookup_accounts(asked)], [3, 1, 3, 2])
        asked = [102, 1, 101, 0, ID_MAX, 102]
        expect([one.id for one in bank.client.lookup_transfers(asked)], [102, 101, 102])
        expect(bank.client.lookup_accounts([99]), [])
        expect(bank.client.lookup_transfers([99]), [])


def account_transfers_by_every_field(server):
    with Bank(server) as bank:
        stock = _stocked(bank)
        sides = {DEBITS: {"debit_account_id": 1}, CREDITS: {"credit_account_id": 1}, DEBITS | CREDITS: {}}
        for fields, (flags, side) in itertools.product(FIELDS, sides.items()):
            expected = _matching(stock, fields, **side)
            found = bank.client.get_account_transfers(account_filter(1, **fields, flags=flags))
            expect(found, expected, fields)
            found = bank.client.get_account_transfers(account_filter(1, **fields, flags=flags | REVERSED))
            expect(found, expected[::-1], fields)
        expect(bank.client.get_account_transfers(account_filter(3)), [])


def account_balances_after_each_transfer(server):
    with Bank(server) as bank:
        stock = _stocked(bank)
        balances, debits, credits = [], 0, 0
        for one in stock:
            debits += one.amount if one.debit_account_id == 1 else 0
            credits += one.amount if one.credit_account_id == 1 else 0
            balances.append(tb.AccountBalance(0, debits, 0, credits, one.timestamp))
        ask = bank.client.get_account_balances
        expect(ask(account_filter(1)), balances)
        expect(ask(account_filter(1, flags=CREDITS | REVERSED, limit=7)), balances[1::2][::-1][:7])
        with_key = [balance for balance, one in zip(balances, stock) if one.user_data_64 == 5 and one.code == 2]
        expect(ask(account_filter(1, user_data_64=5, code=2)), with_key)
        within = {"timestamp_min": stock[400].timestamp, "timestamp_max": stock[449].timestamp}
        expect(ask(account_filter(1, **within)), balances[400:450])
        # Account 2 was created without history.
        expect(ask(account_filter(2)), [])
        expect(ask(account_filter(3)), [])


def account_balances_of_two_phases(server):
    with Bank(server) as bank:
        bank.open(1)
        bank.open(2, flags=AccountFlags.HISTORY)
        reserves = [pending(101, 1, 2, 10), pending(102, 1, 2, 20)]
        bank.move(*reserves, post(103, 101, 4), void(104, 102), transfer(105, 2, 1, 1))
        seen = [
            (one.debits_pending, one.debits_posted, one.credits_pending, one.credits_posted)
            for one in bank.client.get_account_balances(account_filter(2))
        ]
        expect(seen, [(0, 0, 10, 0), (0, 0, 30, 0), (0, 0, 20, 4), (0, 0, 0, 4), (0, 1, 0, 4)])
        times = [one.timestamp for one in bank.client.get_account_balances(account_filter(2))]
        expect(times, [result.timestamp for result in bank.results])
        expect(times, [one.timestamp for one in bank.client.get_account_transfers(account_filter(2))])


def transfers_by_every_field(server):
    with Bank(server) as bank:
        stock = _stocked(bank)
        bank.open(3, 4, ledger=2)
        other = transfer(1, 3, 4, 7, ledger=2, **_keys(2))
        bank.move(other)
        other.timestamp = bank.results[0].timestamp
        stock.append(other)
        for fields, ledger in itertools.product(FIELDS, [0, 1, 2, 3]):
            expected = _matching(stock, fields, **({"ledger": ledger} if ledger else {}))
            found = bank.client.query_transfers(query_filter(**fields, ledger=ledger))
            expect(found, expected, fields)
            found = bank.client.query_transfers(query_filter(**fields, ledger=ledger, flags=QueryFilterFlags.REVERSED))
            expect(found, expected[::-1], fields)


def accounts_by_every_field(server):
    with Bank(server) as bank:
        events = [account(1 + at, ledger=1 + at % 2, **_keys(at)) for at in range(COUNT)]
        results = bank.client.create_accounts(events)
        created(results)
        for event, result in zip(events, results):
            event.timestamp = result.timestamp
        for fields, ledger in itertools.product(FIELDS, [0, 1, 2, 3]):
            expected = _matching(events, fields, **({"ledger": ledger} if ledger else {}))
            found = bank.client.query_accounts(query_filter(**fields, ledger=ledger))
            expect(found, expected, fields)
            found = bank.client.query_accounts(
                query_filter(**fields, ledger=ledger, flags=QueryFilterFlags.REVERSED, limit=9)
            )
            expect(found, expected[::-1][:9], fields)
        pages = _pages(lambda bounds: bank.client.query_accounts(query_filter(limit=PAGE, **bounds)), False)
        expect(list(itertools.chain(*pages)), events)


def pages_in_both_directions(server):
    with Bank(server) as bank:
        stock = _stocked(bank)
        client = bank.client
        for is_reversed in (False, True):
            order = stock[::-1] if is_reversed else stock
            sides = DEBITS | CREDITS | (REVERSED if is_reversed else 0)
            flags = QueryFilterFlags.REVERSED if is_reversed else QueryFilterFlags.NONE
            asks = [
                lambda bounds: client.get_account_transfers(account_filter(2, limit=PAGE, flags=sides, **bounds)),
                lambda bounds: client.query_transfers(query_filter(limit=PAGE, flags=flags, **bounds)),
                lambda bounds: client.query_transfers(query_filter(limit=PAGE, flags=flags, code=3, **bounds)),
            ]
            for ask, expected in zip(asks, [order, order, _matching(order, {"code": 3})]):
                pages = list(_pages(ask, is_reversed))
                expect(list(itertools.chain(*pages)), expected)
                expect([len(page) for page in pages[:-1]], [PAGE] * (len(pages) - 1))
            balances = _pages(
                lambda bounds: client.get_account_balances(account_filter(1, limit=PAGE, flags=sides, **bounds)),
                is_reversed,
            )
            expect([one.timestamp for one in itertools.chain(*balances)], [one.timestamp for one in order])


def bounds_of_time_are_inclusive(server):
    with Bank(server) as bank:
        stock = _stocked(bank)
        first, last = stock[10].timestamp, stock[20].timestamp
        for least, most, expected in [
            (first, last, stock[10:21]),
            (first + 1, last - 1, stock[11:20]),
            (first, first, stock[10:11]),
            (0, last, stock[:21]),
            (first, 0, stock[10:]),
            (stock[-1].timestamp + 1, 0, []),
        ]:
            within = {"timestamp_min": least, "timestamp_max": most}
            expect(bank.client.get_account_transfers(account_filter(1, **within)), expected)
            expect(bank.client.query_transfers(query_filter(**within)), expected)


def invalid_filters_find_nothing(server):
    class AccountFilterWithReserved(bindings.CAccountFilter):
        @classmethod
        def from_param(cls, event):
            record = super().from_param(event)
            record.reserved[57] = 1
            return record

    class QueryFilterWithReserved(bindings.CQueryFilter):
        @classmethod
        def from_param(cls, event):
            record = super().from_param(event)
            record.reserved[0] = 1
            return record

    wrong = [
        {"limit": 0},
        {"timestamp_min": 2**64 - 1},
        {"timestamp_max": 2**64 - 1},
        {"timestamp_min": 2, "timestamp_max": 1},
        {"flags": 0xFFFF},
        {"flags": 1 << 31},
    ]
    with Bank(server) as bank:
        bank.open(1, 2, flags=AccountFlags.HISTORY)
        bank.move(transfer(101, 1, 2, 5))
        client = bank.client
        for fields in [*wrong, {"account_id": 0}, {"account_id": ID_MAX}, {"flags": 0}, {"flags": REVERSED}]:
            asked = account_filter(**{"account_id": 1, **fields})
            expect(client.get_account_transfers(asked), [], fields)
            expect(client.get_account_balances(asked), [], fields)
        for fields in wrong:
            expect(client.query_accounts(query_filter(**fields)), [], fields)
            expect(client.query_transfers(query_filter(**fields)), [], fields)
        for operation, asked, event, result in [
            (tb.Operation.GET_ACCOUNT_TRANSFERS, account_filter(1), AccountFilterWithReserved, bindings.CTransfer),
            (tb.Operation.GET_ACCOUNT_BALANCES, account_filter(1), AccountFilterWithReserved, bindings.CAccountBalance),
            (tb.Operation.QUERY_ACCOUNTS, query_filter(), QueryFilterWithReserved, bindings.CAccount),
            (tb.Operation.QUERY_TRANSFERS, query_filter(), QueryFilterWithReserved, bindings.CTransfer),
        ]:
            expect(client._submit(operation, [asked], event, result), [], operation)
        # The same filters without the fault find something.
        expect(len(client.get_account_transfers(account_filter(1))), 1)
        expect(len(client.get_account_balances(account_filter(1))), 1)
        expect(len(client.query_accounts(query_filter())), 2)
        expect(len(client.query_transfers(query_filter())), 1)
