//! The keys, their known revisions, and the check that the cluster counts as many writes as it acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use tonic::transport::Channel;

use crate::LoadArgs;
use crate::clients::Outcome;
use crate::etcd::kv_client::KvClient;
use crate::etcd::{KeyValue, RangeRequest};

/// Prefix of every key; a number of fixed width follows.
const PREFIX: &str = "bezant-bench/";
/// The first key after all of them: `0` follows `/`.
const PREFIX_END: &str = "bezant-bench0";

/// All keys, shared by the clients.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// The newest `mod_revision` that a client has seen of each key; 0 for a key that does not exist.
    revisions: Arc<[AtomicI64]>,
    is_own: bool,
    /// Writes that the cluster had counted before the load.
    versions_before: i64,
}

impl Keys {
    /// Reads the keys of the load from the cluster.
    pub(crate) async fn read(connection: &mut KvClient<Channel>, args: &LoadArgs) -> Result<Self> {
        let found = read_all(connection).await?;
        let count = args.keys.unwrap_or(args.clients);
        let keys = Self {
            revisions: (0..count).map(|_| AtomicI64::new(0)).collect(),
            is_own: args.keys.is_none(),
            versions_before: found.iter().map(|row| row.version).sum(),
        };
        for row in &found {
            if let Some(number) = number_of(&row.key) {
                keys.learn(number, row.mod_revision);
            }
        }
        Ok(keys)
    }

    /// The number of keys.
    pub(crate) fn count(&self) -> usize {
        self.revisions.len()
    }

    /// The key that a client writes to with the run's write number `write`.
    pub(crate) fn choose(&self, client: usize, write: u64) -> usize {
        if self.is_own {
            return client;
        }
        let wide = u128::from(mix(write)) * self.revisions.len() as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// The newest revision of a key that is known.
    pub(crate) fn revision(&self, number: usize) -> i64 {
        self.revisions[number].load(Ordering::Relaxed)
    }

    /// Records a revision, unless a newer one is known. Ignores a key that is not of the load.
    pub(crate) fn learn(&self, number: usize, revision: i64) {
        if let Some(known) = self.revisions.get(number) {
            known.fetch_max(revision, Ordering::Relaxed);
        }
    }

    /// Returns an error unless the cluster has counted as many writes as it has acknowledged. A call that
    /// ended without an answer may have written a value that another client overwrote before any read. So the
    /// count may be greater by at most the number of such calls.
    pub(crate) async fn check(&self, connection: &mut KvClient<Channel>, outcome: &Outcome) -> Result<()> {
        let found = read_all(connection).await?;
        let counted = found.iter().map(|row| row.version).sum::<i64>() - self.versions_before;
        let counted = u64::try_from(counted).unwrap_or(0);
        let acknowledged = outcome.latencies.len();
        ensure!(
            (acknowledged..=acknowledged + outcome.errors).contains(&counted),
            "the cluster has acknowledged {acknowledged} writes and counts {counted} \
             (does another program write to these keys?)"
        );
        Ok(())
    }
}

/// All keys of a load, without their values.
async fn read_all(connection: &mut KvClient<Channel>) -> Result<Vec<KeyValue>> {
    let range = RangeRequest { key: PREFIX.into(), range_end: PREFIX_END.into(), keys_only: true };
    Ok(connection.range(range).await.context("the keys cannot be read")?.into_inner().kvs)
}

/// A key by its number.
pub(crate) fn name(number: usize) -> Bytes {
    format!("{PREFIX}{number:06}").into()
}

/// The number of a key; `None` for one that is not of a load.
fn number_of(key: &[u8]) -> Option<usize> {
    std::str::from_utf8(key).ok()?.strip_prefix(PREFIX)?.parse().ok()
}

/// A value of `size` bytes, at least 24, that no other write has: the run, the write, the client.
pub(crate) fn value(size: usize, run: u64, write: u64, client: usize) -> Bytes {
    let mut value = BytesMut::with_capacity(size);
    [run, write, client as u64].iter().for_each(|part| value.extend_from_slice(&part.to_be_bytes()));
    value.resize(size, b'.');
    value.freeze()
}

/// 64 pseudo-random bits, always the same for a number (the last step of splitmix64).
const fn mix(number: u64) -> u64 {
    let mut bits = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn keys(count: usize, is_own: bool) -> Keys {
        Keys { revisions: (0..count).map(|_| AtomicI64::new(0)).collect(), is_own, versions_before: 0 }
    }

    #[test]
    fn clients_use_their_own_key_or_all_keys() {
        assert!((0..100).all(|write| keys(8, true).choose(5, write) == 5));
        let chosen: HashSet<_> = (0..1000).map(|write| keys(50, false).choose(5, write)).collect();
        assert_eq!(chosen, (0..50).collect());
    }

    #[test]
    fn revisions_only_grow() {
        let keys = keys(2, true);
        keys.learn(1, 7);
        keys.learn(1, 3);
        keys.learn(2, 9);
        assert_eq!([keys.revision(0), keys.revision(1)], [0, 7]);
    }

    #[test]
    fn keys_have_numbers_and_values_differ() {
        assert_eq!(number_of(&name(42)), Some(42));
        assert_eq!(number_of(b"bezant-bench"), None);
        let values = [value(24, 1, 2, 3), value(24, 1, 3, 3), value(24, 2, 2, 3), value(24, 1, 2, 4)];
        assert_eq!(values.iter().collect::<HashSet<_>>().len(), 4);
        assert_eq!(value(128, 1, 2, 3).len(), 128);
    }
}
