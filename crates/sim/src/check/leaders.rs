//! One leader: in a term at most one node leads.

use bezant_types::{NodeId, Term};

use crate::record::Record;

/// Takes that `node` leads in `term`.
pub(crate) fn one_leader_a_term(record: &mut Record, term: Term, node: NodeId) -> Result<(), String> {
    let known = *record.leaders.entry(term).or_insert(node);
    if known == node { Ok(()) } else { Err(format!("nodes {known} and {node} both lead in term {term}")) }
}
