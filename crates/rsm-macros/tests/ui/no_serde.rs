#[derive(Debug)]
pub struct Item;

bezant_rsm::state_machine! {
    pub trait Catalog {
        cmd restock(item: Item) -> u32;
    }
}

fn main() {}
