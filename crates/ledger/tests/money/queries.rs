//! Queries that the ledger answers from memory: accounts by their fields and by time, pending transfers by
//! page, and the sums of a ledger.

use bezant_ledger::ToCommand as _;
use bezant_ledger::{Event, Ledger, LedgerAnswer, LedgerQuery, LedgerTotals, Operation};
use bezant_rsm::{Progress, StateMachine};
use bezant_types::limits::RESULTS_MAX;
use bezant_types::{
    Account, AccountId, HoldFilter, LedgerNumber, Nanos, QueryFilter, Total, Transfer, TransferFlags,
    TransferId,
};

use crate::twin::Twin;

/// Accounts 1 to 6 at the times 11 to 16. Account 1 has the number 1 in every field, account 6 the number 6.
fn accounts() -> Twin {
    let mut twin = Twin::default();
    let account = |number: u32| Account {
        id: AccountId(number.into()),
        user_data_128: number.into(),
        user_data_64: number.into(),
        user_data_32: number,
        ledger: LedgerNumber(number),
        code: u16::try_from(number).unwrap(),
        ..Account::default()
    };
    let all: Vec<Account> = (1..=6).map(account).collect();
    let command = Operation::CreateAccounts.command(Event::write_all(&all)).unwrap();
    twin.submit(Nanos(16), vec![command]);
    twin
}

fn any() -> QueryFilter {
    QueryFilter { limit: 8189, ..QueryFilter::default() }
}

/// The ids of the accounts that match.
fn found(ledger: &Ledger, filter: QueryFilter) -> Vec<u128> {
    match ledger.query(LedgerQuery::QueryAccounts(filter)) {
        LedgerAnswer::Accounts(views) => views.iter().map(|view| view.account.id.0).collect(),
        other => panic!("not accounts: {other:?}"),
    }
}

#[test]
fn accounts_are_found_by_each_field() {
    let Twin { ledger, .. } = accounts();
    assert_eq!(found(&ledger, any()), [1, 2, 3, 4, 5, 6], "no field is given");
    for number in 1..=6_u32 {
        let code = u16::try_from(number).unwrap();
        let filters = [
            QueryFilter { user_data_128: number.into(), ..any() },
            QueryFilter { user_data_64: number.into(), ..any() },
            QueryFilter { user_data_32: number, ..any() },
            QueryFilter { ledger: LedgerNumber(number), ..any() },
            QueryFilter { code, ..any() },
        ];
        for filter in filters {
            assert_eq!(found(&ledger, filter), [u128::from(number)], "{filter:?}");
        }
    }
    let all_fields = QueryFilter {
        user_data_128: 3,
        user_data_64: 3,
        user_data_32: 3,
        ledger: LedgerNumber(3),
        code: 3,
        ..any()
    };
    assert_eq!(found(&ledger, all_fields), [3]);
    let but_one = [
        QueryFilter { user_data_128: 4, ..all_fields },
        QueryFilter { user_data_64: 4, ..all_fields },
        QueryFilter { user_data_32: 4, ..all_fields },
        QueryFilter { ledger: LedgerNumber(4), ..all_fields },
        QueryFilter { code: 4, ..all_fields },
    ];
    for filter in but_one {
        assert!(found(&ledger, filter).is_empty(), "all fields must match: {filter:?}");
    }
}

#[test]
fn accounts_are_found_by_time_in_both_orders() {
    let Twin { ledger, .. } = accounts();
    let between = |min, max, limit, reversed| {
        let (timestamp_min, timestamp_max) = (Nanos(min), Nanos(max));
        found(&ledger, QueryFilter { timestamp_min, timestamp_max, limit, reversed, ..any() })
    };
    assert_eq!(between(12, 14, 9, false), [2, 3, 4], "both ends are included");
    assert_eq!(between(0, 11, 9, false), [1]);
    assert_eq!(between(16, 0, 9, false), [6], "a maximum of 0 is the end");
    assert_eq!(between(13, 13, 9, false), [3]);
    assert_eq!(between(12, 14, 9, true), [4, 3, 2]);
    assert_eq!(between(12, 15, 2, false), [2, 3], "the limit is a maximum");
    assert_eq!(between(12, 15, 2, true), [5, 4]);
    assert_eq!(between(12, 14, 3, false), [2, 3, 4], "as many as the limit");
    assert!(between(14, 12, 9, false).is_empty(), "no time is in the range");
    assert!(between(0, 0, 0, false).is_empty(), "a limit of 0 is invalid");
    assert!(between(17, 0, 9, false).is_empty());
}

#[test]
fn a_query_reads_more_accounts_than_one_step() {
    let mut twin = Twin::default();
    let mut ledger = std::mem::take(&mut twin.ledger);
    let count = 20_000_u32;
    for first in (1..=count).step_by(8_000) {
        let ids = first..(first + 8_000).min(count + 1);
        let account = |id: u32| Account {
            id: AccountId(id.into()),
            ledger: LedgerNumber(1),
            code: if id.is_multiple_of(5_000) { 2 } else { 1 },
            ..Account::default()
        };
        let all: Vec<Account> = ids.map(account).collect();
        let command = Operation::CreateAccounts.command(Event::write_all(&all)).unwrap();
        let time = Nanos(u64::from(first + command.events));
        let entry =
            bezant_rsm::Entry { time, commands: vec![command], checkpoint: false, rules: Ledger::RULES };
        let found = bezant_types::Fetched::from(ledger.position());
        ledger.apply(bezant_types::LogIndex(first.into()), &entry, found).unwrap();
    }
    assert_eq!(found(&ledger, QueryFilter { code: 2, ..any() }), [5_000, 10_000, 15_000, 20_000]);
    let reversed = QueryFilter { code: 2, reversed: true, limit: 3, ..any() };
    assert_eq!(found(&ledger, reversed), [20_000, 15_000, 10_000]);
    assert_eq!(found(&ledger, QueryFilter { limit: u32::MAX, ..any() }).len(), RESULTS_MAX);
}

fn hold(id: u128) -> Transfer {
    Transfer {
        id: TransferId(id),
        debit_account_id: AccountId(1 + id % 2),
        credit_account_id: AccountId(2 - id % 2),
        ledger: LedgerNumber(1),
        code: 1,
        flags: TransferFlags::PENDING,
        ..Transfer::default()
    }
}

#[test]
fn a_page_of_holds_has_as_many_as_its_limit() {
    let mut twin = Twin::default();
    let account = |id| Account { id: AccountId(id), ledger: LedgerNumber(1), code: 1, ..Account::default() };
    let holds: Vec<Transfer> = (1..=5_000).map(hold).collect();
    let commands = vec![
        Operation::CreateAccounts.command(Event::write_all(&[account(1), account(2), account(3)])).unwrap(),
        Operation::CreateTransfers.command(Event::write_all(&holds)).unwrap(),
    ];
    let entry = bezant_rsm::Entry { time: Nanos(9_000), commands, checkpoint: false, rules: Ledger::RULES };
    let fetched = bezant_types::Fetched::from(twin.ledger.position());
    twin.ledger.apply(bezant_types::LogIndex(1), &entry, fetched).unwrap();
    let page = |limit, account| {
        let filter = HoldFilter { account_id: AccountId(account), limit, ..HoldFilter::default() };
        match twin.ledger.query(LedgerQuery::Holds(filter)) {
            LedgerAnswer::Holds(holds) => holds.iter().map(|hold| hold.id.0).collect::<Vec<u128>>(),
            other => panic!("not holds: {other:?}"),
        }
    };
    for limit in [0, 1, 2, 4_096, 4_097, 4_999, 5_000] {
        assert_eq!(page(limit, 0), (1..=u128::from(limit)).collect::<Vec<_>>(), "limit {limit}");
    }
    let filter = HoldFilter { limit: 1, ..HoldFilter::default() };
    let step = twin.ledger.query_step(LedgerQuery::Holds(filter));
    let is_done = matches!(step, Progress::Done(LedgerAnswer::Holds(page)) if page.len() == 1);
    assert!(is_done, "the transfers after a full page are not read");
    assert_eq!(page(8_000, 1).len(), 5_000, "more than one step");
    assert!(page(8_000, 3).is_empty(), "an account without holds");
}

#[test]
fn the_sums_of_a_ledger_need_an_account_or_an_asset() {
    let Twin { ledger, .. } = accounts();
    let totals = |number| match ledger.query(LedgerQuery::Ledger(LedgerNumber(number))) {
        LedgerAnswer::Ledger(totals) => totals,
        other => panic!("not the sums of a ledger: {other:?}"),
    };
    let with = |number, accounts| {
        Some(LedgerTotals { ledger: LedgerNumber(number), accounts, ..LedgerTotals::default() })
    };
    assert_eq!(totals(6), with(6, 1));
    assert_eq!(totals(978), with(978, 0), "a currency without accounts");
    assert_eq!(totals(5_000), None, "neither an account nor an asset");
}

#[test]
fn a_query_says_how_many_rows_its_answer_may_have() {
    let ids = vec![AccountId(1), AccountId(9), AccountId(2)];
    let hold = |limit| LedgerQuery::Holds(HoldFilter { limit, ..HoldFilter::default() });
    for (query, rows) in [
        (LedgerQuery::Accounts(ids), 3),
        (LedgerQuery::AccountsByName(vec!["alice".to_owned(), "bob".to_owned()]), 2),
        (LedgerQuery::QueryAccounts(QueryFilter { limit: 7, ..any() }), 7),
        (LedgerQuery::QueryAccounts(QueryFilter { limit: u32::MAX, ..any() }), RESULTS_MAX),
        (hold(9), 9),
        (hold(u32::MAX), RESULTS_MAX),
        (LedgerQuery::Ledger(LedgerNumber(1)), 1),
        (LedgerQuery::Books, 0),
    ] {
        assert_eq!(query.rows_max(), rows, "{query:?}");
    }
}

#[test]
fn totals_are_balanced_only_when_both_sums_are_equal() {
    let totals = |debits_pending, credits_pending, debits_posted, credits_posted| LedgerTotals {
        ledger: LedgerNumber(1),
        accounts: 2,
        debits_pending: Total::from(debits_pending),
        debits_posted: Total::from(debits_posted),
        credits_pending: Total::from(credits_pending),
        credits_posted: Total::from(credits_posted),
    };
    let cases = [((1, 1, 2, 2), true), ((1, 2, 2, 2), false), ((1, 1, 2, 1), false), ((1, 2, 2, 1), false)];
    for ((debits_pending, credits_pending, debits_posted, credits_posted), is_balanced) in cases {
        let totals = totals(debits_pending, credits_pending, debits_posted, credits_posted);
        assert_eq!(totals.is_balanced(), is_balanced, "{totals:?}");
    }
}
