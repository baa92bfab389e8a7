//! Calls from the handle through their bytes to the machine, and their answers.

mod support;

use bezant_rsm::{Call, Freshness, Service, UnknownCall};
use bezant_types::{LogIndex, Nanos};
use support::{
    Catalog, CatalogCommand, CatalogContext, CatalogHandle, CatalogMachine, CatalogQuery, Change, Item,
    Local, Shop, now, poll_once, shop,
};

fn call() -> Call {
    Call::new(LogIndex(1), Nanos(1))
}

#[test]
fn commands_change_the_state_and_queries_read_it() {
    let shop = shop();
    assert_eq!(now(shop.restock(3, 2)), Ok(2));
    assert_eq!(now(shop.restock(3, 5)), Ok(7));
    assert_eq!(now(shop.lookup(3)), Ok(Some(Item { title: "item 3".to_owned(), stock: 7 })));
    assert_eq!(now(shop.lookup(4)), Ok(None));
    assert_eq!(now(shop.mean_stock()), Ok(7.0));
    assert_eq!(now(shop.sell(4)), Ok(Err("no 4".to_owned())));
    assert_eq!(now(shop.close()), Ok(()));
    assert_eq!(shop.caller().with(|replica| replica.service.state().closed_at), Some(4_000));
}

#[test]
fn the_handle_sets_the_freshness_of_queries() {
    let shop = shop();
    now(shop.lookup(1)).unwrap();
    now(shop.at(Freshness::Session).lookup(1)).unwrap();
    now(shop.at(Freshness::Stale).mean_stock()).unwrap();
    now(shop.lookup(1)).unwrap();
    let seen = shop.caller().with(|replica| replica.freshness_seen.clone());
    let expected = [Freshness::Linearizable, Freshness::Session, Freshness::Stale, Freshness::Linearizable];
    assert_eq!(seen, expected);
}

#[test]
fn calls_can_run_on_other_threads() {
    fn is_send(_: impl Send) {}
    let shop = shop();
    is_send(shop.restock(1, 1));
    is_send(shop.lookup(1));
    is_send(shop.changes(0).next());
}

#[test]
fn subscribers_resume_after_the_last_event() {
    let shop = shop();
    let mut changes = shop.changes(0);
    assert_eq!(poll_once(changes.next()), None);
    now(shop.restock(3, 1)).unwrap();
    now(shop.close()).unwrap();
    now(shop.sell(3)).unwrap().unwrap();
    assert_eq!(now(changes.next()), Ok(Change::Restocked { item: 3, stock: 1 }));
    assert_eq!(changes.position(), 1);
    let mut resumed = shop.changes(changes.position());
    assert_eq!(now(resumed.next()), Ok(Change::SoldOut(3)));
    assert_eq!(resumed.position(), 3);
    assert_eq!(poll_once(resumed.next()), None);
    assert_eq!(resumed.position(), 3);
    assert_eq!(now(shop.closings(0).next()), Ok(2));
}

#[test]
fn the_format_of_calls_never_changes() {
    let command = CatalogCommand::Restock { item: 3, by: 300 }.encode().unwrap();
    assert_eq!(command[0], 1, "format");
    assert_eq!(command[8..], [3, 0xac, 0x02]);
    let signature = CatalogCommand::SIGNATURES[0];
    assert_eq!(signature, "cmd restock ( u32 , u32 ) - > u32");
    assert_eq!(CatalogQuery::SIGNATURES[1], "qry mean_stock ( ) - > f64");
    assert_eq!(CatalogCommand::SIGNATURES[2], "cmd close ( ) - > ( )");
}

#[test]
fn decoded_calls_print_their_arguments() {
    let read = |bytes: &[u8]| CatalogCommand::decode(bytes).map(|command| command.to_string());
    let command = CatalogCommand::Restock { item: 3, by: 2 }.encode().unwrap();
    assert_eq!(read(&command), Ok("restock(item: 3, by: 2)".to_owned()));
    assert_eq!(read(&CatalogCommand::Close {}.encode().unwrap()), Ok("close()".to_owned()));
    assert_eq!(CatalogQuery::Lookup { item: 3 }.to_string(), "lookup(item: 3)");
}

#[test]
fn an_unknown_call_changes_nothing() {
    let mut machine = CatalogMachine::new(Shop::default());
    let known = CatalogCommand::Restock { item: 3, by: 2 }.encode().unwrap();
    machine.invoke(&mut call(), &known).unwrap();
    let before = machine.clone();
    let longer = [&known[..], &[0]].concat();
    let other_format = [&[2], &known[1..]].concat();
    let query = CatalogQuery::Lookup { item: 3 }.encode().unwrap();
    let shorter = &known[..known.len() - 1];
    for unknown in [&[][..], &[1], &known[..8], shorter, &longer, &other_format, &query] {
        let mut call = call();
        assert_eq!(machine.invoke(&mut call, unknown), Err(UnknownCall), "{unknown:?}");
        assert_eq!(call.into_events(), []);
    }
    assert_eq!(machine.query(&known), Err(UnknownCall), "a command is not a query");
    assert_eq!(machine, before);
}

/// A caller whose answers to commands have a byte too many.
#[derive(Clone, Debug)]
struct Padding(Local<CatalogMachine<Shop>>);

impl bezant_rsm::Caller for Padding {
    type Error = support::LocalError;
    async fn invoke(&self, command: bytes::Bytes) -> Result<bytes::Bytes, Self::Error> {
        let answer = self.0.invoke(command).await?;
        Ok([&answer[..], &[0]].concat().into())
    }
    async fn query(&self, query: bytes::Bytes, freshness: Freshness) -> Result<bytes::Bytes, Self::Error> {
        self.0.query(query, freshness).await
    }
    async fn next_event(&self, stream: u32, after: u64) -> Result<bezant_rsm::Event, Self::Error> {
        self.0.next_event(stream, after).await
    }
}

#[test]
fn an_unreadable_event_can_be_skipped() {
    let shop = shop();
    now(shop.restock(3, 1)).unwrap();
    now(shop.sell(3)).unwrap().unwrap();
    shop.caller().with(|replica| replica.events[0].1.bytes = bytes::Bytes::from_static(b"?"));
    let mut changes = shop.changes(0);
    assert_eq!(now(changes.next()), Err(support::LocalError));
    assert_eq!(changes.position(), 0, "an event is skipped only by `skip`");
    assert_eq!(now(changes.skip()), Ok(1));
    assert_eq!(now(changes.next()), Ok(Change::SoldOut(3)));
    assert_eq!(poll_once(changes.skip()), None);
}

#[test]
fn answers_of_another_type_are_refused() {
    let shop = shop();
    let padding = CatalogHandle::new(Padding(shop.caller().clone()));
    assert_eq!(now(padding.restock(1, 1)), Err(support::LocalError));
    assert_eq!(now(padding.lookup(1)).map(|item| item.unwrap().stock), Ok(1));
}

#[test]
fn a_checkpoint_restores_the_state() {
    let shop = shop();
    now(shop.restock(3, 2)).unwrap();
    now(shop.close()).unwrap();
    let (checkpoint, state) =
        shop.caller().with(|replica| (replica.service.checkpoint(), replica.service.state().clone()));
    let restored = CatalogMachine::<Shop>::restore(&checkpoint).unwrap();
    assert_eq!(restored.state(), &state);
    assert_eq!(restored.checkpoint(), checkpoint);
    for end in 0..checkpoint.len() {
        assert!(CatalogMachine::<Shop>::restore(&checkpoint[..end]).is_err(), "{end}");
    }
    let longer = [&checkpoint[..], &[0]].concat();
    assert_eq!(CatalogMachine::<Shop>::restore(&longer).unwrap_err().section, "state");
}

#[test]
fn an_implementation_can_be_tested_without_a_log() {
    let mut call = call();
    let mut shop = Shop::default();
    assert_eq!(shop.restock(&mut CatalogContext::new(&mut call), 1, 1), 1);
    assert_eq!(call.into_events().len(), 1);
}

#[test]
fn every_command_survives_encoding_and_decoding() {
    for by in (0..32).map(|bit| u32::MAX >> bit) {
        let command = CatalogCommand::Restock { item: !by, by };
        let read = CatalogCommand::decode(&command.encode().unwrap()).unwrap();
        assert_eq!(read.to_string(), command.to_string());
    }
}

/// Every byte of every command is set to every value, with and without a long suffix.
#[test]
fn a_damaged_command_is_refused_or_is_another_command() {
    let commands = [
        CatalogCommand::Restock { item: 1, by: 300 },
        CatalogCommand::Sell { item: u32::MAX },
        CatalogCommand::Close {},
    ];
    for bytes in commands.map(|command| command.encode().unwrap()) {
        for (place, value) in
            (0..bytes.len()).flat_map(|place| (0..=u8::MAX).map(move |value| (place, value)))
        {
            for end in [&[][..], &[0xff; 20]] {
                let mut damaged = [&bytes[..], end].concat();
                damaged[place] = value;
                let mut machine = CatalogMachine::new(Shop::default());
                let refused = machine.invoke(&mut call(), &damaged).is_err();
                assert!(refused || place >= 8 || damaged == bytes, "{damaged:?}");
                assert!(!refused || machine.state() == &Shop::default(), "{damaged:?}");
                assert_eq!(machine.query(&damaged), Err(UnknownCall), "{damaged:?}");
            }
        }
    }
}

#[test]
fn a_damaged_checkpoint_never_panics() {
    let shop = shop();
    (1..4).for_each(|item| assert_eq!(now(shop.restock(item, 400)), Ok(400)));
    let checkpoint = shop.caller().with(|replica| replica.service.checkpoint());
    for (place, value) in
        (0..checkpoint.len()).flat_map(|place| (0..=u8::MAX).map(move |value| (place, value)))
    {
        let mut damaged = checkpoint.clone();
        damaged[place] = value;
        let restored = CatalogMachine::<Shop>::restore(&damaged);
        assert!(restored.is_err() || place >= 5 || damaged == checkpoint, "{damaged:?}");
    }
}
