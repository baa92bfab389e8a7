//! The setup that several of these tests share: nodes that know each other, two accounts, payments between
//! them.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::net::TcpListener;
use std::ops::Range;
use std::sync::Arc;

use bezant_ledger::{Event, Operation, ToCommand};
use bezant_rsm::Command;
use bezant_runtime::{ClusterOptions, EngineKind};
use bezant_types::{Account, AccountId, LedgerNumber, NodeId, Transfer, TransferId};

/// Nodes with their addresses; that of node 1 comes first.
pub(crate) type Nodes = Vec<(NodeId, String)>;

/// Nodes on free ports, and their listeners.
pub(crate) fn listen(count: usize) -> (Vec<TcpListener>, Nodes) {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port is free")).collect();
    let address = |listener: &TcpListener| listener.local_addr().expect("it is bound").to_string();
    let nodes = (1..).map(NodeId).zip(listeners.iter().map(address)).collect();
    (listeners, nodes)
}

/// Listens again at the address of a stopped node.
pub(crate) fn listen_again(nodes: &Nodes, at: usize) -> TcpListener {
    TcpListener::bind(&nodes[at].1).expect("its port is free")
}

/// The options of one of the first nodes of a cluster.
pub(crate) fn member(nodes: &Nodes, at: usize, engine: EngineKind, listener: TcpListener) -> ClusterOptions {
    ClusterOptions {
        node: nodes[at].0,
        token: "a token for a test".to_owned(),
        nodes: nodes.clone(),
        join: Vec::new(),
        engine: Some(engine),
        give_up: Arc::default(),
        listener,
        growth: None,
    }
}

/// Creates accounts.
pub(crate) fn create_accounts(ids: impl IntoIterator<Item = u128>) -> Command {
    let account = |id| Account { id: AccountId(id), ledger: LedgerNumber(1), code: 1, ..Account::default() };
    let accounts: Vec<Account> = ids.into_iter().map(account).collect();
    Operation::CreateAccounts.command(Event::write_all(&accounts)).expect("well formed")
}

/// Pays 1 from account 1 to account 2 under each of these ids.
pub(crate) fn payments(ids: Range<u128>) -> Command {
    let transfer = |id| Transfer {
        id: TransferId(id),
        debit_account_id: AccountId(1),
        credit_account_id: AccountId(2),
        amount: 1,
        ledger: LedgerNumber(1),
        code: 1,
        ..Transfer::default()
    };
    let transfers: Vec<Transfer> = ids.map(transfer).collect();
    Operation::CreateTransfers.command(Event::write_all(&transfers)).expect("well formed")
}

/// True when the result of every event is that it was created.
pub(crate) fn are_created(results: &[u8]) -> bool {
    results.as_chunks::<16>().0.iter().all(|result| result[8..12] == [0xff; 4])
}
