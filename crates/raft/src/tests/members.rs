//! Changes of the membership while a group works, and failures in the middle of a change.

use bezant_consensus::{Change, ChangeError, Part, Role};

use super::*;

fn add(node: u64) -> Change {
    Change::Add { node: NodeId(node), address: format!("host{node}:1") }
}

fn meet(node: u64) -> Change {
    Change::Meet { node: NodeId(node), disk: u128::from(node) }
}

impl Net {
    /// Adds a replica with an empty disk and the members that the leader has.
    fn join(&mut self, leader: usize) -> usize {
        let at = self.replicas.len();
        let members = self.replicas[leader].engine.members().clone();
        let options = EngineOptions { may_vote: false, members: members.clone(), ..options(at, 1, 7) };
        let engine = Raft::new(&options, EngineState::default()).unwrap();
        self.replicas.push(Replica { members, ..Replica::new(engine) });
        at
    }

    fn change(&mut self, at: usize, change: &Change) -> Result<Option<LogIndex>, ChangeError> {
        let made = self.replicas[at].engine.change(change.clone());
        self.settle();
        made
    }

    fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.tick();
            for replica in &mut self.replicas {
                if std::mem::take(&mut replica.has_caught_up) {
                    replica.engine.handle(Input::Admit);
                }
            }
        }
    }

    /// Three replicas and a learner that has caught up. Also returns the leader.
    fn with_learner() -> (Self, usize) {
        let mut net = Self::new(3);
        let leader = net.elect();
        net.propose(leader, b"before");
        net.change(leader, &add(4)).unwrap();
        net.join(leader);
        net.change(leader, &meet(4)).unwrap();
        net.ticks(20);
        (net, leader)
    }

    fn parts(&self, at: usize) -> Vec<(u64, Part)> {
        let members = self.replicas[at].engine.members();
        members.nodes.iter().map(|member| (member.node.0, member.part)).collect()
    }
}

const FOUR: [(u64, Part); 4] = [(1, Part::Voter), (2, Part::Voter), (3, Part::Voter), (4, Part::Voter)];

#[test]
fn an_added_node_catches_up_and_becomes_a_voter() {
    let (mut net, leader) = Net::with_learner();
    assert_eq!(commands(&net.replicas[3]), [b"before"]);
    assert_eq!(net.parts(3)[3], (4, Part::Learner));
    net.change(leader, &Change::Promote(NodeId(4))).unwrap();
    net.ticks(10);
    for at in 0..4 {
        assert_eq!(net.parts(at), FOUR, "replica {at}");
        assert_eq!(
            net.replicas[at].members,
            *net.replicas[at].engine.members(),
            "the members were emitted for the disk"
        );
    }
    // Three of four are a majority: nothing is committed while two voters are cut off, and the group works
    // while one is.
    net.cut = [(leader + 1) % 3, (leader + 2) % 3].into();
    net.replicas[leader].engine.propose(Bytes::from_static(b"not yet"));
    net.settle();
    assert!(!commands(&net.replicas[3]).contains(&&b"not yet"[..]));
    net.cut = [(leader + 1) % 3].into();
    net.ticks(60);
    let leader = net.elect();
    net.propose(leader, b"with three");
    net.tick();
    assert!(commands(&net.replicas[3]).contains(&&b"with three"[..]));
}

#[test]
fn the_next_leader_completes_a_joint_change() {
    let (mut net, leader) = Net::with_learner();
    // The leader applies the first step and crashes before a peer receives the commit or the second step.
    net.replicas[leader].engine.change(Change::Promote(NodeId(4))).unwrap();
    net.settle_while(|net| !net.replicas[leader].engine.members().is_changing());
    net.messages.retain(|(from, ..)| *from != leader);
    assert!((0..4).filter(|at| *at != leader).all(|at| !net.replicas[at].engine.members().is_changing()));
    net.cut = [leader].into();
    for at in (0..4).filter(|at| *at != leader) {
        net.restart(at, 30 + at as u64);
    }
    net.ticks(60);
    let new = net.elect();
    net.ticks(20);
    for at in (0..4).filter(|at| *at != leader) {
        assert_eq!(net.parts(at), FOUR, "replica {at}");
    }
    net.cut.clear();
    net.restart(leader, 40);
    net.propose(new, b"after");
    net.ticks(40);
    assert_eq!(net.parts(leader), FOUR);
}

#[test]
fn a_removed_node_is_harmless_and_its_number_can_return() {
    let mut net = Net::new(3);
    let leader = net.elect();
    let removed = (leader + 1) % 3;
    let number = NodeId(removed as u64 + 1);
    net.cut = [removed].into();
    net.change(leader, &Change::Remove(number)).unwrap();
    net.ticks(10);
    assert_eq!(net.parts(leader).len(), 2);
    let term = net.replicas[leader].engine.standing().term;
    net.cut.clear();
    net.ticks(200);
    let standing = net.replicas[leader].engine.standing();
    assert_eq!(
        (net.leader(), standing.term),
        (Some(leader), term),
        "the removed node still counts itself as a voter"
    );
    // The number is added again with an empty disk.
    let address = "elsewhere:1".to_owned();
    net.change(leader, &Change::Add { node: number, address }).unwrap();
    let members = net.replicas[leader].engine.members().clone();
    let options = EngineOptions { may_vote: false, members, ..options(removed, 3, 50) };
    net.replicas[removed] = Replica::new(Raft::new(&options, EngineState::default()).unwrap());
    net.propose(leader, b"all of it");
    net.ticks(20);
    assert_eq!(commands(&net.replicas[removed]), [b"all of it"]);
    net.change(leader, &meet(number.0)).unwrap();
    net.change(leader, &Change::Promote(number)).unwrap();
    net.ticks(20);
    let voters: Vec<NodeId> = net.replicas[removed].engine.members().voters().collect();
    assert_eq!(voters, [NodeId(1), NodeId(2), NodeId(3)]);
    net.cut = [leader].into();
    net.ticks(60);
    net.elect();
}

#[test]
fn a_replica_removed_by_a_checkpoint_never_campaigns() {
    let mut net = Net::new(3);
    let leader = net.elect();
    let away = (leader + 1) % 3;
    let (index, term) = net.outrun(leader, away);
    assert_eq!(net.replicas[away].installs.len(), 1);
    net.cut = [away].into();
    let leader = net.elect();
    net.change(leader, &Change::Remove(NodeId(away as u64 + 1))).unwrap();
    net.ticks(10);
    let members = net.replicas[leader].engine.members().clone();
    assert_eq!(members.nodes.len(), 2);
    net.replicas[away].engine.handle(Input::Installed { index, term, members: members.clone() });
    net.replicas[away].log.clear();
    net.settle();
    assert_eq!(net.replicas[away].members, members, "the members were emitted for the disk");
    let before = net.replicas[away].engine.standing();
    net.ticks(200);
    let standing = net.replicas[away].engine.standing();
    assert_eq!((standing.role, standing.term), (Role::Follower, before.term));
}

#[test]
fn unsafe_changes_are_rejected() {
    let (mut net, leader) = Net::with_learner();
    let follower = (leader + 1) % 3;
    let (itself, other) = (NodeId(leader as u64 + 1), NodeId(follower as u64 + 1));
    assert_eq!(net.change(follower, &add(5)), Err(ChangeError::NotLeading));
    assert_eq!(net.change(leader, &Change::Remove(itself)), Err(ChangeError::Leads));
    assert_eq!(net.change(leader, &Change::Lead(NodeId(4))), Err(ChangeError::NoVote));
    assert_eq!(net.change(leader, &Change::Lead(itself)), Ok(None));
    net.cut = [3].into();
    net.ticks(15);
    assert!(matches!(net.change(leader, &Change::Promote(NodeId(4))), Err(ChangeError::Lagging(_))));
    net.cut = [follower].into();
    net.ticks(15);
    let third = NodeId((leader as u64 + 2) % 3 + 1);
    assert_eq!(
        net.change(leader, &Change::Remove(third)),
        Err(ChangeError::TooFew),
        "one of the two voters that stay is cut off"
    );
    assert!(net.change(leader, &Change::Remove(other)).is_ok(), "the voter that is cut off can be removed");
    net.ticks(5);
    assert_eq!(net.change(leader, &Change::Remove(NodeId(4))).map(|it| it.is_some()), Ok(true));
}

#[test]
fn a_learner_without_an_entry_of_the_term_is_not_promoted() {
    let mut net = Net::new(3);
    let leader = net.elect();
    net.propose(leader, b"before");
    net.change(leader, &add(4)).unwrap();
    // It answers heartbeats, and its disk has no space for an entry. The whole log is shorter than the
    // permitted lag.
    let learner = net.join(leader);
    net.full = [learner].into();
    net.change(leader, &meet(4)).unwrap();
    net.ticks(20);
    let lacks = net.replicas[leader].log.last().unwrap().index;
    assert_eq!(net.change(leader, &Change::Promote(NodeId(4))), Err(ChangeError::Lagging(lacks.0)));
    net.full.clear();
    net.ticks(5);
    assert!(net.replicas[learner].engine.may_vote());
    assert!(net.change(leader, &Change::Promote(NodeId(4))).is_ok());
}

#[test]
fn a_log_restores_all_changes_of_members_but_the_last() {
    let (mut net, leader) = Net::with_learner();
    let lagging = (leader + 1) % 3;
    let removed = NodeId((leader as u64 + 2) % 3 + 1);
    let before = net.replicas[lagging].members.clone();
    net.change(leader, &Change::Promote(NodeId(4))).unwrap();
    net.change(leader, &Change::Remove(removed)).unwrap();
    net.ticks(3);
    let now = net.replicas[leader].engine.members().clone();
    assert_eq!(net.replicas[lagging].engine.members(), &now);
    // Its log was durable, but the record of the members was not.
    net.replicas[lagging].members = before;
    net.restart(lagging, 60);
    let begun = net.replicas[lagging].engine.members();
    assert!(begun.index < now.index && begun.get(NodeId(4)).is_some_and(|it| it.part == Part::Voter));
    assert_eq!(
        begun.get(removed).map(|it| it.part),
        Some(Part::Leaving),
        "only the last change may be uncommitted"
    );
    net.drain(lagging);
    assert_eq!(
        net.replicas[lagging].members,
        *net.replicas[lagging].engine.members(),
        "the members were emitted for the disk again"
    );
}

#[test]
fn a_change_whose_halves_differ_is_rejected() {
    use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, Entry, EntryType};
    let entry = |change: &Change, kind, node| {
        let mut conf_change = ConfChangeV2::default();
        conf_change.set_context(change.encode());
        let mut single = ConfChangeSingle { node_id: node, ..ConfChangeSingle::default() };
        single.set_change_type(kind);
        conf_change.mut_changes().push(single);
        let data = protobuf::Message::write_to_bytes(&conf_change).unwrap();
        let mut entry = Entry { data: data.into(), ..Entry::default() };
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        crate::conf::change_of(&entry)
    };
    assert_eq!(entry(&add(4), ConfChangeType::AddLearnerNode, 4), Some(add(4)));
    assert_eq!(entry(&add(4), ConfChangeType::AddLearnerNode, 5), None);
    assert_eq!(entry(&Change::Remove(NodeId(4)), ConfChangeType::AddLearnerNode, 4), None);
    assert_eq!(entry(&Change::Lead(NodeId(4)), ConfChangeType::AddNode, 4), None);
    assert_eq!(entry(&Change::Complete, ConfChangeType::AddNode, 4), None);
}

#[test]
fn leadership_is_transferred_to_the_requested_node() {
    let mut net = Net::new(3);
    let leader = net.elect();
    net.ticks(5);
    let wanted = (leader + 2) % 3;
    assert_eq!(net.change(leader, &Change::Lead(NodeId(wanted as u64 + 1))), Ok(None));
    assert_eq!(net.leader(), Some(wanted));
}

#[test]
fn a_transfer_in_progress_keeps_its_successor() {
    let mut net = Net::new(3);
    let leader = net.elect();
    net.ticks(5);
    let wanted = (leader + 2) % 3;
    net.slow = [wanted].into();
    net.propose(leader, b"not yet on its disk");
    assert_eq!(net.change(leader, &Change::Lead(NodeId(wanted as u64 + 1))), Ok(None));
    assert_eq!(net.leader(), None, "the leader waits for its successor");
    net.replicas[leader].engine.transfer_leadership();
    net.slow.clear();
    net.settle();
    assert_eq!(net.leader(), Some(wanted), "not the voter that has the whole log");
}

#[test]
fn a_learner_does_not_campaign_when_its_leader_is_lost() {
    let (mut net, leader) = Net::with_learner();
    let learner = &mut net.replicas[3].engine;
    assert!(learner.may_vote(), "it has caught up");
    learner.handle(Input::Lost(NodeId(leader as u64 + 1)));
    for tick in 0..60 {
        learner.handle(Input::Tick);
        assert_eq!(learner.standing().role, Role::Follower, "tick {tick}");
    }
}

#[test]
fn a_leader_that_commits_its_own_removal_steps_down() {
    let mut net = Net::new(2);
    let leader = net.elect();
    let other = 1 - leader;
    let node = NodeId(other as u64 + 1);
    net.ticks(4);
    net.replicas[leader].engine.change(Change::Remove(node)).unwrap();
    // The leader proposes both steps, and crashes before the second is committed.
    let steps = |net: &Net| net.replicas[other].log.iter().filter_map(crate::wire::change_in).count();
    net.settle_while(|net| steps(net) < 2);
    assert_eq!(steps(&net), 2);
    net.messages.clear();
    net.restart(leader, 9);
    for _ in 0..100 {
        net.replicas[other].engine.handle(Input::Tick);
        net.settle();
        if net.replicas[other].engine.members().get(node).is_none() {
            break;
        }
    }
    assert_eq!(net.parts(other), [(leader as u64 + 1, Part::Voter)]);
    assert_eq!(net.replicas[other].engine.standing().role, Role::Follower);
}
