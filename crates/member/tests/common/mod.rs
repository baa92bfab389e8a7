//! A service for tests, and members of it.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::Path;
use std::time::{Duration, Instant};

use bezant_member::{
    Bytes, Call, EngineKind, Member, MemberOptions, Part, RestoreError, Service, UnknownCall,
};

pub(crate) const TOKEN: &str = "a token for tests alone";
/// The timeout of each step.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// Adds up bytes, and emits each sum on stream 1; pads its checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    pub(crate) value: u64,
    pad: Vec<u8>,
}

impl Service for Sum {
    fn invoke(&mut self, call: &mut Call, command: &[u8]) -> Result<Bytes, UnknownCall> {
        match command {
            [b'+', by] => {
                self.value += u64::from(*by);
                call.emit(1, Bytes::copy_from_slice(&self.value.to_le_bytes()));
            }
            [b'P', pad @ ..] => self.pad = pad.to_vec(),
            b"panic" => panic!("a command that panics"),
            _ => return Err(UnknownCall),
        }
        Ok(Bytes::copy_from_slice(&self.value.to_le_bytes()))
    }

    fn query(&self, query: &[u8]) -> Result<Bytes, UnknownCall> {
        match query {
            b"" => Ok(Bytes::copy_from_slice(&self.value.to_le_bytes())),
            b"pad" => Ok(Bytes::copy_from_slice(&self.pad)),
            b"panic" => panic!("a query that panics"),
            _ => Err(UnknownCall),
        }
    }

    fn checkpoint(&self) -> Vec<u8> {
        [&self.value.to_le_bytes(), self.pad.as_slice()].concat()
    }

    fn restore(checkpoint: &[u8]) -> Result<Self, RestoreError> {
        let (value, pad) = checkpoint.split_first_chunk().ok_or(RestoreError { section: "sum" })?;
        Ok(Self { value: u64::from_le_bytes(*value), pad: pad.to_vec() })
    }
}

pub(crate) fn number(answer: &Bytes) -> u64 {
    u64::from_le_bytes(answer[..].try_into().expect("8 bytes"))
}

pub(crate) fn options(folder: &Path, name: &str, address: &str) -> MemberOptions {
    MemberOptions::new(folder.join(name), address, TOKEN).join_timeout(TIMEOUT).timeout(TIMEOUT)
}

/// The engine of the clusters of these tests: `tests/paxos.rs` runs the same tests again.
pub(crate) fn engine() -> EngineKind {
    if env!("CARGO_CRATE_NAME") == "paxos" { EngineKind::Paxos } else { EngineKind::Raft }
}

/// The options of a member that begins a cluster.
pub(crate) fn first(folder: &Path, name: &str, address: &str) -> MemberOptions {
    options(folder, name, address).engine(engine())
}

/// Begins a cluster at a free address.
pub(crate) async fn seed(folder: &Path, name: &str) -> Member<Sum> {
    Member::seed(first(folder, name, "127.0.0.1:0")).await.expect("it begins")
}

/// Joins it at a free address.
pub(crate) async fn join(folder: &Path, name: &str, at: &[&Member<Sum>]) -> Member<Sum> {
    let members = at.iter().map(|member| member.address().to_owned());
    Member::join(options(folder, name, "127.0.0.1:0"), members).await.expect("it is admitted")
}

/// Three members, all of which vote.
pub(crate) async fn three(folder: &Path) -> Vec<Member<Sum>> {
    let one = seed(folder, "1").await;
    let two = join(folder, "2", &[&one]).await;
    let three = join(folder, "3", &[&one, &two]).await;
    let members = vec![one, two, three];
    for member in &members {
        until("all vote", || voters(member) == 3).await;
    }
    members
}

pub(crate) fn voters(member: &Member<Sum>) -> usize {
    member.status().nodes.iter().filter(|node| node.part == Part::Voter).count()
}

/// The position of the leader among these members; they all have the same.
pub(crate) async fn leader(members: &[Member<Sum>]) -> usize {
    let found = || {
        let leader = members.first()?.status().leader?;
        let agreed = members.iter().all(|member| member.status().leader == Some(leader));
        members.iter().position(|member| agreed && member.node() == leader)
    };
    until("a node leads", || found().is_some()).await;
    found().expect("it was found just now")
}

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < TIMEOUT, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
