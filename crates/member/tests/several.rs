//! Several machines in one process: two services and a ledger, each with its own folder and address.

mod common;

use std::error::Error;
use std::time::{Duration, Instant};

use bezant_ledger::{Event, Ledger, LedgerAnswer, LedgerQuery, Operation, ToCommand};
use bezant_member::{
    Bytes, Call, ExecuteError, Freshness, MachineMember, Member, MemberOptions, RestoreError, Service,
    UnknownCall,
};
use bezant_types::{Account, AccountId, LedgerNumber};
use common::{TIMEOUT, TOKEN, number, seed};

/// Keeps the last command.
#[derive(Debug, Default)]
struct Last(Bytes);

impl Service for Last {
    fn invoke(&mut self, _: &mut Call, command: &[u8]) -> Result<Bytes, UnknownCall> {
        Ok(std::mem::replace(&mut self.0, Bytes::copy_from_slice(command)))
    }

    fn query(&self, _: &[u8]) -> Result<Bytes, UnknownCall> {
        Ok(self.0.clone())
    }

    fn checkpoint(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    fn restore(checkpoint: &[u8]) -> Result<Self, RestoreError> {
        Ok(Self(Bytes::copy_from_slice(checkpoint)))
    }
}

/// The same code as in the guide.
async fn begin_ledger(options: MemberOptions) -> Result<MachineMember<Ledger>, Box<dyn Error>> {
    let ledger = MachineMember::seed(options).await?;
    let account = Account { id: AccountId(7), ledger: LedgerNumber(978), code: 1, ..Account::default() };
    let command = Operation::CreateAccounts.command(Event::write_all(&[account]))?;
    while let Err(error) = ledger.handle().execute(command.clone(), None).await {
        // No node leads in the first moments.
        if error != ExecuteError::NoLeader {
            return Err(error.into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(ledger)
}

#[test]
fn the_piece_of_the_guide_is_the_one_that_runs() {
    let guide = include_str!("../../../docs/guides/embed.md");
    let (_, piece) = guide.split_once("```rust,ignore\n").expect("the piece");
    let (piece, _) = piece.split_once("```").expect("its end");
    assert!(include_str!("several.rs").contains(piece), "{piece}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_and_a_ledger_run_in_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let sum = seed(folder.path(), "sum").await;
    let options = MemberOptions::new(folder.path().join("last"), "127.0.0.1:0", TOKEN);
    let last: Member<Last> = Member::seed(options).await.unwrap();
    let options = MemberOptions::new(folder.path().join("ledger"), "127.0.0.1:0", "a token for the ledger");
    let ledger = begin_ledger(options).await.unwrap();
    let deadline = Some(Instant::now() + TIMEOUT);
    assert_eq!(number(&sum.invoke(b"+\x05").await.unwrap()), 5);
    assert_eq!(last.invoke(b"word").await.unwrap(), "");
    let found = ledger.handle().query(LedgerQuery::Accounts(vec![AccountId(7)]), deadline).await.unwrap();
    assert!(matches!(found, LedgerAnswer::Accounts(accounts) if accounts.len() == 1));
    assert_eq!(number(&sum.query(b"", Freshness::Linearizable).await.unwrap()), 5);
    assert_eq!(last.query(b"", Freshness::Linearizable).await.unwrap(), "word");
    sum.shutdown().await;
    last.shutdown().await;
    ledger.shutdown().await;
}
