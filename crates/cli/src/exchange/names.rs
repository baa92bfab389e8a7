//! Names of an export that no new account can have: version 0.1 accepted some that are invisible, or that
//! look like others.
//!
//! Such an account is rebuilt with the normal form of its name where no other account has that, else without
//! a name. It keeps its id, and the import reports the change. The new name depends on the export alone: an
//! import that is started again reports the same.

use std::collections::{BTreeMap, BTreeSet};

use bezant_api::name::normalized;
use bezant_client::{AccountId, AccountView, Nanos};
use serde::Serialize;

use crate::exit::Failure;
use crate::json::Text;
use crate::output::{self, Format};

/// An account that is rebuilt under another name, or under none.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Renamed {
    account_id: Text<AccountId>,
    /// Its name at the source.
    name: String,
    /// Its name here; `null` = none.
    name_here: Option<String>,
}

/// Gives every account a name that a new account can have; returns the accounts whose names changed.
pub(super) fn settle(accounts: &mut BTreeMap<Nanos, AccountView>) -> Vec<Renamed> {
    let is_normal = |name: &str| normalized(name).is_some_and(|normal| normal == name);
    let mut taken: BTreeSet<String> =
        accounts.values().map(|view| view.name.clone()).filter(|name| is_normal(name)).collect();
    let mut renamed = Vec::new();
    for view in accounts.values_mut().filter(|view| !is_normal(&view.name)) {
        let normal = normalized(&view.name).map(std::borrow::Cow::into_owned);
        let name_here = normal.filter(|normal| taken.insert(normal.clone()));
        let name = std::mem::replace(&mut view.name, name_here.clone().unwrap_or_default());
        renamed.push(Renamed { account_id: Text(view.account.id), name, name_here });
    }
    renamed
}

/// Reports on stderr which accounts have lost their names.
pub(super) fn report(format: Format, renamed: &[Renamed]) -> Result<(), Failure> {
    for Renamed { account_id, name, name_here } in renamed {
        let here = match name_here {
            Some(here) => format!("its name here is {here}"),
            None => "it has no name here; `bezant account name` gives it another".to_owned(),
        };
        let what = "no new account can have its name";
        output::remark(format, &format!("warning: account {}: {what}, \"{name}\": {here}", account_id.0))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_new_account_can_have_are_changed() {
        let names =
            ["Jose\u{301}", "car\u{200b}ol", "Jos\u{e9}", "a\u{a0}b", "a\u{2003}b", "", "bob", "\u{2800}"];
        let accounts = names.into_iter().zip(1_u64..).map(|(name, number)| {
            let mut view = AccountView { name: name.to_owned(), ..AccountView::default() };
            view.account.id = AccountId(number.into());
            (Nanos(number), view)
        });
        let mut accounts: BTreeMap<Nanos, AccountView> = accounts.collect();
        let renamed = settle(&mut accounts);
        let now: Vec<&str> = accounts.values().map(|view| view.name.as_str()).collect();
        assert_eq!(now, ["", "", "Jos\u{e9}", "a b", "", "", "bob", ""]);
        let found: Vec<_> = renamed.iter().map(|it| (it.account_id.0.0, it.name_here.as_deref())).collect();
        assert_eq!(found, [(1, None), (2, None), (4, Some("a b")), (5, None), (8, None)]);
        assert_eq!(settle(&mut accounts), [], "a second run changes nothing");
    }
}
