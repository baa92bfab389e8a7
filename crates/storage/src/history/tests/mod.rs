//! Tests of the whole history, against a list that is searched from end to end.

mod chunk;
mod crash;
mod damage;
mod dense;
mod lifecycle;
mod model;
mod random;
