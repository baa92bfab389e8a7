//! Account names: the normalized form that a new account's name gets, and how an account is found by a name.
//!
//! A new name gets the form that [`bezant_api::name`] defines. A name that has no such form is passed on as
//! bytes that the ledger refuses. So the ledger decides which status comes first, and the event gets
//! `name_invalid` in every protocol alike. An account whose name is older than this rule is found by its exact
//! bytes. So a lookup tries the exact name first, and then the normalized one.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use bezant_api::{Failure, name};
use bezant_ledger::{Event, LedgerQuery, Operation, TaggedAccount, name_from_bytes, name_to_bytes};
use bezant_types::{AccountView, limits::NAME_SIZE_MAX};
use bytes::{Bytes, BytesMut};

use crate::context::RequestContext;
use crate::service::Service;

/// A name as it is stored in a record.
type NameBytes = [u8; NAME_SIZE_MAX];

/// Bytes that are invalid as a name under every version of Unicode.
const REFUSED: NameBytes = {
    let mut name = [0; NAME_SIZE_MAX];
    name[0] = 1;
    name
};

impl Service {
    /// Normalizes the names of new accounts.
    pub(crate) async fn settle_names(
        &self,
        names: Vec<&mut NameBytes>,
        context: &RequestContext,
    ) -> Result<(), Failure> {
        let mut changed: Vec<(&mut NameBytes, NameBytes)> = Vec::new();
        for name in names {
            let normal = normal_bytes(name);
            if normal != *name {
                changed.push((name, normal));
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        // An existing name that is older than the rule stays as it is: the request that created it may be
        // sent again.
        let texts = changed.iter().filter_map(|(name, _)| name_from_bytes(name).map(str::to_owned)).collect();
        let known = self.find_accounts(LedgerQuery::AccountsByName(texts), context).await?;
        let known: BTreeSet<NameBytes> = known.iter().filter_map(|view| name_to_bytes(&view.name)).collect();
        for (name, normal) in changed {
            if !known.contains(name) {
                *name = normal;
            }
        }
        Ok(())
    }

    /// Normalizes the names in records of the fast path.
    pub(crate) async fn settle_records(
        &self,
        operation: Operation,
        records: Bytes,
        context: &RequestContext,
    ) -> Result<Bytes, Failure> {
        let (size, at) = match operation {
            Operation::CreateAccountsExtended => (operation.event_size(), ACCOUNT_NAME_AT),
            Operation::SetName => (operation.event_size(), SET_NAME_AT),
            Operation::CreateAccountsTagged => return self.settle_tagged(records, context).await,
            _ => return Ok(records),
        };
        let is_settled = |record: &[u8]| {
            record
                .get(at..at + NAME_SIZE_MAX)
                .and_then(<[u8]>::first_chunk)
                .is_none_or(|name| normal_bytes(name) == *name)
        };
        if records.chunks_exact(size).all(is_settled) {
            return Ok(records);
        }
        let mut records = BytesMut::from(records);
        let names = records.chunks_exact_mut(size);
        let names =
            names.filter_map(|record| record.get_mut(at..at + NAME_SIZE_MAX)?.first_chunk_mut()).collect();
        // Rare and large, so it is kept out of the future of every call.
        Box::pin(self.settle_names(names, context)).await?;
        Ok(records.freeze())
    }

    /// The same for records with tagged fields, whose size changes with the name. Malformed records stay as
    /// they are: they are refused as a whole.
    async fn settle_tagged(&self, records: Bytes, context: &RequestContext) -> Result<Bytes, Failure> {
        let Ok(mut events) = TaggedAccount::read_all(&records) else { return Ok(records) };
        if events.iter().all(|TaggedAccount(event)| normal_bytes(&event.name) == event.name) {
            return Ok(records);
        }
        let names = events.iter_mut().map(|TaggedAccount(event)| &mut event.name).collect();
        Box::pin(self.settle_names(names, context)).await?;
        Ok(TaggedAccount::write_all(&events))
    }

    /// Finds accounts by name, and returns each with the name that was asked for; unknown names are left out.
    pub(crate) async fn find_named(
        &self,
        names: Vec<String>,
        context: &RequestContext,
    ) -> Result<Vec<(String, AccountView)>, Failure> {
        let normal = |name: &str| name::normalized(name).map(Cow::into_owned).filter(|normal| normal != name);
        let mut asked: BTreeSet<String> = names.iter().cloned().collect();
        asked.extend(names.iter().filter_map(|name| normal(name)));
        let views =
            self.find_accounts(LedgerQuery::AccountsByName(asked.into_iter().collect()), context).await?;
        let views: HashMap<String, AccountView> =
            views.into_iter().map(|view| (view.name.clone(), view)).collect();
        let find = |name: &String| views.get(name).or_else(|| views.get(&normal(name)?)).cloned();
        Ok(names.into_iter().filter_map(|name| find(&name).map(|view| (name, view))).collect())
    }
}

/// Offset of the name in an extended account: after the record and the bounds.
const ACCOUNT_NAME_AT: usize = 160;
/// Offset of the name in a change of name: after the id.
const SET_NAME_AT: usize = 16;

/// The normalized form of a name. An empty name stays empty, and bytes that the ledger refuses anyway stay as
/// they are.
fn normal_bytes(name: &NameBytes) -> NameBytes {
    match name_from_bytes(name) {
        None | Some("") => *name,
        Some(text) => name::normalized(text).and_then(|normal| name_to_bytes(&normal)).unwrap_or(REFUSED),
    }
}

#[cfg(test)]
mod tests {
    use bezant_ledger::{ExtendedAccount, SetName};
    use bezant_types::{Account, AccountId, Bounds};

    use super::*;

    #[test]
    fn the_ledger_refuses_the_marker() {
        assert_eq!(name_from_bytes(&REFUSED), None);
    }

    #[test]
    fn the_name_offsets_match_the_records() {
        let name = name_to_bytes("alice").unwrap();
        let extended = ExtendedAccount { account: Account::default(), bounds: Bounds::NONE, name };
        assert_eq!(ExtendedAccount::write_all(&[extended])[ACCOUNT_NAME_AT..][..NAME_SIZE_MAX], name);
        let change = SetName { account_id: AccountId(7), name };
        assert_eq!(SetName::write_all(&[change])[SET_NAME_AT..], name);
    }

    #[test]
    fn names_are_normalized_or_refused() {
        let bytes = |text: &str| name_to_bytes(text).unwrap();
        assert_eq!(normal_bytes(&bytes("Jose\u{301}")), bytes("Jos\u{e9}"));
        assert_eq!(normal_bytes(&bytes("car\u{200b}ol")), REFUSED);
        assert_eq!(normal_bytes(&bytes("..")), REFUSED);
        for same in ["", "users:alice:main", "tab\t"] {
            assert_eq!(normal_bytes(&bytes(same)), bytes(same), "{same:?}");
        }
    }
}
