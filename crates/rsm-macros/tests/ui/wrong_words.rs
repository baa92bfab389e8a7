bezant_rsm::state_machine! {
    pub trait Catalog {
        cmd restock(item: &str, price: f64) -> u32;
        fn lookup(item: u32);
        qry all(&self) -> Vec<u32>;
    }
}

fn main() {}
