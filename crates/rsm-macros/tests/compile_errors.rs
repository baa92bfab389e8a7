//! What the compiler shows for a wrong declaration: our words at the user's line.

#[test]
fn errors_point_at_the_declaration() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
