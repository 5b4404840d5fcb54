use std::sync::atomic::AtomicUsize;

use tokio::sync::Semaphore;

use super::*;

const PATIENCE: Duration = Duration::from_secs(2);

/// A server, and what becomes of connections to it.
struct World {
    state: Mutex<State>,
    /// A permit for each connection that the server greets; closed, it greets all.
    greetings: Semaphore,
    attempts: AtomicUsize,
}

#[derive(Default)]
struct State {
    /// The servers that connections lead to, by turns.
    servers: Vec<&'static str>,
    /// Refuses connections beyond so many.
    room: usize,
    /// Connections up to this number do not answer.
    silent_up_to: usize,
    made: usize,
    open: usize,
    most_open: usize,
    lost: Vec<usize>,
}

struct Connection {
    number: usize,
    server: &'static str,
    world: Arc<World>,
}

impl World {
    fn new(servers: &[&'static str]) -> Arc<Self> {
        let greetings = Semaphore::new(0);
        greetings.close();
        Arc::new(Self {
            state: Mutex::new(State {
                servers: servers.to_vec(),
                room: usize::MAX,
                ..State::default()
            }),
            greetings,
            attempts: AtomicUsize::new(0),
        })
    }

    fn silent() -> Arc<Self> {
        let mut world = Self::new(&["a"]);
        Arc::get_mut(&mut world).expect("it is new").greetings = Semaphore::new(0);
        world
    }

    fn connections(self: &Arc<Self>, most: u32) -> Arc<Connections<Fake>> {
        Connections::new(Fake(Arc::clone(self)), most, PATIENCE)
    }

    fn attempts(&self) -> usize {
        self.attempts.load(Ordering::SeqCst)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.world.state.lock().open -= 1;
    }
}

struct Fake(Arc<World>);

impl Dial for Fake {
    type Connection = Connection;
    type Session = usize;

    async fn connect(&self, terms: Terms<usize>) -> sqlx::Result<Made<Connection>> {
        self.0.attempts.fetch_add(1, Ordering::SeqCst);
        if let Ok(greeted) = self.0.greetings.acquire().await {
            greeted.forget();
        }
        let mut state = self.0.state.lock();
        if state.open >= state.room {
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into());
        }
        state.lost.extend(terms.lost);
        let server = state.servers[state.made % state.servers.len()];
        state.made += 1;
        state.open += 1;
        state.most_open = state.most_open.max(state.open);
        let connection = Connection {
            number: state.made,
            server,
            world: Arc::clone(&self.0),
        };
        Ok(Made {
            connection,
            identity: Some(server.into()),
        })
    }

    async fn ping(connection: &mut Connection) -> sqlx::Result<()> {
        if connection.number <= connection.world.state.lock().silent_up_to {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn close(_: Connection) -> sqlx::Result<()> {
        Ok(())
    }

    fn session(connection: &Connection) -> Option<usize> {
        Some(connection.number)
    }
}

async fn lend(connections: &Arc<Connections<Fake>>) -> Lent<Fake> {
    connections.lend(false).await.expect("a connection")
}

async fn fails(connections: &Arc<Connections<Fake>>) -> DriverError {
    connections.lend(false).await.err().expect("no connection")
}

fn number(lent: &Lent<Fake>) -> usize {
    lent.held().number
}

fn server(lent: &Lent<Fake>) -> &'static str {
    lent.held().server
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_is_lent_again_and_what_does_not_is_replaced() {
    let world = World::new(&["a"]);
    let connections = world.connections(2);
    let (mut one, mut two) = (lend(&connections).await, lend(&connections).await);
    one.connection();
    two.connection();
    assert!(matches!(*fails(&connections).await, sqlx::Error::PoolTimedOut));
    let first = number(&one);
    one.give_back();
    let again = lend(&connections).await;
    assert_eq!(number(&again), first);
    drop(again);
    assert_eq!(
        number(&lend(&connections).await),
        first,
        "nothing was asked on it"
    );
    drop(two);
    let (one, two) = (lend(&connections).await, lend(&connections).await);
    assert_eq!((number(&one), number(&two)), (first, 3));
    let state = world.state.lock();
    assert_eq!(
        (state.most_open, &state.lost[..]),
        (2, &[2][..]),
        "the server hears which session is of no use any more"
    );
}

#[tokio::test(start_paused = true)]
async fn t6_a_connection_is_made_for_whoever_waits_when_it_is_there() {
    let world = World::silent();
    let connections = world.connections(1);
    for _ in 0..100 {
        let hurried = timeout(Duration::from_millis(5), connections.lend(false)).await;
        assert!(hurried.is_err());
    }
    assert_eq!(world.attempts(), 1, "it is made once, not for each caller");
    let late = tokio::spawn({
        let connections = Arc::clone(&connections);
        async move { number(&lend(&connections).await) }
    });
    tokio::task::yield_now().await;
    world.greetings.add_permits(1);
    assert_eq!(late.await.unwrap(), 1);
    // With nobody waiting it is kept as well.
    let world = World::silent();
    let connections = world.connections(1);
    assert!(
        timeout(Duration::from_millis(5), connections.lend(false))
            .await
            .is_err()
    );
    world.greetings.add_permits(1);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(number(&lend(&connections).await), 1);
    assert_eq!(world.attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn t6_a_server_that_refuses_is_asked_once_in_a_while_and_used_again_within_a_second() {
    let world = World::new(&["a"]);
    world.state.lock().room = 0;
    let connections = world.connections(10);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        let asked = Instant::now();
        let error = fails(&connections).await;
        assert!(
            matches!(&*error, sqlx::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused)
        );
        assert!(asked.elapsed() < Duration::from_millis(1), "callers do not wait");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(
        (10..25).contains(&world.attempts()),
        "{} attempts",
        world.attempts()
    );
    world.state.lock().room = 100;
    let well = Instant::now();
    while connections.lend(false).await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(well.elapsed() <= Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t6_no_caller_misses_that_a_connection_could_not_be_made() {
    let world = World::new(&["a"]);
    world.state.lock().room = 0;
    for _ in 0..2_000 {
        // Each the first to ask.
        let connections = world.connections(1);
        let asked = Instant::now();
        fails(&connections).await;
        assert!(asked.elapsed() < PATIENCE);
    }
}

#[tokio::test(start_paused = true)]
async fn t6_callers_share_what_a_server_lets_them_have() {
    let world = World::new(&["a"]);
    world.state.lock().room = 2;
    let connections = world.connections(10);
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let connections = Arc::clone(&connections);
            tokio::spawn(async move {
                let mut lent = lend(&connections).await;
                lent.connection();
                tokio::time::sleep(Duration::from_millis(10)).await;
                lent.give_back();
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("each has its turn");
    }
    let most_open = world.state.lock().most_open;
    assert_eq!(most_open, 2);
    assert!(world.attempts() < 20, "{} attempts", world.attempts());
}

#[tokio::test(start_paused = true)]
async fn t5_a_connection_to_another_server_ends_all_that_were_made_before() {
    let world = World::new(&["a"]);
    let connections = world.connections(3);
    let (one, two) = (lend(&connections).await, lend(&connections).await);
    drop(two);
    world.state.lock().servers = vec!["b"];
    let three = [lend(&connections).await, lend(&connections).await];
    assert_eq!((server(&three[0]), server(&three[1])), ("a", "b"));
    assert!(!one.is_current() && !three[0].is_current());
    one.give_back();
    drop(three);
    assert_eq!(
        world.state.lock().open,
        1,
        "the others are closed as they come back"
    );
    for _ in 0..3 {
        assert_eq!(server(&lend(&connections).await), "b");
    }
}

#[tokio::test(start_paused = true)]
async fn t5_where_all_connections_work_the_address_is_looked_at_now_and_then() {
    let world = World::new(&["a"]);
    let connections = world.connections(2);
    drop([lend(&connections).await, lend(&connections).await]);
    world.state.lock().servers = vec!["b"];
    let moved = Instant::now();
    while server(&lend(&connections).await) == "a" {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        moved.elapsed() < LOOK + Duration::from_secs(1),
        "{:?}",
        moved.elapsed()
    );
    let state = world.state.lock();
    assert_eq!((state.made, state.most_open), (3, 2), "in the place of another");
}

#[tokio::test(start_paused = true)]
async fn t5_a_server_that_takes_no_writes_is_left_once() {
    let world = World::new(&["a"]);
    let connections = world.connections(2);
    let (one, two) = (lend(&connections).await, lend(&connections).await);
    let mut left = connections.generation();
    assert!(one.demote(), "there may be another one");
    assert!(two.demote(), "others have noticed already");
    assert_eq!(*left.borrow_and_update(), 1);
    drop((one, two));
    let again = lend(&connections).await;
    assert_eq!(number(&again), 3);
    assert!(again.is_current() && !again.demote(), "it is a replica by set-up");
    assert_eq!(world.state.lock().open, 1);
}

#[tokio::test(start_paused = true)]
async fn t5_behind_an_address_of_several_servers_one_is_kept() {
    let world = World::new(&["a", "b", "c"]);
    let connections = world.connections(4);
    let mut lent = Vec::new();
    for _ in 0..4 {
        lent.push(lend(&connections).await);
        lent.retain(Lent::is_current);
    }
    drop(lent);
    let mut met = Vec::new();
    for _ in 0..4 {
        met.push(lend(&connections).await);
    }
    assert!(
        met.iter()
            .all(|lent| lent.is_current() && server(lent) == server(&met[0]))
    );
}

#[tokio::test(start_paused = true)]
async fn t6_a_connection_that_rested_is_asked_before_it_is_used() {
    let world = World::new(&["a"]);
    let connections = world.connections(3);
    let three = [
        lend(&connections).await,
        lend(&connections).await,
        lend(&connections).await,
    ];
    drop(three);
    world.state.lock().silent_up_to = 3;
    let start = Instant::now();
    drop(lend(&connections).await);
    assert_eq!(start.elapsed(), Duration::ZERO, "it was used just now");
    tokio::time::sleep(RESTED + Duration::from_secs(1)).await;
    let start = Instant::now();
    let mut lent = lend(&connections).await;
    lent.connection();
    assert_eq!(number(&lent), 4);
    assert_eq!(start.elapsed(), ANSWER, "the others are not asked one by one");
    let mut lost = world.state.lock().lost.clone();
    lost.sort_unstable();
    assert_eq!(lost, [1, 2, 3], "their sessions are ended");
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_those_in_use_and_lends_no_more() {
    let world = World::new(&["a"]);
    let connections = world.connections(2);
    let (one, two) = (lend(&connections).await, lend(&connections).await);
    drop(two);
    let mut closing = Box::pin(connections.close());
    assert!(futures_util::poll!(&mut closing).is_pending());
    one.give_back();
    closing.await;
    assert_eq!(world.state.lock().open, 0);
    assert!(matches!(*fails(&connections).await, sqlx::Error::PoolClosed));
    connections.close().await;
}

#[test]
fn a_runtime_that_ends_while_it_connects_leaves_its_turn_to_the_next() {
    let world = World::silent();
    let connections = world.connections(1);
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().expect("a runtime")
    };
    runtime().block_on(async {
        let hurried = timeout(Duration::from_millis(5), connections.lend(false)).await;
        assert!(hurried.is_err());
    });
    world.greetings.add_permits(1);
    let number = runtime().block_on(async { number(&lend(&connections).await) });
    assert_eq!(number, 1);
}
