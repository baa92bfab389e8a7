//! A small scene is drawn as text, and recording changes nothing in a run.

use bezant_consensus::{Description, MessageKind, Role};
use bezant_replica::{PeerMessage, Ticket};
use bezant_types::{LogIndex, NodeId, Term};
use bytes::Bytes;

use bezant_consensus::EngineKind;

use super::*;
use crate::{SimOptions, simulate, simulate_traced};

const MILLI: u64 = 1_000_000;

/// An engine whose messages are their own descriptions.
#[expect(clippy::unnecessary_wraps, reason = "the signature is that of every engine's function")]
fn describe(bytes: &Bytes) -> Option<Description> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let kind = if text.starts_with("heartbeat") { MessageKind::Heartbeat } else { MessageKind::Entries };
    Some(Description::new(kind, text))
}

fn message(text: &'static str) -> PeerMessage {
    PeerMessage::Engine(Bytes::from_static(text.as_bytes()))
}

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

fn recorder(window: TraceWindow) -> Recorder {
    Recorder::new(7, &[ONE, TWO, THREE], Some(window), describe)
}

/// Node 1 leads, reaches only some of the others, and loses its power. Then node 2 stands for election.
fn scene(window: TraceWindow) -> Trace {
    let mut recorder = recorder(window);
    let follows = LaneState::Up(Role::Follower, Term(3));
    recorder.observe(ONE, LaneState::Up(Role::Leader, Term(3)), Some(LogIndex(40)));
    recorder.observe(TWO, follows, Some(LogIndex(40)));
    recorder.observe(THREE, follows, Some(LogIndex(40)));
    recorder.set_time(MILLI);
    recorder.ask(ONE, Ticket(1), "client 1 asks: write 2 events".to_owned());
    recorder.set_time(2 * MILLI);
    let first = recorder.send(ONE, TWO, &message("append 41"), MILLI, false);
    let far = recorder.send(ONE, THREE, &message("append 41"), 3 * MILLI, false);
    let again = recorder.send(ONE, THREE, &message("append 41"), 9 * MILLI, true);
    recorder.lose(ONE, THREE, &message("append 42"), Loss::Weather);
    let beat = recorder.send(ONE, TWO, &message("heartbeat"), MILLI, false);
    recorder.set_time(3 * MILLI);
    recorder.arrive(first, None);
    recorder.arrive(beat, None);
    let answer = recorder.send(TWO, ONE, &message("has 41"), 4 * MILLI, false);
    recorder.set_time(5 * MILLI);
    recorder.arrive(far, None);
    let late = recorder.send(THREE, ONE, &message("has 41"), 4 * MILLI, false);
    recorder.set_time(7 * MILLI + 123_456);
    recorder.arrive(answer, None);
    recorder.observe(ONE, LaneState::Up(Role::Leader, Term(3)), Some(LogIndex(41)));
    recorder.observe(ONE, LaneState::Up(Role::Leader, Term(3)), Some(LogIndex(43)));
    recorder.answer(Ticket(1), "client 1 receives: done in entry 41".to_owned());
    recorder.set_time(8 * MILLI);
    recorder.mark(MarkKind::Crash, vec![ONE], || "power loss".to_owned());
    recorder.observe(ONE, LaneState::Down, None);
    recorder.set_time(9 * MILLI);
    recorder.arrive(late, Some(Loss::Down));
    recorder.lose(THREE, TWO, &message("vote request"), Loss::Cut);
    recorder.mark(MarkKind::Network, vec![TWO, THREE, NodeId(9)], || "cut pair".to_owned());
    recorder.observe(THREE, LaneState::Paused, Some(LogIndex(40)));
    recorder.observe(TWO, LaneState::Up(Role::Candidate, Term(4)), Some(LogIndex(40)));
    recorder.set_time(11 * MILLI);
    recorder.arrive(again, Some(Loss::OtherDisk));
    recorder.send(TWO, THREE, &message("</script><b>&\"hello\""), 20 * MILLI, false);
    recorder.mark(MarkKind::Note, Vec::new(), || "the faults end".to_owned());
    recorder.take()
}

#[test]
fn a_scene_is_drawn_line_by_line() {
    let expected = "        ms      1          2          3
     0.000     [L]         .          .      node 1 leads in term 3
     0.000      L         [F]         .      node 2 follows, term 3
     0.000      L          F         [F]     node 3 follows, term 3
     1.000     [L]         F          F      node 1: client 1 asks: write 2 events
     2.000      L──────────┼─────✗    F      append 42 [lost]
     3.000      L─────────▶F          F      append 41 [1.0 ms]
     5.000      L──────────┼─────────▶F      append 41 [3.0 ms]
     7.123      L◀─────────F          F      has 41 [4.1 ms]
     7.123     [L]         F          F      node 1 applies 41..43
     7.123     [L]         F          F      node 1: client 1 receives: done in entry 41
     8.000     [L]         F          F      node 1: power loss
     8.000     [.]         F          F      node 1 is down
     9.000      .✗─────────┼──────────F      has 41 [down]
     9.000      .         [F]        [F]     nodes 2, 3: cut pair
     9.000      .          F         [z]     node 3 is paused
     9.000      .         [C]         z      node 2 stands for election, term 4
     9.000      .          C    ✗─────z      vote request [cut off]
    11.000      .──────────┼─────────✗z      append 41 [the sender has another disk, again]
    11.000      .          C          z      the faults end
    31.000      .          C─────────▶z      </script><b>&\"hello\" [under way]
hidden: 1 heartbeats
";
    assert_eq!(scene(TraceWindow::default()).drawing().to_string(), expected);
}

#[test]
fn heartbeats_and_single_nodes_are_drawn_on_request() {
    let trace = scene(TraceWindow::default());
    let all = trace.drawing().with_heartbeats().to_string();
    assert!(all.contains("L┄┄┄┄┄┄┄┄┄▶F"), "{all}");
    let two = trace.drawing().with_nodes(&[1, 2]).to_string();
    assert!(two.contains("append 41 [1.0 ms]") && !two.contains("[3.0 ms]"), "{two}");
    assert_eq!(trace.drawing().with_nodes(&[77]).to_string(), trace.drawing().to_string());
}

#[test]
fn a_window_has_the_states_before_it() {
    let window = TraceWindow { from_millis: 8, until_millis: 9, ..TraceWindow::default() };
    let text = scene(window).drawing().to_string();
    let first = text.lines().nth(1).unwrap_or_default();
    assert!(first.contains("[L]         F          F      node 1: power loss"), "{text}");
    assert!(!text.contains("the faults end"), "{text}");
}

#[test]
fn when_there_are_too_many_events_the_oldest_are_dropped() {
    let whole = scene(TraceWindow::default());
    let trace = scene(TraceWindow { events_max: 6, ..TraceWindow::default() });
    assert_eq!((trace.len(), trace.left_out()), (6, whole.len() as u64 - 6));
    let text = trace.drawing().to_string();
    assert!(text.contains(&format!("left out: {} older events", trace.left_out())), "{text}");
    assert!(text.lines().nth(1).is_some_and(|line| line.contains(" .      ")), "node 1 was down: {text}");
}

/// The data in a page.
fn data_of(page: &str) -> serde_json::Value {
    let (_, rest) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    let (data, _) = rest.split_once("</script>").unwrap();
    serde_json::from_str(data).unwrap()
}

#[test]
fn no_text_of_a_run_leaves_the_pages_data() {
    let page = scene(TraceWindow::default()).html();
    assert!(!page.contains("<b>"), "a text of the run is escaped");
    assert!(
        page.contains("&lt;/script&gt;&lt;b&gt;&amp;\"hello\""),
        "the drawing for a browser without script"
    );
    assert!(page.trim_end().ends_with("</html>"));
    let data = data_of(&page);
    let texts = data["texts"].as_array().unwrap();
    assert!(texts.iter().any(|text| text == "</script><b>&\"hello\""), "{texts:?}");
    assert_eq!(data["seed"], 7);
    assert_eq!(data["nodes"], serde_json::json!([1, 2, 3]));
    let lost = data["messages"].as_array().unwrap().iter().filter(|row| row[6].as_u64() > Some(1)).count();
    assert_eq!(lost, 4);
}

#[test]
fn a_page_loads_nothing() {
    let page = scene(TraceWindow::default()).html();
    for never in ["http:", "https:", "src=", "<link", "import(", "fetch(", "{{"] {
        assert!(!page.contains(never), "{never}");
    }
}

#[test]
fn recording_does_not_change_a_run() {
    let small = TraceWindow { from_millis: 1000, until_millis: 1500, events_max: 50 };
    for seed in [1, 2, 3] {
        let options = SimOptions { seed, engine: EngineKind::Raft, bug: None, rewinds: false };
        let plain = simulate(options).map_err(|failure| failure.reason);
        for window in [TraceWindow::default(), small] {
            let traced = simulate_traced(options, window);
            assert_eq!(traced.result, plain, "seed {seed}, {window:?}");
            assert!(!traced.trace.is_empty(), "seed {seed}, {window:?}");
        }
    }
}

#[test]
fn a_run_is_drawn_within_the_width_of_a_terminal() {
    let window = TraceWindow { until_millis: 4000, ..TraceWindow::default() };
    let mut sizes = BTreeMap::new();
    for (engine, seed) in [EngineKind::Raft, EngineKind::Paxos]
        .into_iter()
        .flat_map(|engine| (0..12).map(move |seed| (engine, seed)))
    {
        let trace = simulate_traced(SimOptions { seed, engine, bug: None, rewinds: false }, window).trace;
        let text = trace.drawing().to_string();
        assert!(text.contains("leads in term"), "seed {seed}");
        assert!(!text.contains("no known message"), "every message is described, seed {seed}");
        // A terminal of 120 columns, except for the rarest texts.
        for line in text.lines().filter(|line| line.contains('─') && !line.contains("refused, read-only")) {
            assert!(line.chars().count() <= 128, "{engine}, seed {seed}: {line}");
        }
        sizes.insert(trace.nodes.len(), seed);
    }
    assert!(sizes.len() > 1, "clusters of several sizes: {sizes:?}");
}

#[test]
fn a_failing_run_ends_with_its_marks() {
    let mut seeds = 0..20;
    let failure = seeds.find_map(|seed| {
        simulate(SimOptions {
            seed,
            engine: EngineKind::Raft,
            bug: Some(crate::Bug::AcknowledgeBeforeFsync),
            rewinds: false,
        })
        .err()
    });
    let text = failure.unwrap().to_string();
    assert!(text.contains("BROKEN: ") && text.contains("leads in term"), "{text}");
}
