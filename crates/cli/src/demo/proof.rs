//! The proof at the end of the demo: nothing that was acknowledged is missing, and nothing is there twice.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use bezant_client::{AccountId, Client, LedgerTotals, MovementNumber, TransferId};
use sha2::{Digest, Sha256};

use super::nodes::Nodes;
use super::payers::ACCOUNTS;

/// Transfers that one question asks for.
const LOOKUP: usize = 8_000;

/// What was found.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) acknowledged: usize,
    pub(super) movements: u64,
    /// Of every node: SHA-256 over all accounts with their balances and the heads of their chains.
    pub(super) digests: Vec<[u8; 32]>,
}

/// Looks at every node by itself.
pub(super) async fn prove(nodes: &Nodes, count: usize, paid: &[TransferId]) -> Result<Proof> {
    let distinct: BTreeSet<TransferId> = paid.iter().copied().collect();
    ensure!(distinct.len() == paid.len(), "an id was acknowledged twice");
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
        digests.push(digest(&client).await?);
    }
    let client = Client::connect(nodes.url(1)).await?;
    let ids: Vec<TransferId> = distinct.iter().copied().collect();
    let mut found = 0;
    for ids in ids.chunks(LOOKUP) {
        found += client.lookup_transfers(ids).await?.len();
    }
    ensure!(found == ids.len(), "{} acknowledged payments are missing", ids.len() - found);
    ensure!(is_once(&client, movements).await?, "a payment is there twice");
    ensure!(digests.iter().all(|digest| *digest == digests[0]), "the nodes do not have the same state");
    Ok(Proof { acknowledged: paid.len(), movements, digests })
}

async fn digest(client: &Client) -> Result<[u8; 32]> {
    let ids: Vec<AccountId> = (1..=ACCOUNTS).map(AccountId).collect();
    let accounts = client.lookup_accounts(&ids).await?;
    ensure!(accounts.len() == ids.len(), "an account is missing");
    // The heads are hashes over everything that ever moved.
    Ok(Sha256::digest(format!("{accounts:?}")).into())
}

/// True when no id has two movements, over the whole history.
async fn is_once(client: &Client, count: u64) -> Result<bool> {
    let mut ids = BTreeSet::new();
    let mut from = 0;
    while from < count {
        let page = client.movements(MovementNumber(from), 0).await?;
        if page.is_empty() {
            break;
        }
        from += page.len() as u64;
        if !page.iter().all(|(_, movement)| ids.insert(movement.transfer.id)) {
            return Ok(false);
        }
    }
    Ok(ids.len() as u64 == count)
}
