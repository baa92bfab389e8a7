use serde::{Deserialize, Serialize};

bezant_rsm::state_machine! {
    pub trait Catalog {
        cmd restock(item: u32) -> u32;
        qry lookup(item: u32) -> u32;
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Shop;

impl Catalog for Shop {
    fn restock(&mut self, _: &mut CatalogContext<'_>, item: u32) -> u32 {
        item
    }
}

fn main() {}
