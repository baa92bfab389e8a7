//! Every operation of the protocol, and how the other listeners show its effects.

use bezant_codec::{
    account_balance_from_bytes, account_filter_to_bytes, account_to_bytes, query_filter_to_bytes, records,
    transfer_to_bytes,
};
use bezant_tigerbeetle::{CHANGE_EVENT_SIZE, HEADER_SIZE, Operation};
use bezant_types::limits::EVENTS_MAX;
use bezant_types::{
    Account, AccountFilter, AccountFilterFlags, AccountFlags, AccountId, LedgerNumber, Nanos, QueryFilter,
    Transfer, TransferFlags, TransferId,
};

use crate::common::Server;
use crate::peer::{
    CREATED, Peer, account, accounts, body, ids_to_bytes, results, statuses, transfer, transfers,
};

/// The payload of an empty batch.
const NOTHING: Vec<u8> = Vec::new();

fn ids(transfers: &[Transfer]) -> Vec<u128> {
    transfers.iter().map(|transfer| transfer.id.0).collect()
}

fn both_sides(account: u128, limit: u32) -> AccountFilter {
    AccountFilter {
        account_id: AccountId(account),
        limit,
        flags: AccountFilterFlags { debits: true, credits: true, reversed: false },
        ..AccountFilter::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_listener_writes_the_others_read() {
    let server = Server::start().await;
    server.two_accounts().await;
    let mut peer = Peer::open(&server, 1).await;
    let found = peer.lookup_accounts(&[2, 9, 1]).await;
    assert_eq!(found.iter().map(|account| account.id.0).collect::<Vec<_>>(), [2, 1]);
    let done = peer.create_transfers(&[transfer(7, 1_050)]).await;
    assert_eq!(statuses(&done), [CREATED]);

    let shown = server.get("/v1/transfers/7").await.json();
    assert_eq!(shown["amount"], "1050");
    assert_eq!(shown["timestamp"], done[0].timestamp.0.to_string());
    assert_eq!(server.get("/v1/accounts/bob").await.json()["balances"]["credits_posted"], "1050");
    let metrics = server.get("/metrics").await.body;
    for line in [
        r#"bezant_requests_total{api="tigerbeetle",call="create_transfers",outcome="ok"} 1"#,
        r#"bezant_events_total{operation="create_transfers",status="created"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }

    let paid =
        r#"[{"id":"8","debit_account":"alice","credit_account":"bob","amount":"5","asset":"EUR","code":1}]"#;
    assert_eq!(server.post("/v1/transfers", paid).await.status, 200);
    let found = peer.call(Operation::LookupTransfers, &[ids_to_bytes(&[8, 99, 7, 8])]).await;
    assert_eq!(ids(&transfers(&found[0])), [8, 7, 8]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_request_of_every_kind_fits() {
    let server = Server::start().await;
    let mut peer = Peer::open(&server, 1).await;
    let many = 1..=EVENTS_MAX as u128;
    let all: Vec<Account> = many.clone().map(account).collect();
    let created = peer.create_accounts(&all).await;
    assert!(statuses(&created).iter().all(|status| *status == CREATED) && created.len() == EVENTS_MAX);
    assert!(created.windows(2).all(|two| two[0].timestamp.0 + 1 == two[1].timestamp.0));
    let all: Vec<Transfer> = many.clone().map(|id| transfer(id, 1)).collect();
    let paid = peer.create_transfers(&all).await;
    assert!(statuses(&paid).iter().all(|status| *status == CREATED) && paid.len() == EVENTS_MAX);
    let many: Vec<u128> = many.collect();
    assert_eq!(peer.lookup_accounts(&many).await.len(), EVENTS_MAX);
    let found = peer.call(Operation::LookupTransfers, &[ids_to_bytes(&many)]).await;
    assert_eq!(ids(&transfers(&found[0])), many);
    let filter = account_filter_to_bytes(&both_sides(1, u32::MAX)).to_vec();
    let found = peer.call(Operation::GetAccountTransfers, &[filter]).await;
    assert_eq!(ids(&transfers(&found[0])), many);
    assert_eq!(peer.reply.len(), HEADER_SIZE + 1_048_320);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_share_a_request_and_stay_apart() {
    let server = Server::start().await;
    let mut peer = Peer::open(&server, 1).await;
    peer.two_accounts().await;
    let linked =
        |id| transfer_to_bytes(&Transfer { flags: TransferFlags::LINKED, ..transfer(id, 1) }).to_vec();
    let plain = |id| transfer_to_bytes(&transfer(id, 1)).to_vec();
    let batches =
        [plain(1), Vec::new(), linked(2), [linked(3), plain(4)].concat(), plain(5), plain(1), Vec::new()];
    let done = peer.call(Operation::CreateTransfers, &batches).await;
    let done: Vec<Vec<u32>> = done.iter().map(|batch| statuses(&results(batch))).collect();
    assert_eq!(done, [&[CREATED][..], &[], &[2], &[CREATED, CREATED], &[CREATED], &[46], &[]]);

    let looked_up = [ids_to_bytes(&[5, 1]), ids_to_bytes(&[9]), ids_to_bytes(&[1, 9, 3]), Vec::new()];
    let found = peer.call(Operation::LookupTransfers, &looked_up).await;
    let found: Vec<Vec<u128>> = found.iter().map(|batch| ids(&transfers(batch))).collect();
    assert_eq!(found, [&[5, 1][..], &[], &[1, 3], &[]]);
    let found = peer.call(Operation::LookupAccounts, &[ids_to_bytes(&[2]), ids_to_bytes(&[3, 1, 1])]).await;
    let found: Vec<Vec<u128>> =
        found.iter().map(|batch| accounts(batch).iter().map(|account| account.id.0).collect()).collect();
    assert_eq!(found, [&[2][..], &[1, 1]]);
    let filters = [1, 7, 2].map(|id| account_filter_to_bytes(&both_sides(id, 2)).to_vec());
    let found = peer.call(Operation::GetAccountTransfers, &filters).await;
    let found: Vec<Vec<u128>> = found.iter().map(|batch| ids(&transfers(batch))).collect();
    assert_eq!(found, [&[1, 3][..], &[], &[1, 3]]);
    let empty = peer.call(Operation::CreateAccounts, &[Vec::new()]).await;
    assert_eq!(empty, [NOTHING]);
    server.stop().await;
}

/// Creates accounts 1 to 3 with different fields for the filters, and transfers 1 to 30 between 1 and 2.
async fn filled(server: &Server) -> (Peer, Vec<Nanos>) {
    let mut peer = Peer::open(server, 1).await;
    let all: Vec<Account> = (1..=3)
        .map(|id| Account {
            user_data_128: id,
            user_data_64: u64::from(id == 2),
            user_data_32: 7,
            ledger: LedgerNumber(if id == 3 { 840 } else { 978 }),
            code: u16::try_from(id).unwrap(),
            flags: if id == 1 { AccountFlags::HISTORY } else { AccountFlags::NONE },
            ..account(id)
        })
        .collect();
    assert_eq!(statuses(&peer.create_accounts(&all).await), [CREATED; 3]);
    let all: Vec<Transfer> = (1..=30)
        .map(|id| Transfer {
            user_data_128: id % 2,
            user_data_64: u64::from(id % 3 == 0),
            user_data_32: u32::from(id % 5 == 0),
            code: if id > 20 { 2 } else { 1 },
            debit_account_id: AccountId(if id % 10 == 0 { 2 } else { 1 }),
            credit_account_id: AccountId(if id % 10 == 0 { 1 } else { 2 }),
            ..transfer(id, id)
        })
        .collect();
    let done = peer.create_transfers(&all).await;
    assert_eq!(statuses(&done), [CREATED; 30]);
    let times = done.iter().map(|result| result.timestamp).collect();
    (peer, times)
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_select_transfers_in_pages_and_both_directions() {
    let server = Server::start().await;
    let (mut peer, times) = filled(&server).await;
    let all = both_sides(1, 100);
    let flags = |debits, credits, reversed| AccountFilterFlags { debits, credits, reversed };
    let cases: Vec<(AccountFilter, Vec<u128>)> = vec![
        (all, (1..=30).collect()),
        (AccountFilter { flags: flags(false, true, false), ..all }, vec![10, 20, 30]),
        (AccountFilter { flags: flags(false, true, true), ..all }, vec![30, 20, 10]),
        (AccountFilter { limit: 3, flags: flags(true, true, true), ..all }, vec![30, 29, 28]),
        (AccountFilter { user_data_128: 1, user_data_64: 1, ..all }, vec![3, 9, 15, 21, 27]),
        (AccountFilter { user_data_32: 1, code: 2, ..all }, vec![25, 30]),
        (AccountFilter { timestamp_min: times[27], ..all }, vec![28, 29, 30]),
        (AccountFilter { timestamp_max: times[2], ..all }, vec![1, 2, 3]),
        (AccountFilter { timestamp_min: times[4], timestamp_max: times[4], ..all }, vec![5]),
        (AccountFilter { timestamp_min: times[4], timestamp_max: times[3], ..all }, vec![]),
        (AccountFilter { limit: 0, ..all }, vec![]),
        (AccountFilter { account_id: AccountId(0), ..all }, vec![]),
        (AccountFilter { flags: flags(false, false, true), ..all }, vec![]),
        (AccountFilter { account_id: AccountId(3), ..all }, vec![]),
    ];
    for (filter, expected) in cases {
        let request = account_filter_to_bytes(&filter).to_vec();
        let found = peer.call(Operation::GetAccountTransfers, std::slice::from_ref(&request)).await;
        assert_eq!(ids(&transfers(&found[0])), expected, "{filter:?}");
        let found = peer.call(Operation::GetAccountBalances, &[request]).await;
        let balances = records(&found[0]).unwrap().iter().map(account_balance_from_bytes);
        let balances: Vec<_> = balances.map(|balance| balance.timestamp).collect();
        let expected: Vec<_> = expected.iter().map(|id| times[usize::try_from(*id).unwrap() - 1]).collect();
        assert_eq!(balances, expected, "balances of {filter:?}");
    }
    let mut reserved = account_filter_to_bytes(&all).to_vec();
    reserved[60] = 1;
    assert_eq!(peer.call(Operation::GetAccountTransfers, &[reserved]).await, [NOTHING]);
    let without_history = account_filter_to_bytes(&both_sides(2, 9)).to_vec();
    assert_eq!(peer.call(Operation::GetAccountBalances, &[without_history]).await, [NOTHING]);

    let mut page = AccountFilter { limit: 7, ..all };
    let mut seen = Vec::new();
    loop {
        let found =
            peer.call(Operation::GetAccountTransfers, &[account_filter_to_bytes(&page).to_vec()]).await;
        let found = transfers(&found[0]);
        let Some(last) = found.last() else { break };
        page.timestamp_min = Nanos(last.timestamp.0 + 1);
        seen.extend(ids(&found));
    }
    assert_eq!(seen, (1..=30).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_find_accounts_and_transfers_by_their_fields() {
    let server = Server::start().await;
    let (mut peer, times) = filled(&server).await;
    let all = QueryFilter { limit: u32::MAX, ..QueryFilter::default() };
    for (filter, expected) in [
        (all, vec![1, 2, 3]),
        (QueryFilter { reversed: true, limit: 2, ..all }, vec![3, 2]),
        (QueryFilter { user_data_128: 2, ..all }, vec![2]),
        (QueryFilter { user_data_64: 1, ..all }, vec![2]),
        (QueryFilter { user_data_32: 7, ledger: LedgerNumber(978), ..all }, vec![1, 2]),
        (QueryFilter { code: 3, ..all }, vec![3]),
        (QueryFilter { limit: 0, ..all }, vec![]),
    ] {
        let found = peer.call(Operation::QueryAccounts, &[query_filter_to_bytes(&filter).to_vec()]).await;
        let found: Vec<u128> = accounts(&found[0]).iter().map(|account| account.id.0).collect();
        assert_eq!(found, expected, "{filter:?}");
    }
    for (filter, expected) in [
        (QueryFilter { code: 2, limit: 2, ..all }, vec![21, 22]),
        (QueryFilter { user_data_128: 1, user_data_64: 1, user_data_32: 1, ..all }, vec![15]),
        (QueryFilter { ledger: LedgerNumber(840), ..all }, vec![]),
        (QueryFilter { timestamp_min: times[28], reversed: true, ..all }, vec![30, 29]),
    ] {
        let found = peer.call(Operation::QueryTransfers, &[query_filter_to_bytes(&filter).to_vec()]).await;
        assert_eq!(ids(&transfers(&found[0])), expected, "{filter:?}");
    }
    server.stop().await;
}

fn change_filter(min: u64, max: u64, limit: u32) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[0..8].copy_from_slice(&min.to_le_bytes());
    bytes[8..16].copy_from_slice(&max.to_le_bytes());
    bytes[16..20].copy_from_slice(&limit.to_le_bytes());
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn change_events_have_the_transfer_and_both_accounts_after_it() {
    let server = Server::start().await;
    let mut peer = Peer::open(&server, 1).await;
    let owner = Account { user_data_128: 77, user_data_32: 5, code: 9, ..account(1) };
    let opened = peer.create_accounts(&[owner, account(2)]).await;
    let pending = Transfer { flags: TransferFlags::PENDING, timeout_seconds: 60, ..transfer(1, 30) };
    let post = Transfer {
        pending_id: TransferId(1),
        flags: TransferFlags::POST_PENDING,
        amount: 20,
        ..transfer(2, 0)
    };
    let closing = TransferFlags::PENDING.union(TransferFlags::CLOSING_DEBIT);
    let done = peer.create_transfers(&[pending, post, Transfer { flags: closing, ..transfer(3, 0) }]).await;
    assert_eq!(statuses(&done), [CREATED; 3]);
    let request = peer.frame(Operation::GetChangeEvents, &change_filter(0, 0, u32::MAX));
    peer.exchange(request).await.unwrap();
    let (events, rest) = peer.body().as_chunks::<CHANGE_EVENT_SIZE>();
    assert_eq!((events.len(), rest.len()), (3, 0));
    let wide = |event: &[u8], at: usize| u128::from_le_bytes(*event[at..].first_chunk().unwrap());
    let time = |event: &[u8], at: usize| u64::from_le_bytes(*event[at..].first_chunk().unwrap());
    // Id and kind; then of the debit account: debits pending and posted, user data, code, flags.
    let shown: Vec<_> = events
        .iter()
        .map(|event| (wide(event, 0), event[88], wide(event, 144), wide(event, 160), event[236], event[238]))
        .collect();
    assert_eq!(shown, [(1, 1, 30, 0, 9, 0), (2, 2, 0, 20, 9, 0), (3, 1, 0, 20, 9, 1 << 5)]);
    assert!(events.iter().all(|event| wide(event, 208) == 77 && event[232] == 5), "the account's own keys");
    for (event, done) in events.iter().zip(&done) {
        assert_eq!([352, 360].map(|at| time(event, at)), [done.timestamp.0; 2]);
        assert_eq!([368, 376].map(|at| time(event, at)), [opened[0].timestamp.0, opened[1].timestamp.0]);
    }
    for (filter, count) in [
        (change_filter(done[1].timestamp.0, 0, 9), 2),
        (change_filter(0, done[0].timestamp.0, 9), 1),
        (change_filter(0, 0, 1), 1),
        (change_filter(0, 0, 0), 0),
        (change_filter(2, 1, 9), 0),
    ] {
        let request = peer.frame(Operation::GetChangeEvents, &filter);
        peer.exchange(request).await.unwrap();
        assert_eq!(peer.body().len(), count * CHANGE_EVENT_SIZE);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_refuse_with_a_status_of_the_protocol() {
    let server = Server::start().await;
    let bounded = r#"[{"id":"1","asset":"EUR","code":1,"bounds":{"minimum":"0"}},
        {"id":"2","asset":"EUR","code":1,"bounds":{"maximum":"10"}},{"id":"3","asset":"EUR","code":1}]"#;
    assert_eq!(server.post("/v1/accounts", bounded).await.status, 200);
    let mut peer = Peer::open(&server, 1).await;
    let fill = Transfer { debit_account_id: AccountId(3), ..transfer(2, 11) };
    let done = peer.create_transfers(&[transfer(1, 5), fill]).await;
    assert_eq!(statuses(&done), [54, 55], "exceeds_credits, exceeds_debits");
    let events = account_to_bytes(&account(1)).to_vec();
    let again = peer.call(Operation::CreateAccounts, &[events]).await;
    assert_eq!(statuses(&results(&again[0])), [21], "exists");
    assert!(body(Operation::CreateAccounts, &[Vec::new()]).len() == 128);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_past_the_end_of_time_find_nothing() {
    let server = Server::start().await;
    let (mut peer, _) = filled(&server).await;
    let end = 1 << 63;
    for (min, max, finds) in
        [(0, end - 1, true), (0, end, false), (end, 0, false), (end, end + 1, false), (0, u64::MAX, false)]
    {
        let (timestamp_min, timestamp_max) = (Nanos(min), Nanos(max));
        let query = QueryFilter { timestamp_min, timestamp_max, limit: 10, ..QueryFilter::default() };
        let account = AccountFilter { timestamp_min, timestamp_max, ..both_sides(1, 10) };
        let (query, account) =
            (query_filter_to_bytes(&query).to_vec(), account_filter_to_bytes(&account).to_vec());
        for (operation, filter) in [
            (Operation::QueryAccounts, &query),
            (Operation::QueryTransfers, &query),
            (Operation::GetAccountTransfers, &account),
            (Operation::GetAccountBalances, &account),
        ] {
            let found = peer.call(operation, std::slice::from_ref(filter)).await;
            assert_eq!(!found[0].is_empty(), finds, "{operation:?} from {min} to {max}");
        }
        let request = peer.frame(Operation::GetChangeEvents, &change_filter(min, max, 10));
        peer.exchange(request).await.unwrap();
        assert_eq!(!peer.body().is_empty(), finds, "change events from {min} to {max}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_account_still_exists_as_it_was_created() {
    let server = Server::start().await;
    let mut peer = Peer::open(&server, 1).await;
    peer.two_accounts().await;
    let closing = TransferFlags::PENDING.union(TransferFlags::CLOSING_DEBIT);
    assert_eq!(
        statuses(&peer.create_transfers(&[Transfer { flags: closing, ..transfer(7, 0) }]).await),
        [CREATED]
    );
    let closed = peer.lookup_accounts(&[1]).await[0];
    assert!(closed.flags.contains(AccountFlags::CLOSED), "{closed:?}");
    let (again, different) = (account(1), Account { flags: AccountFlags::CLOSED, ..account(1) });
    assert_eq!(statuses(&peer.create_accounts(&[again, different]).await), [21, 15]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_imported_chain_breaks_times_follow_the_request() {
    let server = Server::start().await;
    let mut peer = Peer::open(&server, 1).await;
    peer.two_accounts().await;
    let now = peer.create_transfers(&[transfer(7, 1)]).await[0].timestamp.0;
    let imported = |id: u128, at: u64, amount, flags: TransferFlags| Transfer {
        flags: TransferFlags::IMPORTED.union(flags),
        timestamp: Nanos(at),
        ..transfer(id, amount)
    };
    let linked = TransferFlags::LINKED;
    let chain = [
        imported(8, now + 1, 1, linked),
        imported(0, now + 2, 1, linked),
        imported(9, now + 3, 1, linked),
        imported(10, now + 4, 1, TransferFlags::NONE),
    ];
    let done = peer.create_transfers(&chain).await;
    assert_eq!(statuses(&done), [1, 5, 1, 1]);
    assert_eq!(done[0].timestamp.0, now + 1, "before the break: one later than now");
    let times: Vec<u64> = done.iter().map(|result| result.timestamp.0).collect();
    assert_eq!([times[2], times[3]], [times[1] + 1, times[1] + 2], "after it: {times:?}");
    server.stop().await;
}
