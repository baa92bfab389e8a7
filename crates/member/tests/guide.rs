//! The pieces of the guide to state machines compile in a program with the dependencies of the guide to
//! members, and run.

#[path = "../examples/shop.rs"]
mod shop;

/// The lines without indentation, which differs in a module.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

#[test]
fn the_pieces_of_the_guide_are_the_program() {
    let guide = include_str!("../../../docs/guides/state-machines.md");
    let pieces = guide.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap_or(rest));
    let program = lines(include_str!("../examples/shop.rs"));
    let mut count = 0;
    for piece in pieces {
        count += 1;
        let piece = lines(piece);
        assert!(program.windows(piece.len()).any(|part| part == piece), "{piece:#?}");
    }
    assert_eq!((count, guide.matches("```rust").count()), (4, 4), "no piece is passed over");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_of_the_guide_runs() {
    let folder = tempfile::tempdir().unwrap();
    shop::run(folder.path().to_str().unwrap()).await.unwrap();
}
