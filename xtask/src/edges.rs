//! The edges between rooms, and the outside crates that core rooms do without.

use crate::graph::Graph;
use crate::rooms::{CORE, CORE_NEVER_CRATES, NEVER, ORDER};

/// Everything in the graph that breaks a rule.
pub(crate) fn check(graph: &Graph) -> Vec<String> {
    let mut findings = Vec::new();
    for room in graph.rooms.keys() {
        if !ORDER.contains(&room.as_str()) {
            findings.push(format!("crates/{room} has no place in the order of the rooms: give it one"));
        }
        check_order(graph, room, &mut findings);
        check_never(graph, room, &mut findings);
        check_outside(graph, room, &mut findings);
    }
    findings
}

/// The rooms that a room needs directly.
fn rooms_needed<'graph>(graph: &'graph Graph, room: &str) -> impl Iterator<Item = &'graph str> {
    let needs = graph.rooms.get(room).and_then(|package| graph.needs.get(package));
    graph
        .rooms
        .iter()
        .filter(move |(_, package)| needs.is_some_and(|needs| needs.contains(*package)))
        .map(|(other, _)| other.as_str())
}

fn check_order(graph: &Graph, room: &str, findings: &mut Vec<String>) {
    let place = |room: &str| ORDER.iter().position(|other| *other == room);
    let Some(own) = place(room) else { return };
    for other in rooms_needed(graph, room) {
        if place(other).is_some_and(|place| place >= own) {
            findings.push(format!("{room} depends on {other}, which stands above it"));
        }
    }
}

fn check_never(graph: &Graph, room: &str, findings: &mut Vec<String>) {
    for (_, forbidden, reason) in NEVER.iter().filter(|(of, ..)| *of == room) {
        for other in rooms_needed(graph, room).filter(|other| forbidden.contains(other)) {
            findings.push(format!("{room} depends on {other}, and never may: {reason}"));
        }
    }
}

fn check_outside(graph: &Graph, room: &str, findings: &mut Vec<String>) {
    let Some(package) = graph.rooms.get(room) else { return };
    if !CORE.contains(&room) && room != "storage" {
        return;
    }
    for outside in CORE_NEVER_CRATES {
        if let Some(way) = graph.way(package, outside) {
            findings
                .push(format!("{room} must stay deterministic and reaches {outside}: {}", way.join(" -> ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn graph(edges: &[(&str, &[&str])]) -> Graph {
        let mut graph = Graph::default();
        for room in ORDER {
            graph.rooms.insert((*room).to_owned(), format!("bezant-{room}"));
        }
        graph.needs = edges
            .iter()
            .map(|(from, to)| ((*from).to_owned(), to.iter().map(|name| (*name).to_owned()).collect()))
            .collect::<BTreeMap<String, BTreeSet<String>>>();
        graph
    }

    #[test]
    fn edges_downwards_are_fine() {
        let graph =
            graph(&[("bezant-ledger", &["bezant-types", "bezant-rsm", "hashbrown"]), ("hashbrown", &[])]);
        assert_eq!(check(&graph), [""; 0]);
    }

    #[test]
    fn an_edge_upwards_is_found() {
        let graph = graph(&[("bezant-ledger", &["bezant-consensus"])]);
        assert_eq!(check(&graph), ["ledger depends on consensus, which stands above it"]);
    }

    #[test]
    fn an_edge_that_may_never_be_is_found() {
        let found = check(&graph(&[("bezant-cli", &["bezant-replica"]), ("bezant-replica", &[])]));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("cli depends on node, and never may: "), "{found:?}");
    }

    #[test]
    fn an_outside_crate_is_found_through_others() {
        let graph = graph(&[
            ("bezant-ledger", &["bytes", "helper"]),
            ("helper", &["tokio"]),
            ("bezant-server", &["tokio"]),
        ]);
        assert_eq!(
            check(&graph),
            ["ledger must stay deterministic and reaches tokio: bezant-ledger -> helper -> tokio"]
        );
    }

    #[test]
    fn a_room_without_a_place_is_found() {
        let mut graph = graph(&[]);
        graph.rooms.insert("attic".to_owned(), "bezant-attic".to_owned());
        assert_eq!(check(&graph).len(), 1);
    }

    #[test]
    fn rules_speak_of_rooms_that_exist() {
        for (room, forbidden, _) in NEVER {
            for name in forbidden.iter().chain([room]) {
                assert!(ORDER.contains(name), "{name}");
            }
        }
    }
}
