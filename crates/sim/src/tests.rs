//! A few seeds, and every mistake found within so many.

use super::*;

fn options(seed: u64, bug: Option<Bug>) -> SimOptions {
    SimOptions { seed, bug, keeps_trace: false }
}

#[test]
fn equal_seeds_give_equal_runs() {
    for seed in [1, 2, 3] {
        let one = simulate(options(seed, None));
        let two = simulate(options(seed, None));
        assert_eq!(one, two, "seed {seed}");
    }
}

#[test]
fn some_seeds_break_nothing() {
    for seed in 0..40 {
        if let Err(failure) = simulate(options(seed, None)) {
            panic!("{failure}");
        }
    }
}
