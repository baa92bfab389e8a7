//! The whole node on a disk that crashes at every write and every fsync of a workload.
//!
//! A client sends transfers of every kind, and after each crash retries those without an answer. After every
//! recovery, each acknowledged transfer is there once with the acknowledged outcome, and nothing is half
//! applied. Debits equal credits, and all chains verify from the first movement to the heads.

mod books;
mod rig;
mod workload;

use bezant_storage::{FaultPlan, MemoryDisk};

use crate::rig::Rig;
use crate::workload::Workload;

/// Runs the workload on a sound disk; returns the number of operations that changed something.
fn operations_of(seed: u64) -> u64 {
    let disk = MemoryDisk::new();
    let mut workload = Workload::new(seed);
    let mut rig = Rig::open(&disk).expect("an empty folder opens");
    workload.run(&mut rig).expect("a sound disk never fails");
    assert!(rig.checkpoints() > 1, "the workload is long enough for checkpoints");
    books::check(&rig, &workload, "no crash");
    disk.counts().total()
}

/// Runs into a fault, recovers from the crash after it, lets the client finish, and crashes again when
/// nothing is in flight. Checks the books each time.
fn fault_and_check(seed: u64, plan: FaultPlan) {
    let place = format!("seed {seed}, {plan:?}");
    let disk = MemoryDisk::new();
    disk.set_faults(plan);
    let mut workload = Workload::new(seed);
    if let Ok(mut rig) = Rig::open(&disk)
        && workload.run(&mut rig).is_err()
        && plan.crash_at.is_none()
    {
        books::check(&rig, &workload, &format!("{place}, reads after the failure"));
    }
    let crash_seed = plan.crash_at.or(plan.fail_at).unwrap_or(0) ^ seed << 32;
    let after = disk.crash(crash_seed);
    let mut rig = Rig::open(&after).unwrap_or_else(|error| panic!("{place}: {error}"));
    books::check(&rig, &workload, &place);
    workload.run(&mut rig).expect("the disk is sound now");
    books::check(&rig, &workload, &format!("{place}, finished"));
    workload.retry_all(&mut rig, &place);
    drop(rig);
    let rested = after.crash(crash_seed + 1);
    let rig = Rig::open(&rested).unwrap_or_else(|error| panic!("{place}, second crash: {error}"));
    books::check(&rig, &workload, &format!("{place}, crashed again"));
}

#[test]
fn a_crash_at_any_write_or_fsync_loses_nothing_acknowledged() {
    for seed in 1..=2 {
        let operations = operations_of(seed);
        assert!(operations > 100, "the workload writes: {operations}");
        for crash_at in 1..=operations {
            fault_and_check(seed, FaultPlan { crash_at: Some(crash_at), ..FaultPlan::default() });
        }
    }
}

#[test]
fn a_failed_write_or_fsync_stops_writes_and_loses_nothing() {
    let operations = operations_of(3);
    for fail_at in 1..=operations {
        fault_and_check(3, FaultPlan { fail_at: Some(fail_at), ..FaultPlan::default() });
    }
}
