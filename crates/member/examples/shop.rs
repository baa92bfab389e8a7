//! A shop on one member: the program of the guide `docs/guides/state-machines.md`.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::print_stdout,
    reason = "it is read in the guide, and compiled into its test"
)]

use std::collections::BTreeMap;
use std::error::Error;

use bezant_member::{Member, MemberOptions, state_machine};
use serde::{Deserialize, Serialize};

state_machine! {
    /// The calls of a shop.
    pub trait Catalog {
        /// Adds copies of an item, and returns its stock.
        cmd restock(item: u32, by: u32) -> u32;
        /// The stock of an item.
        qry lookup(item: u32) -> Option<Item>;
        /// The changes of the stock.
        sub changes -> Change;
    }
}

/// The answer of a query.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The number of copies.
    pub stock: u32,
}

/// An event for subscribers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The stock of an item has grown.
    Restocked {
        /// The number of the item.
        item: u32,
        /// The number of copies now.
        stock: u32,
    },
}

/// The state that every replica has.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Shop {
    stock: BTreeMap<u32, u32>,
}

impl Catalog for Shop {
    fn restock(&mut self, context: &mut CatalogContext<'_>, item: u32, by: u32) -> u32 {
        let stock = self.stock.entry(item).or_default();
        *stock = stock.saturating_add(by);
        context.changes(&Change::Restocked { item, stock: *stock });
        *stock
    }

    fn lookup(&self, item: u32) -> Option<Item> {
        self.stock.get(&item).map(|stock| Item { stock: *stock })
    }
}

/// Runs a shop in that folder, and calls it.
pub async fn run(folder: &str) -> Result<(), Box<dyn Error>> {
    let options = MemberOptions::new(folder, "127.0.0.1:0", "a token that only we know");
    let member: Member<CatalogMachine<Shop>> = Member::seed(options).await?;
    let shop = CatalogHandle::new(member.handle());
    println!("there are {} now", shop.restock(3, 2).await?);
    println!("item 3: {:?}", shop.lookup(3).await?);
    let mut changes = shop.changes(0);
    println!("{:?} was event {}", changes.next().await?, changes.position());
    member.shutdown().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: shop FOLDER")?;
    run(&folder).await
}

/// The program of the next version.
mod version_2 {
    use super::{BTreeMap, Catalog, CatalogContext, Change, Deserialize, Item, Serialize};

    use bezant_member::SavedState;

    /// The state as version 1 had it.
    #[derive(Deserialize)]
    struct ShopOfVersion1 {
        stock: BTreeMap<u32, u32>,
    }

    /// The state with copies that are set aside.
    #[derive(Debug, Default, Serialize, Deserialize)]
    struct Shop {
        stock: BTreeMap<u32, u32>,
        reserved: BTreeMap<u32, u32>,
    }

    impl Catalog for Shop {
        const STATE_VERSION: u32 = 2;

        fn migrate(saved: &SavedState<'_>) -> Option<Self> {
            let old: ShopOfVersion1 = saved.read()?;
            Some(Self { stock: old.stock, reserved: BTreeMap::new() })
        }

        fn restock(&mut self, context: &mut CatalogContext<'_>, item: u32, by: u32) -> u32 {
            let stock = self.stock.entry(item).or_default();
            *stock = stock.saturating_add(by);
            context.changes(&Change::Restocked { item, stock: *stock });
            *stock
        }

        fn lookup(&self, item: u32) -> Option<Item> {
            let reserved = self.reserved.get(&item).copied().unwrap_or(0);
            self.stock.get(&item).map(|stock| Item { stock: stock.saturating_sub(reserved) })
        }
    }
}
