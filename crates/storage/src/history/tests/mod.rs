//! Tests of the whole history against a model that scans lists.

mod chunk;
mod crash;
mod damage;
mod dense;
mod lifecycle;
mod model;
mod random;
