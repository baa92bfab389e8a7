//! What the compiler shows: our words at the user's line, and its own where a type lacks something.

#[test]
fn errors_point_at_the_declaration() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
