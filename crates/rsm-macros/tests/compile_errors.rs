//! The compiler shows the errors of the macro at the lines of a wrong declaration.

#[test]
fn errors_point_at_the_declaration() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
