//! C1: changes of several kinds that are sent together, and functions that invalidate.

use std::sync::Arc;

use cacheme::{Cacheme, Error, LoadContext, Node, Storage, invalidate};
use tests::{Gate, MemoryRemote, Trouble};

#[derive(Node, Clone, Debug)]
#[node(key = "changes-user:{0}", value = String, tier(storage = "local", ttl = "1h"), tier(storage = "remote", ttl = "1h"))]
struct UserNode(u64);

#[derive(Node, Clone, Debug)]
#[node(key = "changes-count:{0}", value = u64, tier(storage = "local", ttl = "1h"))]
struct CountNode(String);

struct App {
    cacheme: Cacheme,
    remote: MemoryRemote,
}

impl App {
    /// Both kinds have values.
    async fn new() -> Arc<Self> {
        let cacheme = Cacheme::builder().build().unwrap();
        let remote = MemoryRemote::new();
        let local = Storage::open("local://tlfu?size=100").unwrap();
        cacheme.register_storage("local", local).await.unwrap();
        cacheme
            .register_storage("remote", Storage::remote(remote.clone()))
            .await
            .unwrap();
        let app = Self { cacheme, remote };
        app.fill().await;
        Arc::new(app)
    }

    async fn fill(&self) {
        let users = [1, 2, 3].map(|id| (UserNode(id), format!("user {id}")));
        self.cacheme.set_all(users).await.unwrap();
        self.cacheme.set(&CountNode("all".into()), 3).await.unwrap();
    }

    /// The users that are cached, and the count.
    async fn cached(&self) -> (Vec<u64>, Option<u64>) {
        let mut users = Vec::new();
        for id in 1..4 {
            if self.cacheme.peek(&UserNode(id)).await.unwrap().is_some() {
                users.push(id);
            }
        }
        (users, self.cacheme.peek(&CountNode("all".into())).await.unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn c1_changes_of_several_kinds_go_together_and_not_before_they_are_sent() {
    let app = App::new().await;
    assert_eq!(app.cached().await, (vec![1, 2, 3], Some(3)));
    let mut changes = app.cacheme.changes();
    changes
        .invalidate(&UserNode(1))
        .invalidate(&CountNode("all".into()))
        .invalidate_all(&[UserNode(3), UserNode(1)]);
    assert_eq!((changes.len(), changes.is_empty()), (4, false));
    assert_eq!(app.cached().await, (vec![1, 2, 3], Some(3)));
    changes.send().await.unwrap();
    assert_eq!(app.cached().await, (vec![2], None));
    let mut changes = app.cacheme.changes();
    changes.invalidate(&UserNode(2));
    changes.discard();
    assert_eq!(app.cached().await, (vec![2], None));
}

#[tokio::test(start_paused = true)]
async fn t1_changes_name_the_storages_that_they_could_not_reach() {
    let app = App::new().await;
    app.remote.set_trouble(Trouble::Refuses);
    let mut changes = app.cacheme.changes();
    changes
        .invalidate(&CountNode("all".into()))
        .invalidate_all(&[1, 2].map(UserNode));
    let error = changes.send().await.unwrap_err();
    assert!(matches!(&error, Error::NotInvalidated { keys: 2, .. }), "{error}");
    let sets = [1, 2].map(|id| (UserNode(id), "new".to_owned()));
    let error = app.cacheme.set_all(sets).await.unwrap_err();
    assert!(matches!(&error, Error::NotInvalidated { keys: 2, .. }), "{error}");
    assert_eq!(
        app.cacheme.peek(&UserNode(1)).await.unwrap().as_deref(),
        Some("new")
    );
}

#[invalidate(UserNode(id), CountNode("all".into()), cacheme = &app.cacheme)]
async fn rename(app: &App, id: u64, fails: bool) -> Result<u64, &'static str> {
    if fails {
        return Err("taken");
    }
    Ok(id)
}

#[invalidate(UserNode(id), cacheme = &app.cacheme, on_error = true)]
async fn rename_anyway(app: &App, id: u64) -> Result<(), String> {
    Err(format!("{id}"))?;
    Ok(())
}

#[invalidate(CountNode("all".into()), after(|id: &u64| UserNode(*id)), cacheme = &app.cacheme)]
async fn add(app: &App, id: Result<u64, &'static str>) -> Result<u64, &'static str> {
    let _ = app;
    id
}

#[invalidate(UserNode(id), cacheme = &app.cacheme)]
async fn remove(app: &App, id: u64) {
    let _ = (app, id);
}

#[invalidate(UserNode(id), cacheme = &app.cacheme)]
async fn slow(app: Arc<App>, id: u64, gate: Arc<Gate>) -> u64 {
    gate.pass().await;
    id
}

impl App {
    #[invalidate(UserNode(id), cacheme = &self.cacheme)]
    async fn renamed<T: Send>(self: &Arc<Self>, id: u64, with: T) -> Option<T> {
        let _ = id;
        Some(with)
    }
}

#[tokio::test(start_paused = true)]
async fn c1_a_function_that_has_changed_something_has_invalidated_it_when_it_returns() {
    let app = App::new().await;
    assert_eq!(rename(&app, 1, true).await, Err("taken"));
    assert_eq!(app.cached().await, (vec![1, 2, 3], Some(3)));
    assert_eq!(rename(&app, 1, false).await, Ok(1));
    assert_eq!(app.cached().await, (vec![2, 3], None));
    app.fill().await;
    assert_eq!(rename_anyway(&app, 2).await, Err("2".to_owned()));
    assert_eq!(app.cached().await, (vec![1, 3], Some(3)));
    assert_eq!(add(&app, Err("full")).await, Err("full"));
    assert_eq!(app.cached().await, (vec![1, 3], Some(3)));
    assert_eq!(add(&app, Ok(3)).await, Ok(3));
    assert_eq!(app.cached().await, (vec![1], None));
    remove(&app, 1).await;
    assert_eq!(app.cached().await, (vec![], None));
    app.fill().await;
    assert_eq!(app.renamed(1, "x").await, Some("x"));
    assert_eq!(app.cached().await, (vec![2, 3], Some(3)));
}

#[tokio::test(start_paused = true)]
async fn c1_a_function_that_is_dropped_after_its_body_began_invalidates() {
    let app = App::new().await;
    let gate = Arc::new(Gate::new());
    let task = tokio::spawn(slow(Arc::clone(&app), 1, Arc::clone(&gate)));
    gate.reached().await;
    task.abort();
    task.await.unwrap_err();
    // The removal goes on in a task of its own.
    while app.cached().await.0 != [2, 3] {
        tokio::task::yield_now().await;
    }
    // Nothing began.
    drop(slow(Arc::clone(&app), 2, gate));
    tokio::task::yield_now().await;
    assert_eq!(app.cached().await.0, [2, 3]);
}

#[tokio::test(start_paused = true)]
async fn t1_the_result_of_a_function_stays_what_it_is_when_a_storage_cannot_be_reached() {
    let app = App::new().await;
    app.remote.set_trouble(Trouble::Refuses);
    assert_eq!(rename(&app, 1, false).await, Ok(1));
    app.remote.recover();
    // The old value counts as absent until it is removed.
    assert_eq!(app.cached().await, (vec![2, 3], None));
}

#[derive(Node, Clone, Debug)]
#[node(key = "changes-loaded:{0}", value = u64, tier(storage = "local", ttl = "1h"), load = load)]
struct LoadedNode(u64);

async fn load(node: &LoadedNode, _: &mut LoadContext<LoadedNode>) -> Result<u64, Error> {
    Ok(node.0)
}

#[tokio::test(start_paused = true)]
async fn c1_a_refresh_whose_loader_comes_with_the_call_takes_the_place_of_what_is_there() {
    let app = App::new().await;
    assert_eq!(app.cacheme.get(&LoadedNode(1)).await.unwrap(), 1);
    let ten = || async { Ok::<_, Error>(10) };
    assert_eq!(app.cacheme.refresh_with(&LoadedNode(1), ten).await.unwrap(), 10);
    assert_eq!(app.cacheme.get(&LoadedNode(1)).await.unwrap(), 10);
    let fails = || async { Err::<u64, _>("down") };
    let error = app.cacheme.refresh_with(&LoadedNode(1), fails).await.unwrap_err();
    assert!(matches!(error, Error::Load { .. }), "{error}");
    assert_eq!(app.cacheme.get(&LoadedNode(1)).await.unwrap(), 10);
    let user = || async { Ok::<_, Error>("new".to_owned()) };
    assert_eq!(app.cacheme.refresh_with(&UserNode(1), user).await.unwrap(), "new");
    assert_eq!(
        app.cacheme.peek(&UserNode(1)).await.unwrap().as_deref(),
        Some("new")
    );
}

#[tokio::test(start_paused = true)]
async fn l1_a_refresh_whose_caller_goes_away_leaves_nobody_behind() {
    let app = App::new().await;
    let gate = Arc::new(Gate::new());
    let refresh = {
        let (app, gate) = (Arc::clone(&app), Arc::clone(&gate));
        tokio::spawn(async move {
            let load = || async {
                gate.pass().await;
                Ok::<_, Error>(7)
            };
            app.cacheme.refresh_with(&LoadedNode(1), load).await
        })
    };
    gate.reached().await;
    let waiter = {
        let app = Arc::clone(&app);
        tokio::spawn(async move { app.cacheme.get(&LoadedNode(1)).await })
    };
    tokio::task::yield_now().await;
    refresh.abort();
    assert_eq!(waiter.await.unwrap().unwrap(), 1);
}

async fn lengths(
    app: Arc<App>,
    ids: Vec<u64>,
    gate: Option<Arc<Gate>>,
) -> (Result<Vec<String>, Error>, Vec<u64>) {
    let asked = parking_lot::Mutex::new(Vec::new());
    let nodes: Vec<_> = ids.into_iter().map(UserNode).collect();
    let values = app
        .cacheme
        .get_all_with(&nodes, async |missing: Vec<UserNode>| {
            asked.lock().extend(missing.iter().map(|node| node.0));
            if let Some(gate) = &gate {
                gate.pass().await;
            }
            if missing.iter().any(|node| node.0 == 99) {
                return Err("down");
            }
            Ok(missing
                .iter()
                .map(|node| (node.clone(), format!("loaded {}", node.0)))
                .collect::<Vec<_>>())
        })
        .await;
    (values, asked.into_inner())
}

#[tokio::test(start_paused = true)]
async fn r3_a_bulk_read_whose_loader_comes_with_the_call_loads_what_is_missing_once() {
    let app = App::new().await;
    let (values, asked) = tokio::spawn(lengths(Arc::clone(&app), vec![1, 5, 4, 5], None))
        .await
        .unwrap();
    assert_eq!(values.unwrap(), ["user 1", "loaded 5", "loaded 4", "loaded 5"]);
    assert_eq!(asked, [5, 4]);
    let (values, asked) = lengths(Arc::clone(&app), vec![4, 5, 6], None).await;
    assert_eq!((values.unwrap().len(), asked), (3, vec![6]));
    let (values, _) = lengths(Arc::clone(&app), vec![4, 99], None).await;
    let error = values.unwrap_err();
    assert!(
        matches!(&error, Error::Load { key, .. } if key.contains("99")),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn l1_a_bulk_read_joins_what_is_in_flight_and_takes_over_what_was_given_up() {
    let app = App::new().await;
    let gate = Arc::new(Gate::new());
    let first = tokio::spawn(lengths(Arc::clone(&app), vec![7, 8], Some(Arc::clone(&gate))));
    gate.reached().await;
    let second = tokio::spawn(lengths(Arc::clone(&app), vec![8, 9], None));
    tokio::task::yield_now().await;
    assert!(!second.is_finished());
    first.abort();
    let (values, asked) = second.await.unwrap();
    assert_eq!(values.unwrap(), ["loaded 8", "loaded 9"]);
    assert_eq!(asked, [9, 8]);
}
