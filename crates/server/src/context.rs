//! What travels with a request, from its connection to the node.
//!
//! Each protocol makes one [`RequestContext`] for each request, at one place, and passes it by reference to
//! every call of the [`Service`](crate::service::Service):
//!
//! - gRPC and REST: `http`, once the guard and the budgets have admitted the request. REST then sets the
//!   deadline from its own headers, in `rest::request`.
//! - TigerBeetle's protocol: `tigerbeetle::connection`, before the work of a request begins.
//!
//! Always holds: everything that the service takes from a request, besides the request's message, is here or
//! is an argument. Nothing is kept in the task or thread that does the work, and `xtask tidy` refuses
//! `task_local!` in this crate. So a call without a context does not compile. The context is cheap: to make
//! one allocates nothing beyond the memory account of the answer and the counter of [`Freshness`], and a
//! clone adds to two reference counts.

use std::sync::Arc;
use std::time::Instant;

use bezant_api::Failure;

use crate::answer::{AnswerMemory, Reserved};
use crate::freshness::Freshness;
use crate::share::{Budget, Share, Taken};

/// When a call must be answered at the latest; `None` = no deadline.
pub(crate) type Deadline = Option<Instant>;

/// What travels with a request. See the module.
#[derive(Clone, Debug)]
pub(crate) struct RequestContext {
    /// What the memory and the reads of the request are counted in.
    pub(crate) budget: RequestBudget,
    /// How fresh the answer must be, and which log entry it reflects.
    pub(crate) freshness: Freshness,
    /// Who sent the request: changes of the cluster depend on it.
    pub(crate) principal: Principal,
    /// When the call must be answered at the latest.
    pub(crate) deadline: Deadline,
}

impl RequestContext {
    /// The same context with another deadline.
    pub(crate) fn due_by(&self, deadline: Deadline) -> Self {
        Self { deadline, ..self.clone() }
    }

    /// The same context, with rows that count in the memory of an answer.
    pub(crate) fn with_memory(&self, memory: &Arc<AnswerMemory>) -> Self {
        Self { budget: RequestBudget::Answer(Arc::clone(memory)), ..self.clone() }
    }

    /// The context of a stream of events after its start. The stream has no deadline, and its rows are
    /// limited by its buffer, so they do not count in the memory of the answer that began it.
    pub(crate) fn of_stream(&self) -> Self {
        Self {
            budget: RequestBudget::Peer(Arc::clone(self.budget.share())),
            freshness: Freshness::linearizable(),
            principal: self.principal,
            deadline: None,
        }
    }
}

/// Who sent a request, as far as the server checks it.
///
/// A change of the cluster needs [`Local`](Self::Local) or [`Operator`](Self::Operator). Every other request
/// is open to all: the server authenticates no clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Principal {
    /// A client on this machine: its connection came through a listener on loopback.
    Local,
    /// The holder of the cluster's token.
    Operator,
    /// A client that sent no token. Clients of TigerBeetle's protocol cannot send one.
    Anonymous,
    /// A client that sent a token other than the cluster's.
    WrongToken,
}

/// What the memory and the reads of a request are counted in.
#[derive(Clone, Debug)]
pub(crate) enum RequestBudget {
    /// The share of the peer's address, where no answer counts its rows: for a write of a TigerBeetle client,
    /// whose reply is limited by the request, and for a stream of events after its start.
    Peer(Arc<Share>),
    /// The memory of one answer, which is a part of that share.
    Answer(Arc<AnswerMemory>),
}

impl RequestBudget {
    /// The share of the peer's address.
    pub(crate) fn share(&self) -> &Arc<Share> {
        match self {
            Self::Peer(share) => share,
            Self::Answer(memory) => memory.share(),
        }
    }

    /// Takes a place among the reads, and the space for `rows_max` rows of the answer, before the node is
    /// asked. Takes nothing where no answer counts its rows.
    pub(crate) fn reserve(&self, rows_max: usize) -> Result<Reserved<'_>, Failure> {
        match self {
            Self::Peer(_) => Ok(Reserved::default()),
            Self::Answer(memory) => memory.reserve(rows_max),
        }
    }

    /// Raises the bytes that the answer holds besides its cost to at least `size`.
    pub(crate) fn raise(&self, size: usize) {
        if let Self::Answer(memory) = self {
            memory.raise(size);
        }
    }

    /// Takes a place among the streams.
    pub(crate) fn stream_place(&self) -> Result<Taken, Failure> {
        self.share().hold(Budget::Streams, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::share::tests::share;

    #[test]
    fn only_the_memory_of_an_answer_counts_rows() {
        let share = share(&Limits::default());
        let context = RequestContext {
            budget: RequestBudget::Peer(Arc::clone(&share)),
            freshness: Freshness::linearizable(),
            principal: Principal::Anonymous,
            deadline: Some(Instant::now()),
        };
        context.budget.reserve(usize::MAX).unwrap().settle(1);
        context.budget.raise(7);
        assert_eq!((share.held(Budget::Reads), share.held(Budget::RowBytes)), (0, 0));
        let memory = AnswerMemory::new(&share, 1).unwrap();
        let with_memory = context.with_memory(&memory);
        with_memory.budget.reserve(2).unwrap().settle(1);
        assert!(share.held(Budget::RowBytes) > 0);
        let of_stream = with_memory.of_stream();
        drop((memory, with_memory));
        assert_eq!(share.held(Budget::RowBytes), 0, "a stream does not hold the memory of its first answer");
        assert_eq!((of_stream.deadline, context.deadline.is_some()), (None, true));
    }
}
