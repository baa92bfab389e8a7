//! Checks the dependencies between crates, and that core crates do not depend on certain outside crates.

use crate::graph::Graph;
use crate::rules::{CORE, CORE_NEVER_CRATES, NEVER_NAMES, NEVER_REACHES, ORDER};

/// Everything in the graph that breaks a rule.
pub(crate) fn check(graph: &Graph) -> Vec<String> {
    let mut findings = Vec::new();
    for name in graph.crates.keys() {
        if !ORDER.contains(&name.as_str()) {
            findings.push(format!(
                "crates/{name} is not in the order of the crates: add it to ORDER in xtask/src/rules.rs"
            ));
        }
        check_order(graph, name, &mut findings);
        check_never(graph, name, &mut findings);
        check_outside(graph, name, &mut findings);
    }
    findings
}

/// The crates that a crate needs directly.
fn crates_needed<'graph>(graph: &'graph Graph, name: &str) -> impl Iterator<Item = &'graph str> {
    let needs = graph.crates.get(name).and_then(|package| graph.needs.get(package));
    graph
        .crates
        .iter()
        .filter(move |(_, package)| needs.is_some_and(|needs| needs.contains(*package)))
        .map(|(other, _)| other.as_str())
}

fn check_order(graph: &Graph, name: &str, findings: &mut Vec<String>) {
    let place = |name: &str| ORDER.iter().position(|other| *other == name);
    let Some(own) = place(name) else { return };
    for other in crates_needed(graph, name) {
        if place(other).is_some_and(|place| place >= own) {
            findings
                .push(format!("{name} depends on {other}, which comes after it in the order of the crates"));
        }
    }
}

fn check_never(graph: &Graph, krate: &str, findings: &mut Vec<String>) {
    for (_, forbidden, reason) in NEVER_NAMES.iter().filter(|(of, ..)| *of == krate) {
        for other in crates_needed(graph, krate).filter(|other| forbidden.contains(other)) {
            findings.push(format!("{krate} depends on {other}, but must not: {reason}"));
        }
    }
    let Some(package) = graph.crates.get(krate) else { return };
    for (_, forbidden, reason) in NEVER_REACHES.iter().filter(|(of, ..)| *of == krate) {
        for other in forbidden.iter().filter_map(|other| graph.crates.get(*other)) {
            if let Some(way) = graph.way(package, other) {
                findings.push(format!("{} is a forbidden path: {reason}", way.join(" -> ")));
            }
        }
    }
}

fn check_outside(graph: &Graph, name: &str, findings: &mut Vec<String>) {
    let Some(package) = graph.crates.get(name) else { return };
    if !CORE.contains(&name) && name != "storage" {
        return;
    }
    for outside in CORE_NEVER_CRATES {
        if let Some(way) = graph.way(package, outside) {
            findings
                .push(format!("{name} must stay deterministic, but reaches {outside}: {}", way.join(" -> ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn graph(edges: &[(&str, &[&str])]) -> Graph {
        let mut graph = Graph::default();
        for name in ORDER {
            graph.crates.insert((*name).to_owned(), format!("bezant-{name}"));
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
        assert_eq!(
            check(&graph),
            ["ledger depends on consensus, which comes after it in the order of the crates"]
        );
    }

    #[test]
    fn an_edge_that_may_never_be_is_found() {
        let found = check(&graph(&[("bezant-cli", &["bezant-replica"]), ("bezant-replica", &[])]));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("cli depends on replica, but must not: "), "{found:?}");
    }

    #[test]
    fn a_crate_that_is_reached_through_another_is_found() {
        let found = check(&graph(&[
            ("bezant-storage", &["bezant-consensus"]),
            ("bezant-consensus", &["bezant-rsm"]),
        ]));
        let expected = "bezant-storage -> bezant-consensus -> bezant-rsm is a forbidden path: ";
        assert!(found.iter().any(|finding| finding.starts_with(expected)), "{found:?}");
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
            ["ledger must stay deterministic, but reaches tokio: bezant-ledger -> helper -> tokio"]
        );
    }

    #[test]
    fn a_crate_without_a_place_is_found() {
        let mut graph = graph(&[]);
        graph.crates.insert("attic".to_owned(), "bezant-attic".to_owned());
        assert_eq!(check(&graph).len(), 1);
    }

    #[test]
    fn rules_name_crates_that_exist() {
        for (name, forbidden, _) in NEVER_NAMES.iter().chain(NEVER_REACHES) {
            for one in forbidden.iter().chain([name]) {
                assert!(ORDER.contains(one), "{one}");
            }
        }
    }
}
