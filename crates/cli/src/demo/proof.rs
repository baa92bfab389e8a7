//! The proof at the end of the demo: every node has every acknowledged payment exactly once, and all nodes
//! have the same state.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use bezant_client::{AccountId, Client, LedgerTotals, MovementNumber, TransferId};
use bezant_codec::movement_to_bytes;
use sha2::{Digest, Sha256};

use super::nodes::Nodes;
use super::payers::ACCOUNTS;

/// Transfers per look-up.
const LOOKUP: usize = 8_000;

/// The result of the proof.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) acknowledged: usize,
    pub(super) movements: u64,
    /// One digest per node: SHA-256 over all accounts, with their balances and the heads of their chains, and
    /// then over every row of the history.
    pub(super) digests: Vec<[u8; 32]>,
}

/// Checks every node separately.
pub(super) async fn prove(nodes: &Nodes, count: usize, paid: &[TransferId]) -> Result<Proof> {
    let distinct: BTreeSet<TransferId> = paid.iter().copied().collect();
    ensure!(distinct.len() == paid.len(), "an id was acknowledged twice");
    let ids: Vec<TransferId> = distinct.into_iter().collect();
    let mut digests = Vec::new();
    let mut movements = 0;
    for number in 1..=count {
        let client = Client::connect(nodes.url(number)).await?;
        let books = client.books().await?;
        ensure!(
            books.ledgers.iter().all(LedgerTotals::is_balanced),
            "the books of node {number} do not balance"
        );
        movements = books.history.movements;
        let mut digest = Sha256::new();
        take_accounts(&client, &mut digest).await?;
        let kept = take_history(&client, &mut digest).await?;
        ensure!(kept.len() as u64 == movements, "the history of node {number} is not all there");
        let missing = ids.iter().filter(|id| !kept.contains(id)).count();
        ensure!(missing == 0, "{missing} acknowledged payments are not in the history of node {number}");
        let mut found = 0;
        for ids in ids.chunks(LOOKUP) {
            found += client.lookup_transfers(ids).await?.len();
        }
        let missing = ids.len() - found;
        ensure!(missing == 0, "node {number} does not find {missing} acknowledged payments");
        digests.push(digest.finalize().into());
    }
    ensure!(digests.iter().all(|digest| *digest == digests[0]), "the nodes do not have the same state");
    Ok(Proof { acknowledged: paid.len(), movements, digests })
}

async fn take_accounts(client: &Client, digest: &mut Sha256) -> Result<()> {
    let ids: Vec<AccountId> = (1..=ACCOUNTS).map(AccountId).collect();
    let accounts = client.lookup_accounts(&ids).await?;
    ensure!(accounts.len() == ids.len(), "an account is missing");
    digest.update(format!("{accounts:?}"));
    Ok(())
}

/// The ids of the whole history; an error when an id has two movements.
async fn take_history(client: &Client, digest: &mut Sha256) -> Result<BTreeSet<TransferId>> {
    let mut ids = BTreeSet::new();
    let mut rows = client.movements_paged(MovementNumber(0));
    while let Some((number, movement)) = rows.next().await? {
        digest.update(movement_to_bytes(&movement));
        ensure!(ids.insert(movement.transfer.id), "the payment of row {number} is there twice");
    }
    Ok(ids)
}
