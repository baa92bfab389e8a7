use bezant_sim::{SimOptions, simulate};
fn main() {
    let a: Vec<u64> = std::env::args().skip(1).map(|x| x.parse().unwrap()).collect();
    for seed in a[0]..a[1] {
        if let Err(f) = simulate(SimOptions { seed, bug: None, keeps_trace: false }) {
            println!("{f}");
            println!("FAILED seed {seed}");
            if a.len() > 2 {
                return;
            }
        }
    }
}
