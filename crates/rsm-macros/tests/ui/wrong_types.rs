use std::collections::HashMap;

bezant_rsm::state_machine! {
    pub trait Catalog {
        cmd restock(item: &str, price: f64) -> u32;
        qry all() -> HashMap<u32, u32>;
        cmd restock(item: usize);
    }
}

fn main() {}
