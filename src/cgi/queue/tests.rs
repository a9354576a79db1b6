//! Who runs, who waits and who is refused; the clients are 10.0.0.1, 10.0.0.2 and so on.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use proptest::{collection::vec, prelude::*};

use super::*;

type Outcome = Result<Permit, Failure>;

fn client(number: u8) -> Client {
    Client::new(Some([10, 0, 0, number].into()))
}

fn queue(running: usize, queued: usize) -> Queue {
    Queue::new(Limits { running, queued })
}

/// A request that has come to the queue.
struct Request<'q> {
    future: Pin<Box<dyn Future<Output = Outcome> + 'q>>,
    outcome: Option<Outcome>,
}

impl<'q> Request<'q> {
    fn new(queue: &'q Queue, number: u8) -> Self {
        let mut request = Self {
            future: Box::pin(queue.enter(client(number))),
            outcome: None,
        };
        request.look();
        request
    }

    /// What became of it by now.
    fn look(&mut self) -> Option<&Outcome> {
        if self.outcome.is_none() {
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(outcome) = self.future.as_mut().poll(&mut context) {
                self.outcome = Some(outcome);
            }
        }
        self.outcome.as_ref()
    }

    fn waits(&mut self) -> bool {
        self.look().is_none()
    }

    fn runs(&mut self) -> bool {
        matches!(self.look(), Some(Ok(_)))
    }

    fn is_refused(&mut self) -> bool {
        matches!(self.look(), Some(Err(_)))
    }
}

#[test]
fn a_request_waits_until_a_script_is_over() {
    let queue = queue(1, 1);
    let mut first = Request::new(&queue, 1);
    assert!(first.runs(), "the first one runs at once");
    let mut second = Request::new(&queue, 1);
    assert!(second.waits());
    drop(first);
    assert!(second.runs());
}

#[test]
fn more_than_may_wait_are_refused_with_503() {
    let queue = queue(1, 1);
    let _running = Request::new(&queue, 1);
    let mut second = Request::new(&queue, 1);
    let mut third = Request::new(&queue, 1);
    assert!(second.waits());
    let Some(Err(failure)) = third.look() else {
        panic!("the third one is refused at once");
    };
    assert_eq!(failure.status, StatusCode::SERVICE_UNAVAILABLE);
    let cause = Cause::TooManyScripts {
        running: 1,
        queued: 1,
    };
    assert_eq!(failure.cause, cause);
}

#[test]
fn other_limits_hold_at_once_and_lose_nobody() {
    let queue = queue(2, 4);
    let mut running: Vec<_> = (0..2).map(|_| Request::new(&queue, 1)).collect();
    let mut waiting: Vec<_> = (0..4).map(|_| Request::new(&queue, 1)).collect();
    // Fewer: who waits stays, nobody begins until enough are over.
    let one = Limits {
        running: 1,
        queued: 1,
    };
    queue.limit(one);
    assert!(Request::new(&queue, 1).is_refused());
    drop(running.pop());
    assert!(waiting.iter_mut().all(Request::waits));
    drop(running.pop());
    assert!(waiting[0].runs() && waiting[1..].iter_mut().all(Request::waits));
    // More: as many as may run do so now.
    let three = Limits {
        running: 3,
        queued: 1,
    };
    queue.limit(three);
    assert!(waiting[..3].iter_mut().all(Request::runs) && waiting[3].waits());
    assert!(Request::new(&queue, 1).is_refused());
    drop(waiting);
    assert_eq!(queue.limits(), three);
    assert!(queue.line.lock().unwrap().clients.is_empty());
}

#[test]
fn as_many_take_in_content_as_may_run() {
    let queue = queue(1, 0);
    let one = queue.spooling().unwrap();
    assert!(queue.spooling().is_err());
    drop(one);
    assert!(queue.spooling().is_ok());
}

#[test]
fn a_client_that_leaves_gives_up_its_place() {
    let queue = queue(1, 1);
    let _running = Request::new(&queue, 1);
    for _ in 0..3 {
        assert!(Request::new(&queue, 1).waits(), "it is dropped here");
    }
}

#[test]
fn a_permit_that_comes_too_late_is_not_lost() {
    let queue = queue(1, 2);
    let first = Request::new(&queue, 1);
    let second = Request::new(&queue, 2);
    let mut third = Request::new(&queue, 3);
    drop(first);
    // It is the second one's, which has not looked yet.
    assert!(third.waits());
    drop(second);
    assert!(third.runs());
    drop(third);
    assert!(Request::new(&queue, 1).runs());
}

#[test]
fn a_permit_for_one_that_leaves_in_this_moment_goes_on_to_the_next() {
    let queue = queue(1, 2);
    let first = Request::new(&queue, 1);
    // Between the choice of it and the word to it, seen from the thread that lets go.
    drop(lock(&queue.line).wait(client(2)));
    let mut third = Request::new(&queue, 3);
    drop(first);
    assert!(third.runs());
}

#[test]
fn who_comes_later_does_not_overtake() {
    let queue = queue(1, 2);
    let first = Request::new(&queue, 1);
    let mut second = Request::new(&queue, 1);
    drop(first);
    assert!(Request::new(&queue, 1).waits());
    assert!(Request::new(&queue, 2).waits());
    assert!(second.runs());
}

#[test]
fn a_place_goes_to_the_client_with_the_fewest_scripts_running() {
    let queue = queue(3, 10);
    let first = Request::new(&queue, 1);
    let _others = [Request::new(&queue, 1), Request::new(&queue, 2)];
    let mut of_one = Request::new(&queue, 1);
    let mut of_two = Request::new(&queue, 2);
    let mut of_three = Request::new(&queue, 3);
    drop(first);
    assert!(of_three.runs(), "it has none running");
    drop(of_three);
    assert!(of_one.runs(), "both have one running, and it waits longer");
    assert!(of_two.waits());
    drop(of_one);
    assert!(of_two.runs());
}

#[test]
fn within_one_client_first_come_is_first_served() {
    let queue = queue(1, 10);
    let mut running = Request::new(&queue, 1);
    let mut waiting: VecDeque<_> = (0..4).map(|_| Request::new(&queue, 2)).collect();
    while let Some(mut next) = waiting.pop_front() {
        drop(running);
        assert!(next.runs());
        assert!(waiting.iter_mut().all(Request::waits));
        running = next;
    }
}

#[test]
fn a_newcomer_takes_the_place_of_the_last_one_of_the_greediest_client() {
    let queue = queue(1, 4);
    let _running = Request::new(&queue, 1);
    let mut of_one: Vec<_> = (0..3).map(|_| Request::new(&queue, 1)).collect();
    let mut of_two = Request::new(&queue, 2);
    let mut newcomer = Request::new(&queue, 3);
    assert!(newcomer.waits() && of_two.waits());
    assert!(of_one[2].is_refused());
    assert!(of_one[..2].iter_mut().all(Request::waits));
    // With one more, the client of the newcomer would have as many as that one.
    assert!(Request::new(&queue, 2).is_refused());
    assert!(of_one[..2].iter_mut().all(Request::waits));
}

#[test]
fn a_newcomer_of_a_client_that_is_as_greedy_is_refused() {
    let queue = queue(1, 4);
    let _running = Request::new(&queue, 3);
    let mut waiting: Vec<_> = [1, 2, 1, 2]
        .map(|number| Request::new(&queue, number))
        .into();
    assert!(Request::new(&queue, 1).is_refused());
    assert!(Request::new(&queue, 2).is_refused());
    assert!(waiting.iter_mut().all(Request::waits));
    assert!(Request::new(&queue, 4).waits());
    assert!(waiting[3].is_refused(), "of the two it came last");
}

#[test]
fn who_has_much_waiting_does_not_keep_out_another() {
    let queue = queue(2, 8);
    let mut greedy: VecDeque<_> = (0..50).map(|_| Request::new(&queue, 1)).collect();
    let mut modest = Request::new(&queue, 2);
    assert!(modest.waits());
    greedy.pop_front();
    assert!(modest.runs());
}

#[test]
fn an_address_is_a_client_and_so_is_the_network_of_an_ipv6_address() {
    let client = |address: &str| Client::new(Some(address.parse().unwrap()));
    assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
    assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
    assert_eq!(client("2001:db8:1:2::3"), client("2001:db8:1:2:4:5:6:7"));
    assert_ne!(client("2001:db8:1:2::3"), client("2001:db8:1:3::3"));
    assert_eq!(Client::new(None), Client::new(None));
    assert_ne!(Client::new(None), client("::"));
}

#[test]
fn nothing_is_kept_of_clients_that_have_left() {
    let queue = queue(1, 2);
    let requests: Vec<_> = (0..100)
        .map(|number| Request::new(&queue, number))
        .collect();
    assert!(lock(&queue.line).clients.len() <= 3);
    drop(requests);
    assert!(lock(&queue.line).clients.is_empty());
}

/// What happens to the queue.
#[derive(Debug, Clone)]
enum Event {
    /// A request of this client comes.
    Enter(u8),
    /// This request looks whether it is its turn.
    Look(prop::sample::Index),
    /// This request ends, whether it runs or waits, or has a permit that it does not know of.
    Drop(prop::sample::Index),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0_u8..5).prop_map(Event::Enter),
        1 => any::<prop::sample::Index>().prop_map(Event::Look),
        2 => any::<prop::sample::Index>().prop_map(Event::Drop),
    ]
}

proptest! {
    #[test]
    fn no_place_is_lost_or_given_twice_and_nobody_waits_beside_a_free_one(
        (max_running, max_queued) in (1_usize..4, 0_usize..5),
        events in vec(event(), 0..100),
    ) {
        let queue = queue(max_running, max_queued);
        let mut requests: Vec<Request<'_>> = Vec::new();
        for event in events {
            match event {
                Event::Enter(number) => requests.push(Request::new(&queue, number)),
                Event::Look(_) | Event::Drop(_) if requests.is_empty() => {}
                Event::Look(index) => {
                    index.get_mut(&mut requests).look();
                }
                Event::Drop(index) => drop(requests.remove(index.index(requests.len()))),
            }
            let (running, waiting) = {
                let line = lock(&queue.line);
                let sum = |of: fn(&Share) -> usize| line.clients.values().map(of).sum::<usize>();
                prop_assert_eq!(sum(|share| share.running), line.running);
                prop_assert_eq!(sum(|share| share.waiting.len()), line.waiting);
                (line.running, line.waiting)
            };
            prop_assert!(running <= max_running && waiting <= max_queued);
            prop_assert!(waiting == 0 || running == max_running);
            let known = requests.iter().filter(|request| matches!(request.outcome, Some(Ok(_))));
            prop_assert!(known.count() <= running);
        }
        let running: usize = requests.iter_mut().map(|request| usize::from(request.runs())).sum();
        let waiting: usize = requests.iter_mut().map(|request| usize::from(request.waits())).sum();
        prop_assert_eq!(lock(&queue.line).running, running);
        prop_assert_eq!(lock(&queue.line).waiting, waiting);
        drop(requests);
        let mut again: Vec<_> = (0..=max_running).map(|_| Request::new(&queue, 1)).collect();
        prop_assert!(again[..max_running].iter_mut().all(Request::runs));
        prop_assert!(!again[max_running].runs());
    }
}

#[test]
fn places_go_round_between_threads() {
    let queue = queue(2, 100);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let queue = &queue;
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap();
                for round in 0..500 {
                    // Now and then a request leaves, at no particular moment.
                    drop((round % 3 == 0).then(|| Request::new(queue, number)));
                    let permit = runtime.block_on(queue.enter(client(number))).unwrap();
                    drop(permit);
                }
            });
        }
    });
    let line = lock(&queue.line);
    assert_eq!((line.running, line.waiting, line.clients.len()), (0, 0, 0));
}
