//! All workers, over one configuration after the other.
//!
//! More are started beside those there are before a configuration is in force, and surplus ones retire
//! after it: they accept nothing any more, and end with their last connection.

use std::{
    sync::{Arc, atomic::Ordering, mpsc::Sender},
    time::Duration,
};

use crate::{
    server::{
        current::Current,
        descriptors,
        error::StartError,
        event::Event,
        listener::Listener,
        tally::Sum,
        worker::{Counters, Worker},
    },
    service::Service,
};

/// The workers of the process.
#[derive(Debug)]
pub struct Workers {
    current: Current,
    service: Service,
    counters: Arc<Counters>,
    events: Sender<Event>,
    /// Those that accept connections.
    accepting: Vec<Worker>,
    /// Those that have only connections to finish.
    retiring: Vec<Worker>,
    /// How many there have ever been.
    started: usize,
    /// What those have counted that have ended.
    former: Sum,
    /// How often they were asked whether they still turn.
    questions: u64,
}

/// Workers that are not needed before a configuration is in force.
#[derive(Debug)]
pub struct Prepared {
    more: Vec<Worker>,
    count: usize,
}

impl Workers {
    /// None yet.
    pub fn new(
        current: Current,
        service: Service,
        counters: Arc<Counters>,
        events: Sender<Event>,
    ) -> Self {
        Self {
            current,
            service,
            counters,
            events,
            accepting: Vec::new(),
            retiring: Vec::new(),
            started: 0,
            former: Sum::default(),
            questions: 0,
        }
    }

    /// Starts what is wanting to so many, none being one for each processor, for so many listeners.
    /// Dropped, they end again.
    pub fn prepare(
        &mut self,
        count: Option<usize>,
        listeners: usize,
    ) -> Result<Prepared, StartError> {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        let count = count.unwrap_or_else(processors);
        descriptors::admit(listeners, count)?;
        let mut more = Vec::new();
        while self.accepting.len() + more.len() < count {
            self.started += 1;
            more.push(Worker::start(
                self.started,
                self.current.clone(),
                self.service.clone(),
                Arc::clone(&self.counters),
                self.events.clone(),
            )?);
        }
        Ok(Prepared { more, count })
    }

    /// Has so many as were prepared for accept from exactly these listeners.
    pub fn put(&mut self, prepared: Prepared, listeners: &[Arc<Listener>]) {
        self.accepting.extend(prepared.more);
        for surplus in self.accepting.drain(prepared.count..) {
            surplus.retire();
            self.retiring.push(surplus);
        }
        for worker in &self.accepting {
            worker.listen(listeners);
        }
    }

    /// Has all of them finish within `grace`.
    pub fn drain(&self, grace: Duration) {
        self.all().for_each(|worker| worker.drain(grace));
    }

    /// Has all of them end at once.
    pub fn end(&self) {
        self.all().for_each(Worker::end);
    }

    /// A worker has ended. Answers whether it was one that accepted connections.
    pub fn ended(&mut self, number: usize) -> bool {
        let ended = self.all().find(|worker| worker.number == number);
        self.former += ended.map(|worker| worker.tally.sum()).unwrap_or_default();
        let is_other = |worker: &Worker| worker.number != number;
        self.retiring.retain(is_other);
        let before = self.accepting.len();
        self.accepting.retain(is_other);
        self.accepting.len() < before
    }

    /// Whether none is left.
    pub fn have_ended(&self) -> bool {
        self.all().next().is_none()
    }

    /// How many accept connections.
    pub fn count(&self) -> usize {
        self.accepting.len()
    }

    /// Connections that are open, and that there are descriptors for.
    pub fn connections(&self) -> (usize, usize) {
        let open = self.counters.open.load(Ordering::Relaxed);
        (open, self.counters.fitting)
    }

    /// What all have counted.
    pub fn sum(&self) -> Sum {
        let mut sum = self.former;
        for worker in self.all() {
            sum += worker.tally.sum();
        }
        sum
    }

    /// Asks each whether its runtime still turns.
    pub fn ask(&mut self) {
        self.questions += 1;
        for worker in self.accepting.iter_mut().chain(&mut self.retiring) {
            worker.ask(self.questions);
        }
    }

    /// Those that have not come to the last question.
    pub fn silent(&self) -> Vec<usize> {
        let silent = self.all().filter(|worker| !worker.has_answered());
        silent.map(|worker| worker.number).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Worker> {
        self.accepting.iter().chain(&self.retiring)
    }
}
