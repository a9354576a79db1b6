//! A message of this process, kept until somebody has time to write it down.

use std::fmt;

use tracing::{
    Event, Metadata,
    field::{Field, Value, Visit},
};

/// An event of `tracing`, with its values as text.
#[derive(Debug)]
pub struct Message {
    metadata: &'static Metadata<'static>,
    values: Vec<(Field, String)>,
}

impl Message {
    /// Keeps an event.
    pub fn of(event: &Event<'_>) -> Self {
        let mut message = Self {
            metadata: event.metadata(),
            values: Vec::new(),
        };
        event.record(&mut message);
        message
    }

    /// How important it is.
    pub fn level(&self) -> tracing::Level {
        *self.metadata.level()
    }

    /// Its text and its fields, by name.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let values = self.values.iter();
        values.map(|(field, value)| (field.name(), value.as_str()))
    }

    /// The length of its text and fields.
    pub fn size(&self) -> usize {
        self.values.iter().map(|(_, value)| value.len()).sum()
    }

    /// Gives it to this thread's subscriber.
    pub fn dispatch(&self) {
        let fields = self.metadata.fields();
        let values: Vec<_> = fields
            .iter()
            .map(|field| {
                let found = self.values.iter().find(|(name, _)| *name == field);
                found.map(|(_, value)| value as &dyn Value)
            })
            .collect();
        Event::dispatch(self.metadata, &fields.value_set_all(&values));
    }
}

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.values.push((field.clone(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.values.push((field.clone(), format!("{value:?}")));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{Subscriber, subscriber::with_default};
    use tracing_subscriber::{
        Layer,
        layer::{Context, SubscriberExt},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Keeper(Arc<Mutex<Vec<Message>>>);

    impl<S: Subscriber> Layer<S> for Keeper {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(Message::of(event));
        }
    }

    #[test]
    fn a_message_that_was_kept_is_the_same_for_whoever_it_is_given_to() {
        let (first, second) = (Keeper::default(), Keeper::default());
        with_default(tracing_subscriber::registry().with(first.clone()), || {
            let absent = None::<&str>;
            tracing::warn!(MESSAGE_ID = "x", PYWEBD_SITE = absent, COUNT = 3, "a {}", 1);
        });
        let kept = first.0.lock().unwrap();
        with_default(tracing_subscriber::registry().with(second.clone()), || {
            kept[0].dispatch();
        });
        for message in [&kept[0], &second.0.lock().unwrap()[0]] {
            assert_eq!(message.level(), tracing::Level::WARN);
            let mut values: Vec<_> = message.values().collect();
            values.sort_unstable();
            let expected = [("COUNT", "3"), ("MESSAGE_ID", "x"), ("message", "a 1")];
            assert_eq!(values, expected);
        }
    }
}
