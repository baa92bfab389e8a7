//! One leader: at most one node leads in a term.

use bezant_types::{NodeId, Term};

use crate::record::Record;

/// Records that `node` leads in `term`, and compares with earlier records.
pub(crate) fn one_leader_a_term(record: &mut Record, term: Term, node: NodeId) -> Result<(), String> {
    let known = *record.leaders.entry(term).or_insert(node);
    if known == node { Ok(()) } else { Err(format!("nodes {known} and {node} both lead in term {term}")) }
}
