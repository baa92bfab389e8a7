//! Tests of the whole history, against a list that is searched from end to end.

mod crash;
mod damage;
mod lifecycle;
mod model;
mod random;
