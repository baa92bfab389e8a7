//! What a replica does at the edge of a rule: offers of checkpoints, lost connections, transfers, changes of
//! members that are repeated, and messages of a leader that contradict its log.

use bezant_consensus::{Change, ChangeError, Role};
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use super::parts::log_entry;
use super::*;
use crate::conf::conf_state;
use crate::install::snapshot;
use crate::wire::encode;

/// The snapshot message of a leader, node 2, in that term.
fn offer(term: u64, index: u64, of: u64) -> Message {
    let mut offer = Message { from: 2, to: 1, term, ..Message::default() };
    offer.set_msg_type(MessageType::MsgSnapshot);
    let members = conf_state(&options(0, 3, 0).members);
    offer.set_snapshot(snapshot((LogIndex(index), Term(of)), members));
    offer
}

/// A replica with the entries 1 to 4 of term 2, of which 3 are committed; its term is 5.
pub(super) fn follower() -> Raft {
    let entries = (1..=4).map(|index| log_entry(index, 2, 1)).collect();
    let vote = Some(Vote { term: Term(5), voted_for: NodeId(2) });
    let state = EngineState { vote, entries, committed: LogIndex(3), ..EngineState::default() };
    Raft::new(&options(0, 3, 0), state).unwrap()
}

#[test]
fn a_checkpoint_is_fetched_only_when_it_is_needed() {
    let installs = |offer: &Message| {
        let mut engine = follower();
        engine.handle(Input::Message { from: NodeId(2), bytes: encode(offer) });
        let outputs: Vec<Output> = std::iter::from_fn(|| engine.poll()).collect();
        let stopped = outputs.iter().find_map(|output| match output {
            Output::Conflict { conflict, .. } => Some((conflict.first, conflict.is_first_exact)),
            _ => None,
        });
        let installs = outputs.iter().any(|output| matches!(output, Output::Install { .. }));
        (installs, stopped)
    };
    assert_eq!(installs(&offer(5, 10, 5)), (true, None));
    assert_eq!(installs(&offer(6, 10, 5)), (true, None), "a later leader");
    assert_eq!(installs(&offer(4, 10, 4)), (false, None), "a leader of an earlier term");
    assert_eq!(installs(&offer(5, 4, 2)), (false, None), "this log has the entry");
    assert_eq!(installs(&offer(5, 4, 3)), (true, None), "it has another entry, which is not committed");
    assert_eq!(installs(&offer(5, 3, 2)), (false, None));
    let contradiction = (false, Some((LogIndex(3), false)));
    assert_eq!(installs(&offer(5, 3, 3)), contradiction, "the entry is committed here");
}

#[test]
fn a_leader_probes_while_a_replica_fetches_a_checkpoint() {
    let mut net = Net::new(3);
    let leader = net.elect();
    let away = (leader + 1) % 3;
    let (index, term) = net.outrun(leader, away);
    let leader = net.leader().unwrap();
    let state = |net: &Net| {
        let prs = net.replicas[leader].engine.raw.raft.prs();
        prs.get(away as u64 + 1).map(|progress| progress.state)
    };
    assert_eq!(state(&net), Some(raft::ProgressState::Probe), "the offer counts as delivered at once");
    let before = net.replicas[away].engine.members().clone();
    let emitted = std::mem::take(&mut net.replicas[away].members);
    net.replicas[away].engine.handle(Input::Installed { index, term, members: Members::default() });
    net.replicas[away].log.clear();
    assert_eq!(
        net.replicas[away].engine.leader(),
        Some(NodeId(leader as u64 + 1)),
        "it follows the same leader"
    );
    net.drain(away);
    let sent = net.messages.iter().map(|(_, _, bytes)| describe(bytes).unwrap().text);
    let confirmation = format!("has entries up to {index}, term {term}");
    assert!(sent.into_iter().any(|text| text == confirmation), "the leader learns at once");
    net.settle();
    assert_eq!(net.replicas[away].engine.members(), &before, "the members are not newer");
    assert_eq!(net.replicas[away].members, Members::default(), "no members are emitted again: {emitted:?}");
    for _ in 0..10 {
        net.tick();
    }
    assert_eq!(state(&net), Some(raft::ProgressState::Replicate));
}

#[test]
fn voters_start_elections_one_after_another() {
    let mut net = Net::new(5);
    let leader = net.elect();
    net.tick();
    let others: Vec<usize> = (0..5).filter(|at| *at != leader).collect();
    // The first of the others cannot be reached either.
    net.cut = [leader, others[0]].into();
    for at in &others {
        net.replicas[*at].engine.handle(Input::Lost(NodeId(leader as u64 + 1)));
    }
    let mut ticks = 0;
    while net.leader().is_none() {
        net.tick();
        ticks += 1;
    }
    assert_eq!((ticks, net.leader()), (9, Some(others[1])), "eight ticks after the first");
}

#[test]
fn waiting_reads_are_sent_to_a_new_leader_at_once() {
    let mut engine = Raft::new(&options(0, 3, 0), EngineState::default()).unwrap();
    engine.read(ReadNumber(7));
    let reads = |engine: &mut Raft| {
        let mut asked = Vec::new();
        while let Some(output) = engine.poll() {
            match output {
                Output::Persist(write) => engine.handle(Input::Persisted(write.number)),
                Output::Send { to, bytes } => {
                    let text = describe(&bytes).unwrap().text;
                    asked.extend(text.starts_with("read index request").then_some(to));
                }
                _ => {}
            }
        }
        asked
    };
    assert_eq!(reads(&mut engine), [], "there is no leader");
    let heartbeat = |from: u64, term| {
        let mut heartbeat = Message { from, to: 1, term, ..Message::default() };
        heartbeat.set_msg_type(MessageType::MsgHeartbeat);
        Input::Message { from: NodeId(from), bytes: encode(&heartbeat) }
    };
    engine.handle(heartbeat(2, 1));
    assert_eq!(reads(&mut engine), [NodeId(2)]);
    engine.handle(heartbeat(2, 1));
    assert_eq!(reads(&mut engine), [], "it is the same leader");
    engine.handle(heartbeat(3, 2));
    assert_eq!(reads(&mut engine), [NodeId(3)]);
}

#[test]
fn the_rank_of_a_voter_is_its_place_without_the_lost_leader() {
    for (node, leader, rank) in [(0, 4, 0), (1, 4, 1), (2, 4, 2), (1, 0, 0), (2, 0, 1), (4, 2, 3), (3, 2, 2)]
    {
        let slow = EngineOptions { election_ticks: 100, ..options(node, 5, 0) };
        let mut engine = Raft::new(&slow, EngineState::default()).unwrap();
        let (from, to) = (leader + 1, node as u64 + 1);
        let mut heartbeat = Message { from, to, term: 1, ..Message::default() };
        heartbeat.set_msg_type(MessageType::MsgHeartbeat);
        engine.handle(Input::Message { from: NodeId(from), bytes: encode(&heartbeat) });
        let other = (0..5).find(|at| *at != leader && *at != node as u64).unwrap();
        engine.handle(Input::Lost(NodeId(other + 1)));
        assert_eq!(engine.leader(), Some(NodeId(from)), "another peer was lost");
        engine.handle(Input::Lost(NodeId(from)));
        assert_eq!(engine.leader(), None);
        let mut ticks = 0;
        while engine.standing().role == Role::Follower {
            engine.handle(Input::Tick);
            ticks += 1;
        }
        assert_eq!(ticks, 1 + 8 * rank, "node {node} lost leader {leader}");
    }
}

#[test]
fn a_leader_probes_a_peer_whose_connection_broke() {
    let mut net = Net::new(3);
    let leader = net.elect();
    net.propose(leader, b"x");
    net.tick();
    let peer = NodeId((leader as u64 + 1) % 3 + 1);
    let state = |net: &Net| net.replicas[leader].engine.raw.raft.prs().get(peer.0).map(|it| it.state);
    assert_eq!(state(&net), Some(raft::ProgressState::Replicate));
    net.replicas[leader].engine.handle(Input::Lost(peer));
    assert_eq!(state(&net), Some(raft::ProgressState::Probe));
}

#[test]
fn leadership_goes_to_an_active_voter() {
    let mut net = Net::new(3);
    let leader = net.elect();
    let (next, other) = ((leader + 1) % 3, (leader + 2) % 3);
    for _ in 0..4 {
        net.tick();
    }
    net.cut = [next].into();
    for _ in 0..11 {
        net.tick();
    }
    net.replicas[leader].engine.transfer_leadership();
    net.settle();
    assert_eq!(net.leader(), Some(other));
}

#[test]
fn a_replica_with_unwritten_entries_is_no_candidate() {
    let mut net = Net::new(3);
    let leader = net.elect();
    let full = (leader + 1) % 3;
    net.full = [full].into();
    net.propose(leader, b"x");
    net.cut = [leader, (leader + 2) % 3].into();
    net.replicas[full].engine.handle(Input::Lost(NodeId(leader as u64 + 1)));
    for _ in 0..60 {
        net.tick();
        assert_eq!(net.replicas[full].engine.standing().role, Role::Follower);
    }
    net.full.clear();
    net.settle();
    net.tick();
    assert_eq!(net.replicas[full].engine.standing().role, Role::Candidate, "its timeout has elapsed");
}

#[test]
fn one_change_of_members_is_made_at_a_time() {
    let mut net = Net::new(3);
    let leader = net.elect();
    net.tick();
    let add = |node: u64| Change::Add { node: NodeId(node), address: format!("host{node}:1") };
    net.slow = [0, 1, 2].into();
    let engine = &mut net.replicas[leader].engine;
    assert!(engine.change(add(4)).is_ok_and(|index| index.is_some()));
    assert_eq!(engine.change(add(5)), Err(ChangeError::UnderWay));
    let successor = NodeId((leader as u64 + 1) % 3 + 1);
    assert_eq!(
        engine.change(Change::Lead(successor)),
        Ok(None),
        "leadership can be transferred all the same"
    );
}

#[test]
fn a_change_that_was_made_is_not_made_again() {
    let mut net = Net::new(3);
    let leader = net.elect();
    let address = "host4:1".to_owned();
    for change in [Change::Add { node: NodeId(4), address }, Change::Remove(NodeId(4))] {
        assert!(net.replicas[leader].engine.change(change).is_ok_and(|index| index.is_some()));
        net.settle();
        net.tick();
    }
    let at = (leader + 1) % 3;
    let members = net.replicas[at].engine.members().clone();
    assert_eq!(members.nodes.len(), 3);
    net.restart(at, 70);
    net.replicas[at].members = Members::default();
    for _ in 0..4 {
        net.tick();
    }
    assert!(net.replicas[at].committed.len() > 2, "the log is emitted again");
    assert_eq!(net.replicas[at].engine.members(), &members);
    assert_eq!(net.replicas[at].members, Members::default(), "no older members are emitted");
}

#[test]
fn a_leader_that_may_still_search_does_not_stop_a_replica() {
    let append = |index, log_term| {
        let mut append = Message { from: 2, to: 1, term: 5, index, log_term, ..Message::default() };
        append.set_msg_type(MessageType::MsgAppend);
        append
    };
    let mut engine = follower();
    assert!(!engine.stop_on_conflict(NodeId(2), &append(3, 9)), "only the disk says that it is committed");
    let mut heartbeat = Message { from: 2, to: 1, term: 5, commit: 3, ..Message::default() };
    heartbeat.set_msg_type(MessageType::MsgHeartbeat);
    engine.handle(Input::Message { from: NodeId(2), bytes: encode(&heartbeat) });
    assert_eq!(engine.standing().committed, LogIndex(3));
    assert!(
        !engine.stop_on_conflict(NodeId(2), &append(3, 9)),
        "raft-rs answers for its last committed entry"
    );
    assert!(!engine.stop_on_conflict(NodeId(2), &append(4, 9)), "it is not committed");
    assert!(!engine.stop_on_conflict(NodeId(2), &Message { term: 4, ..append(2, 9) }), "an earlier term");
    assert!(engine.stop_on_conflict(NodeId(2), &append(2, 9)));
}

#[test]
fn a_disk_is_met_in_both_halves_of_a_change() {
    use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2};
    let met = |kind, nodes: &[u64]| {
        let mut conf_change = ConfChangeV2::default();
        conf_change.set_context(Change::Meet { node: NodeId(4), disk: 8 }.encode());
        for node in nodes {
            let mut single = ConfChangeSingle { node_id: *node, ..ConfChangeSingle::default() };
            single.set_change_type(kind);
            conf_change.mut_changes().push(single);
        }
        let data = protobuf::Message::write_to_bytes(&conf_change).unwrap();
        let mut entry = Entry { data: data.into(), ..Entry::default() };
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        crate::conf::change_of(&entry).is_some()
    };
    assert!(met(ConfChangeType::AddLearnerNode, &[4]) && met(ConfChangeType::AddNode, &[4]));
    assert!(!met(ConfChangeType::RemoveNode, &[4]) && !met(ConfChangeType::AddNode, &[5]));
    assert!(!met(ConfChangeType::AddNode, &[]) && !met(ConfChangeType::AddNode, &[4, 4]));
}

#[test]
fn only_a_leader_transfers_its_leadership() {
    let mut net = Net::new(3);
    let leader = net.elect();
    net.propose(leader, b"x");
    net.tick();
    net.replicas[(leader + 1) % 3].engine.transfer_leadership();
    net.settle();
    assert_eq!(net.leader(), Some(leader));
}

#[test]
fn a_candidate_installs_the_checkpoint_that_it_fetched() {
    let mut engine = follower();
    while engine.standing().role == Role::Follower {
        engine.handle(Input::Tick);
    }
    let term = engine.standing().term;
    let message = Input::Message { from: NodeId(2), bytes: encode(&offer(term.0, 10, 5)) };
    engine.handle(message);
    let outputs: Vec<Output> = std::iter::from_fn(|| engine.poll()).collect();
    assert!(outputs.iter().any(|output| matches!(output, Output::Install { .. })));
    engine.handle(Input::Installed { index: LogIndex(10), term: Term(5), members: Members::default() });
    let standing = engine.standing();
    assert_eq!((standing.role, standing.term, standing.committed), (Role::Follower, term, LogIndex(10)));
}
