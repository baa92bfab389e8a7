//! Rest in a world without faults and requests, but those of the test.

use bezant_consensus::EngineKind;
use bezant_types::NodeId;

use super::{GROUP, MILLI, SECOND, World};
use crate::SimOptions;
use crate::faults::Fault;
use crate::machine::Slot;
use crate::net::Weather;
use crate::time::EPOCH;

/// A world whose group rests.
fn resting(engine: EngineKind, seed: u64) -> World {
    let mut world = World::new(SimOptions { seed, engine, bug: None, rewinds: false }, None);
    world.events.clear();
    world.idle_times.clear();
    world.net.weather = Weather::FAIR;
    world.machines.values_mut().for_each(|machine| machine.clock_drift = 0);
    world.found_groups().unwrap();
    world.run_until(EPOCH + 4 * SECOND).unwrap();
    for slot in world.machines.values().map(|machine| &machine.slots[&GROUP]).filter(|slot| slot.runs()) {
        assert!(!slot.needs_ticks(), "{engine}, seed {seed}: node {} does not rest", slot.node);
    }
    world
}

fn leader(world: &World, except: Option<NodeId>) -> Option<NodeId> {
    let slots = world.machines.values().map(|machine| &machine.slots[&GROUP]);
    slots.filter(|slot| slot.leads() && Some(slot.node) != except).map(|slot: &Slot| slot.node).next()
}

#[test]
fn a_group_without_requests_has_almost_no_events() {
    for engine in [EngineKind::Raft, EngineKind::Paxos] {
        let mut world = resting(engine, 1);
        let before = world.groups[&GROUP].events;
        world.run_until(EPOCH + 64 * SECOND).unwrap();
        let count = world.groups[&GROUP].events - before;
        assert!(count < 200, "{engine}: {count} events in 60 idle seconds");
    }
}

#[test]
fn a_resting_group_elects_a_leader_soon_after_its_leader_is_lost() {
    let ways: [fn(NodeId) -> Fault; 4] = [
        |node| Fault::Kill(node, 20 * SECOND),
        |node| Fault::PowerLoss(node, 20 * SECOND),
        |node| Fault::Pause(node, 20 * SECOND),
        Fault::Isolate,
    ];
    for engine in [EngineKind::Raft, EngineKind::Paxos] {
        for seed in 0..10 {
            for way in ways {
                let mut world = resting(engine, seed);
                let lost = leader(&world, None).unwrap();
                let (begin, fault) = (world.time, way(lost));
                world.inject(fault).unwrap();
                while leader(&world, Some(lost)).is_none() {
                    let next = world.time + 10 * MILLI;
                    world.run_until(next).unwrap();
                    let millis = (world.time - begin) / MILLI;
                    assert!(millis <= 1_000, "{engine}, seed {seed}, {fault:?}: no leader after {millis} ms");
                }
            }
        }
    }
}

#[test]
fn a_resting_replica_that_gets_a_request_has_it_done() {
    for engine in [EngineKind::Raft, EngineKind::Paxos] {
        let mut world = resting(engine, 2);
        let (begin, before) = (world.time, world.groups[&GROUP].record.acknowledged.len());
        world.wake_at(begin + MILLI, GROUP, 0);
        while world.groups[&GROUP].record.acknowledged.len() == before {
            let next = world.time + 10 * MILLI;
            world.run_until(next).unwrap();
            assert!(world.time < begin + SECOND, "{engine}: the request is not done after a second");
        }
    }
}
