//! Tests of the whole interface: bytes on disk and between nodes, limits of memberships, a boxed engine.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};
use core::mem::take;

use bezant_types::limits::{ADDRESS_SIZE_MAX, MEMBERS_MAX};
use bezant_types::{LogIndex, NodeId, Term};
use bytes::Bytes;

use super::*;

fn member(node: u64, part: Part) -> Member {
    let address = format!("host{node}:7");
    Member { node: NodeId(node), since: LogIndex(0), part, disk: 0, address }
}

fn members(parts: &[Part]) -> Members {
    Members { index: LogIndex(9), nodes: (1..).zip(parts).map(|(node, part)| member(node, *part)).collect() }
}

fn add(node: u64, address: &str) -> Change {
    Change::Add { node: NodeId(node), address: String::from(address) }
}

/// An engine that records the calls, and answers with values that no other engine gives.
#[derive(Debug, Default)]
struct Recorder {
    calls: Vec<&'static str>,
    members: Members,
    is_yes: bool,
}

impl Engine for Recorder {
    fn propose(&mut self, _: Bytes) -> Option<LogIndex> {
        self.calls.push("propose");
        Some(LogIndex(7))
    }

    fn read(&mut self, _: ReadNumber) {
        self.calls.push("read");
    }

    fn change(&mut self, _: Change) -> Result<Option<LogIndex>, ChangeError> {
        self.calls.push("change");
        Err(ChangeError::Lagging(3))
    }

    fn members(&self) -> &Members {
        &self.members
    }

    fn transfer_leadership(&mut self) {
        self.calls.push("transfer_leadership");
    }

    fn handle(&mut self, _: Input) {
        self.calls.push("handle");
    }

    fn poll(&mut self) -> Option<Output> {
        self.calls.push("poll");
        Some(Output::CaughtUp)
    }

    fn may_vote(&self) -> bool {
        self.is_yes
    }

    fn is_leader(&self) -> bool {
        self.is_yes
    }

    fn leader(&self) -> Option<NodeId> {
        Some(NodeId(5))
    }

    fn standing(&self) -> Standing {
        Standing {
            role: Role::Candidate,
            term: Term(6),
            leader: None,
            committed: LogIndex(1),
            announced: LogIndex(2),
            ticks_since_leader: 3,
            peers: Vec::new(),
        }
    }
}

/// Every call, through the trait.
fn check_calls<E: Engine>(engine: &mut E, is_yes: bool) {
    assert_eq!(engine.propose(Bytes::new()), Some(LogIndex(7)));
    engine.read(ReadNumber(1));
    assert_eq!(engine.change(Change::Complete), Err(ChangeError::Lagging(3)));
    assert_eq!(engine.members().index, LogIndex(4));
    engine.transfer_leadership();
    engine.handle(Input::Tick);
    assert_eq!(engine.poll(), Some(Output::CaughtUp));
    assert_eq!((engine.may_vote(), engine.is_leader()), (is_yes, is_yes));
    assert_eq!((engine.leader(), engine.standing().term), (Some(NodeId(5)), Term(6)));
}

#[test]
fn a_boxed_engine_is_the_engine_in_the_box() {
    for is_yes in [true, false] {
        let members = Members { index: LogIndex(4), nodes: Vec::new() };
        let mut engine = Box::new(Recorder { members, is_yes, ..Recorder::default() });
        check_calls(&mut engine, is_yes);
        let calls = ["propose", "read", "change", "transfer_leadership", "handle", "poll"];
        assert_eq!(take(&mut engine.calls), calls);
    }
}

#[test]
fn a_group_of_one_leads_and_has_no_membership() {
    let mut solo = Solo::new(NodeId(3), LogIndex(4));
    assert!(solo.may_vote() && solo.is_leader());
    assert_eq!(solo.leader(), Some(NodeId(3)));
    assert_eq!(solo.change(Change::Complete), Err(ChangeError::Alone));
    assert_eq!(solo.members(), &Members::default());
    solo.transfer_leadership();
    solo.propose(Bytes::from_static(b"x"));
    let standing = solo.standing();
    assert_eq!((standing.role, standing.leader), (Role::Leader, Some(NodeId(3))));
    assert_eq!(
        (standing.committed, standing.announced),
        (LogIndex(4), LogIndex(4)),
        "nothing is durable yet"
    );
}

#[test]
fn the_floor_is_in_the_log_or_the_checkpoint() {
    let entry = |index| LogEntry {
        index: LogIndex(index),
        term: Term(1),
        kind: EntryKind::Command,
        payload: Bytes::from_static(b"x"),
    };
    // Checkpoint, last entry (0 for none), index that was recorded as committed, floor.
    let cases = [(0, 0, 0, 0), (5, 0, 0, 5), (5, 0, 9, 5), (5, 8, 7, 7), (5, 8, 9, 8), (5, 8, 3, 5)];
    for (checkpoint, last, committed, floor) in cases {
        let state = EngineState {
            checkpoint: (LogIndex(checkpoint), Term(1)),
            entries: if last == 0 { Vec::new() } else { (checkpoint + 1..=last).map(entry).collect() },
            committed: LogIndex(committed),
            ..EngineState::default()
        };
        assert_eq!(state.floor(), LogIndex(floor), "{checkpoint} {last} {committed}");
    }
}

#[test]
fn kinds_have_names_and_codes() {
    let names = MessageKind::ALL.map(MessageKind::name);
    let expected =
        ["heartbeat", "election", "entries", "read", "catching up", "command", "digest", "unknown"];
    assert_eq!(names, expected);
    for (kind, name, code) in [(EngineKind::Raft, "raft", 1), (EngineKind::Paxos, "paxos", 2)] {
        assert_eq!((kind.name(), kind.to_string().as_str(), name.parse()), (name, name, Ok(kind)));
        assert_eq!(EngineKind::from_code(code), Some(kind));
    }
    assert_eq!((EngineKind::from_code(0), EngineKind::from_code(3)), (None, None));
    let unknown = "zab".parse::<EngineKind>().unwrap_err();
    assert_eq!(unknown.to_string(), "the engines are raft, paxos");
}

#[test]
fn a_conflict_says_what_is_known() {
    let conflict = Conflict {
        from: NodeId(3),
        term: Term(7),
        first: LogIndex(51),
        is_first_exact: false,
        committed: LogIndex(51),
        last: LogIndex(51),
        events: 2,
    };
    assert_eq!(conflict.entries(), 1);
    assert_eq!(Conflict { first: LogIndex(60), ..conflict }.entries(), 0);
    assert_eq!(Conflict { first: LogIndex(50), ..conflict }.entries(), 2);
    let bytes = conflict.encode();
    assert_eq!(Conflict::decode(&bytes), Some(conflict));
    let mut invalid = bytes.to_vec();
    invalid[48] = 2;
    assert_eq!(Conflict::decode(&invalid), None, "neither exact nor not exact");
    assert_eq!(Conflict::decode(&[&bytes[..], &[0]].concat()), None);
    let text = conflict.to_string();
    assert!(text.contains("from entry 51 on or from an earlier one: it has 1 committed entries"), "{text}");
    assert!(!text.contains("may have been committed"), "{text}");
    let longer = Conflict { is_first_exact: true, last: LogIndex(52), ..conflict }.to_string();
    assert!(longer.contains("from entry 51 on"), "{longer}");
    assert!(longer.contains("its entries up to 52 may have been committed as well"), "{longer}");
}

#[test]
fn terms_and_their_first_entries_strictly_increase() {
    let mut terms = Terms::new();
    assert!(terms.push(Term(3), LogIndex(10)));
    assert!(!terms.push(Term(3), LogIndex(11)), "the same term");
    assert!(!terms.push(Term(2), LogIndex(11)), "an earlier term");
    assert!(!terms.push(Term(4), LogIndex(10)), "the same entry");
    assert!(!terms.push(Term(4), LogIndex(9)), "an earlier entry");
    assert!(terms.push(Term(4), LogIndex(11)));
    assert_eq!(terms.until(LogIndex(11)), terms, "up to and including the entry");
    assert_eq!(terms.until(LogIndex(10)).at(LogIndex(99)), Some(Term(3)));
    assert_eq!(terms.until(LogIndex(9)), Terms::new());
}

#[test]
fn the_last_two_hundred_terms_are_kept_and_decoded() {
    let mut terms = Terms::new();
    for number in 1..=200 {
        assert!(terms.push(Term(number), LogIndex(number)));
    }
    assert_eq!(terms.at(LogIndex(1)), Some(Term(1)), "200 terms are kept");
    let bytes = terms.encode();
    assert_eq!(Terms::decode(&mut &bytes[..]), Some(terms.clone()));
    assert!(terms.push(Term(201), LogIndex(201)));
    assert_eq!((terms.at(LogIndex(1)), terms.at(LogIndex(2))), (None, Some(Term(2))));
    let mut longer = bytes.to_vec();
    longer[0] = 201;
    longer.extend([201_u64, 201].iter().flat_map(|number| number.to_le_bytes()));
    assert_eq!(Terms::decode(&mut &longer[..]), None, "201 terms");
    assert_eq!(Terms::decode(&mut &bytes[..bytes.len() - 1]), None);
}

#[test]
fn every_part_of_a_member_survives_encoding() {
    let mut members = members(&[Part::Learner, Part::Voter, Part::Joining, Part::Leaving]);
    members.nodes[1].since = LogIndex(9);
    members.nodes[2].disk = u128::MAX;
    let bytes = members.encode();
    assert_eq!(Members::decode(&mut &bytes[..]), Some(members));
    // The part of the first member is after the index, the count, the node and `since`.
    for part in [0, 5] {
        let mut invalid = bytes.to_vec();
        invalid[26] = part;
        assert_eq!(Members::decode(&mut &invalid[..]), None, "part {part}");
    }
}

#[test]
fn memberships_out_of_order_or_limits_are_rejected() {
    let is_valid = |members: &Members| {
        let bytes = members.encode();
        Members::decode(&mut &bytes[..]).inspect(|read| assert_eq!(read, members)).is_some()
    };
    let two = members(&[Part::Voter; 2]);
    let with = |change: &dyn Fn(&mut Member)| {
        let mut changed = two.clone();
        change(&mut changed.nodes[1]);
        changed
    };
    assert!(is_valid(&two));
    assert!(!is_valid(&with(&|member| member.node = NodeId(1))), "two members with one number");
    assert!(!is_valid(&with(&|member| member.node = NodeId(0))), "not in order");
    assert!(!is_valid(&Members { nodes: vec![member(0, Part::Voter)], ..two.clone() }), "node 0");
    assert!(is_valid(&with(&|member| member.since = LogIndex(9))), "added by the last change");
    assert!(!is_valid(&with(&|member| member.since = LogIndex(10))), "added later");
    assert!(is_valid(&with(&|member| member.address = "a".repeat(ADDRESS_SIZE_MAX))));
    assert!(!is_valid(&with(&|member| member.address = "a".repeat(ADDRESS_SIZE_MAX + 1))));
    assert!(is_valid(&members(&[Part::Voter; MEMBERS_MAX])));
    assert!(!is_valid(&members(&[Part::Voter; MEMBERS_MAX + 1])), "17 members");
}

#[test]
fn changes_with_fields_of_other_kinds_are_rejected() {
    let valid = |change: &Change| Change::decode(&change.encode()).as_ref() == Some(change);
    assert!(valid(&add(4, "d:1")) && valid(&add(4, "")));
    let parts = |kind: u8, node: u64, disk: u128, address: &str| {
        let size = u16::try_from(address.len()).unwrap().to_le_bytes();
        let head = [&[kind][..], &node.to_le_bytes(), &disk.to_le_bytes(), &size].concat();
        Change::decode(&[&head, address.as_bytes()].concat())
    };
    assert_eq!(parts(1, 4, 0, "d:1"), Some(add(4, "d:1")));
    assert_eq!(parts(1, 4, 8, "d:1"), None, "a node is added without its disk");
    assert_eq!(parts(2, 4, 0, ""), Some(Change::Promote(NodeId(4))));
    assert_eq!(parts(2, 4, 0, "d:1"), None, "only an added node has an address");
    assert_eq!(parts(2, 4, 8, ""), None, "only a node that is met has a disk");
    assert_eq!(parts(6, 4, 8, ""), Some(Change::Meet { node: NodeId(4), disk: 8 }));
    assert_eq!(parts(6, 4, 0, ""), None, "a disk is not 0");
    assert_eq!(parts(6, 4, 8, "d:1"), None);
    assert_eq!(parts(4, 0, 0, ""), Some(Change::Complete));
    assert_eq!(parts(4, 1, 0, ""), None, "the second step is for no node");
    assert_eq!(parts(7, 4, 0, ""), None, "an unknown kind");
    let longer = [&Change::Complete.encode()[..], &[0]].concat();
    assert_eq!(Change::decode(&longer), None);
}

#[test]
fn some_changes_are_for_one_member_only() {
    let node = NodeId(4);
    for change in [Change::Meet { node, disk: 8 }, Change::Promote(node), Change::Remove(node)] {
        assert_eq!(change.member(), Some(node), "{change:?}");
    }
    for change in [add(4, "d:1"), Change::Complete, Change::Lead(node)] {
        assert_eq!(change.member(), None, "{change:?}");
    }
}

#[test]
fn outcomes_carry_their_value_and_nothing_else() {
    let lagging = Err(ChangeError::Lagging(1 << 40));
    let bytes = encode_outcome(lagging);
    assert_eq!(decode_outcome(&bytes), Some(lagging));
    assert_eq!(decode_outcome(&bytes[..8]), None);
    assert_eq!(decode_outcome(&[&bytes[..], &[0]].concat()), None);
    assert_eq!(decode_outcome(&[15, 0, 0, 0, 0, 0, 0, 0, 0]), None, "an unknown code");
    let codes: Vec<u8> = [ChangeError::NotLeading, ChangeError::UnderWay, ChangeError::Outdated]
        .map(|error| encode_outcome(Err(error))[0])
        .into();
    assert_eq!(codes, [1, 2, 14]);
}

#[test]
fn a_membership_has_limits() {
    let full = members(&[Part::Learner; MEMBERS_MAX]);
    let nearly_full = members(&[Part::Learner; MEMBERS_MAX - 1]);
    assert_eq!(full.check(&add(99, "x:1")), Err(ChangeError::Full));
    assert_eq!(full.check(&add(1, "x:1")), Err(ChangeError::Known));
    assert_eq!(nearly_full.check(&add(99, "x:1")), Ok(()));
    let two = members(&[Part::Voter; 2]);
    assert_eq!(two.check(&add(3, &"a".repeat(ADDRESS_SIZE_MAX))), Ok(()));
    assert_eq!(two.check(&add(3, &"a".repeat(ADDRESS_SIZE_MAX + 1))), Err(ChangeError::Address));
    assert_eq!(two.check(&add(3, "")), Err(ChangeError::Address));
    assert_eq!(two.check(&add(3, "host2:7")), Err(ChangeError::Address));
    assert_eq!(two.check(&add(0, "x:1")), Err(ChangeError::Address));
}

#[test]
fn the_last_voter_stays() {
    let one = members(&[Part::Voter, Part::Learner]);
    assert_eq!(one.check(&Change::Remove(NodeId(1))), Err(ChangeError::TooFew));
    assert_eq!(one.check(&Change::Remove(NodeId(2))), Ok(()), "a learner");
    assert_eq!(one.after(&Change::Remove(NodeId(2)), LogIndex(10)).nodes, [member(1, Part::Voter)]);
    let two = members(&[Part::Voter; 2]);
    assert_eq!(two.check(&Change::Remove(NodeId(1))), Ok(()));
    assert_eq!(two.check(&Change::Remove(NodeId(3))), Err(ChangeError::Unknown));
}

#[test]
fn only_a_voter_may_lead() {
    let all = members(&[Part::Learner, Part::Voter, Part::Joining, Part::Leaving]);
    let leads = [1, 2, 3, 4, 5].map(|node| all.check(&Change::Lead(NodeId(node))));
    let no_vote = Err(ChangeError::NoVote);
    assert_eq!(leads, [no_vote, Ok(()), Ok(()), no_vote, Err(ChangeError::Unknown)]);
    for part in [Part::Joining, Part::Leaving] {
        let changing = members(&[Part::Voter, part]);
        assert!(changing.is_changing());
        assert_eq!(changing.check(&Change::Complete), Ok(()));
        assert_eq!(changing.check(&Change::Remove(NodeId(1))), Err(ChangeError::UnderWay));
    }
    assert!(!members(&[Part::Voter, Part::Learner]).is_changing());
    let voters: Vec<NodeId> = all.voters().collect();
    assert_eq!(voters, [NodeId(2), NodeId(3)], "those after the change");
}

#[test]
fn a_change_affects_one_member() {
    let before = members(&[Part::Learner, Part::Learner, Part::Voter]);
    let met = before.after(&Change::Meet { node: NodeId(2), disk: 8 }, LogIndex(10));
    assert_eq!(met.nodes.iter().map(|member| member.disk).collect::<Vec<_>>(), [0, 8, 0]);
    assert_eq!(met.check(&Change::Meet { node: NodeId(9), disk: 8 }), Err(ChangeError::Unknown));
    let parts = |members: &Members| members.nodes.iter().map(|member| member.part).collect::<Vec<_>>();
    let joining = met.after(&Change::Promote(NodeId(2)), LogIndex(11));
    assert_eq!(parts(&joining), [Part::Learner, Part::Joining, Part::Voter]);
    let joined = joining.after(&Change::Complete, LogIndex(12));
    assert_eq!(parts(&joined), [Part::Learner, Part::Voter, Part::Voter]);
    let leaving = joined.after(&Change::Remove(NodeId(3)), LogIndex(13));
    assert_eq!(parts(&leaving), [Part::Learner, Part::Voter, Part::Leaving]);
    let left = leaving.after(&Change::Complete, LogIndex(14));
    assert_eq!(parts(&left), [Part::Learner, Part::Voter]);
    assert_eq!(left.check(&Change::Promote(NodeId(2))), Err(ChangeError::Votes));
    let added = left.after(&add(3, "again:1"), LogIndex(15));
    assert_eq!(added.get(NodeId(3)).map(|member| member.since), Some(LogIndex(15)));
    let unsorted = Members::first([(NodeId(2), String::new()), (NodeId(1), String::new())]);
    assert_eq!(unsorted.nodes.iter().map(|member| member.node.0).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn all_changes_of_a_log_but_the_last_are_made() {
    let base = members(&[Part::Voter]);
    let changes = [9, 10, 11, 12].map(|index| (LogIndex(index), add(index, &format!("host{index}:7"))));
    let nodes = |count: usize| {
        let members = base.catch_up(changes.iter().take(count).cloned());
        (members.index.0, members.nodes.iter().map(|member| member.node.0).collect::<Vec<_>>())
    };
    // The change at 9 was made before this membership.
    assert_eq!(nodes(1), (9, vec![1]));
    assert_eq!(nodes(2), (9, vec![1]), "the last change may not be committed");
    assert_eq!(nodes(3), (10, vec![1, 10]));
    assert_eq!(nodes(4), (11, vec![1, 10, 11]));
}

#[test]
fn a_majority_of_those_who_stay_must_be_active() {
    let check = |voters: usize, leaving: u64, active: &[u64]| {
        members(&vec![Part::Voter; voters])
            .check_enough_stay(NodeId(leaving), |node| active.contains(&node.0))
    };
    let too_few = Err(ChangeError::TooFew);
    assert_eq!(check(3, 3, &[1, 2]), Ok(()));
    assert_eq!(check(3, 3, &[1]), too_few, "half of those who stay");
    assert_eq!(check(3, 3, &[1, 3]), too_few, "the one who leaves does not count");
    assert_eq!(check(4, 4, &[1, 2]), Ok(()), "two of three");
    assert_eq!(check(4, 4, &[1]), too_few);
    assert_eq!(check(2, 2, &[1]), Ok(()));
}
